"""Measures speed on this machine: `python -m eval.benchmark --model released --objects 1,3`.

Every figure is a median, and a yardstick (the rate of a matrix product: float32, on an accelerator bfloat16) is taken
in turn with it, so that both see the same machine. Of a network also `--length` (a late frame of a long video),
`--video` (files included), `--start-up`, `--roofline` (what bounds a step) and `--lockstep` (several videos at once, on
accelerators). `--released-code CODES` times the authors' PyTorch code beside the network it released. More: `--train`
(memory and speed of a training step of RANet, the memory of a gradient of MRNet through a clip), `--data DAVIS`
(training samples a second), `--metrics DAVIS` (J and F), and where a training step's time goes and what its choices
cost (`--help`, "training, in detail").
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax

from eval import training_report
from eval.released_code import print_comparison
from eval.roofline import print_lockstep, print_roofline
from eval.tracking_speed import WINDOW, time_long_video, time_start_up, time_step, time_video
from eval.training_step import measure_clip_memory, measure_training_step
from ranet_jax.cli import Parser, run
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.speed import measure_metric_speed
from ranet_jax.networks import MRNetConfig, NetworkConfig, RANetConfig
from ranet_jax.tracker.objects import OBJECT_BUCKETS
from ranet_jax.weights import initial_variables, load_checkpoint
from train.options import load_config

METRIC_SEQUENCE = "car-shadow"
TRAINING_STEPS = (("configs/ranet_lite_davis16.py", 4), ("configs/ranet_davis16.py", 1))
"""Recipes, and samples of a step, that `--train` measures; the small one first: an accelerator's peak only grows."""
CLIP_GRADIENTS = (("configs/mrnet_lite_davis16.py", 2), ("configs/mrnet_davis16.py", 1))
"""Recipes of MRNet, and clips of a step, whose gradient's memory `--train` measures without running it.

Only the first without `--full-clips`: compiling the second takes minutes.
"""
SPECIAL = ("length", "video", "start_up", "roofline", "lockstep")
"""What may be asked for of a network's tracking beside its plain steps."""
LOCKSTEP_VIDEOS = (1, 8, 16)
"""How many videos `--lockstep` tracks at once."""


def open_network(name: str) -> tuple[NetworkConfig, Any]:
    """A network by name, its variables on the device: "released", "mrnet" (full size, random) or a checkpoint.

    Raises:
        InputError: there is no such checkpoint.
    """
    full_size: dict[str, NetworkConfig] = {
        "released": RANetConfig(dtype="float32"),
        "mrnet": MRNetConfig(dtype="float32"),
    }
    if name in full_size:
        return full_size[name], jax.device_put(initial_variables(full_size[name]))
    checkpoint = load_checkpoint(name)
    return checkpoint.config, jax.device_put(checkpoint.variables)


def benchmark_model(name: str, object_counts: Sequence[int], repeats: int) -> None:
    """Prints one row for each number of objects."""
    config, variables = open_network(name)
    height, width = config.input_size
    device = jax.devices()[0].device_kind
    print(f"{name}: frames 480x854, network input {height}x{width}, {device}, median of {repeats} steps")
    print("objects  bucket  ms/frame  frames/s   GFLOP  GFLOP/s  matrix product GFLOP/s  share")
    for objects in object_counts:
        mode = config if objects == 1 or name != "released" else RANetConfig(objects="multi", dtype="float32")
        timing = time_step(mode, variables, objects, repeats)
        rate = timing.operations / timing.seconds
        bucket = next(size for size in OBJECT_BUCKETS if size >= objects)
        print(
            f"{objects:7d}  {bucket:6d}  {1e3 * timing.seconds:8.1f}  {1 / timing.seconds:8.2f}"
            f"  {timing.operations / 1e9:6.1f}  {rate / 1e9:7.1f}  {timing.yardstick / 1e9:22.1f}"
            f"  {rate / timing.yardstick:4.0%}"
        )


def benchmark_length(name: str, frames: int) -> None:
    """Prints time and memory of an early and a late frame of a long video."""
    found = time_long_video(*open_network(name), frames)
    print(f"{name}: one object, 480x854, median of {WINDOW} steps around frame 100 and of the last {WINDOW}")
    print("frame  ms/frame  resident MiB")
    print(f"{100:5d}  {1e3 * found.early_seconds:8.1f}  {found.early_bytes / 2**20:12.1f}")
    print(f"{frames:5d}  {1e3 * found.late_seconds:8.1f}  {found.late_bytes / 2**20:12.1f}")


def benchmark_video(name: str) -> None:
    """Prints the rate of the embedded clip's steps alone, and with decoding and writing."""
    found = time_video(*open_network(name))
    print(f"{name}: embedded clip, {found.frames} frames of 480x854, median of all steps")
    print("                                ms/frame  frames/s")
    print(f"network alone                   {1e3 * found.alone:8.1f}  {1 / found.alone:8.2f}")
    print(f"with decoding and PNG writing   {1e3 * found.stream:8.1f}  {1 / found.stream:8.2f}")
    print(f"share of the network's rate     {found.alone / found.stream:8.0%}")


def benchmark_start_up(name: str) -> None:
    """Prints how long `ranet-jax segment` takes to its first masks, without and with compiled programs on disk."""
    print(f"{name}: `ranet-jax segment` of the embedded clip, seconds from the start of the process")
    print("compiled programs  first mask  first tracked mask   end")
    with tempfile.TemporaryDirectory() as cache:
        for what in ("none", "kept"):
            found = time_start_up(name, pathlib.Path(cache))
            print(f"{what:17s}  {found.first_mask:10.1f}  {found.first_tracked:18.1f}  {found.end:4.1f}")


def benchmark_training(recipes: Sequence[tuple[str, int]], repeats: int) -> None:
    """Prints one row for each recipe and batch size."""
    print(f"training step on samples of noise, {jax.devices()[0].device_kind}, median of {repeats} steps")
    print("compiled: arguments, temporary and outputs of the program; peak: resident, on an accelerator allocated")
    print(
        "recipe              input    dtype     batch  compiled GiB  peak GiB  s/step  samples/s   GFLOP  GFLOP/s"
        "  matrix product GFLOP/s  share"
    )
    for path, batch_size in recipes:
        found = measure_training_step(load_config(path), batch_size, repeats)
        rate, name = found.operations / found.seconds, pathlib.Path(path).stem
        peak = "-" if found.peak_bytes is None else f"{found.peak_bytes / 2**30:.2f}"
        print(
            f"{name:18s}  {found.size[0]}x{found.size[1]}  {found.dtype:8s}  {batch_size:5d}"
            f"  {found.compiled_bytes / 2**30:12.2f}  {peak:>8s}  {found.seconds:6.2f}"
            f"  {batch_size / found.seconds:9.3g}  {found.operations / 1e9:6.0f}  {rate / 1e9:7.1f}"
            f"  {found.yardstick / 1e9:22.1f}  {rate / found.yardstick:4.0%}"
        )


def benchmark_clip_memory(recipes: Sequence[tuple[str, int]]) -> None:
    """Prints one row for each recipe of MRNet and number of clips."""
    print(f"back-propagation through time, {jax.devices()[0].device_kind}: temporary memory of the compiled gradient")
    print("recipe                input    dtype     batch  frames  recomputed GiB  kept GiB  ratio")
    for path, batch_size in recipes:
        found = measure_clip_memory(load_config(path), batch_size)
        print(
            f"{pathlib.Path(path).stem:20s}  {found.size[0]}x{found.size[1]}  {found.dtype:8s}  {batch_size:5d}"
            f"  {found.clip_length:6d}  {found.recomputed_bytes / 2**30:14.2f}  {found.kept_bytes / 2**30:8.2f}"
            f"  {found.kept_bytes / found.recomputed_bytes:5.1f}"
        )


def benchmark_metrics(davis: pathlib.Path) -> None:
    """Prints the time of J and F of one object in one frame, on one core."""
    milliseconds = measure_metric_speed(DavisTree(davis, year=2016), METRIC_SEQUENCE)
    print(f"J and F of one object of a {METRIC_SEQUENCE} frame on one core: median {milliseconds:.2f} ms")


def benchmark_data(davis: pathlib.Path, seconds: float) -> None:
    """Prints how many training pairs a second the input side makes, at the two networks' sizes."""
    from ranet_jax.data.config import SampleConfig
    from ranet_jax.data.pipeline import Part, measure_pipeline, training_batches
    from ranet_jax.data.samples import video_pair
    from ranet_jax.data.sources import davis_videos

    tree = DavisTree(davis, year=2016)
    source = davis_videos(tree, tree.sequences("train"))
    for name, config in (
        ("480x864, whole frames", SampleConfig()),
        ("256x448, boxes", SampleConfig(size=(256, 448), crop="box")),
    ):
        batches = training_batches(
            [Part(source, video_pair, config)], batch_size=4, seed=0, process_index=0, process_count=1
        )
        print(f"video pairs {name}, all transformations: {measure_pipeline(batches.dataset, seconds):.1f} a second")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="'released' or 'mrnet' (full size, random weights), or a checkpoint")
    parser.add_argument("--objects", default="1", help="numbers of objects, separated by commas (default 1)")
    parser.add_argument("--length", type=int, metavar="FRAMES", help="with --model: a late frame against an early one")
    parser.add_argument("--video", action="store_true", help="with --model: the embedded clip, files included")
    parser.add_argument("--start-up", action="store_true", help="with --model: from a command's start to its masks")
    parser.add_argument("--roofline", action="store_true", help="with --model: products, memory, and the step")
    parser.add_argument("--lockstep", action="store_true", help="with --model: bfloat16 videos on an accelerator")
    parser.add_argument(
        "--released-code", type=pathlib.Path, metavar="CODES", help="the authors' PyTorch code beside this library"
    )
    parser.add_argument("--repeats", type=int, default=7, help="timed steps (default 7)")
    parser.add_argument("--train", action="store_true", help="measure training steps and gradients through clips")
    parser.add_argument("--full-clips", action="store_true", help="with --train: clips of the full-size MRNet, too")
    parser.add_argument("--metrics", type=pathlib.Path, metavar="DAVIS", help="time J and F on this DAVIS folder")
    parser.add_argument("--data", type=pathlib.Path, metavar="DAVIS", help="count training samples a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long --data counts (default 20)")
    training_report.add_options(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _benchmark(options), debug=options.debug)


def _benchmark(options: argparse.Namespace) -> None:
    if options.repeats < 1:
        raise InputError(f"--repeats {options.repeats}: give 1 or more")
    details = training_report.wanted(options)
    if not (options.model or options.released_code or options.train or options.metrics or options.data or details):
        raise InputError("nothing to measure: give --model, --train, --metrics, --data or another (see --help)")
    if options.length is not None and options.length < 200:
        raise InputError(f"--length {options.length}: give 200 frames or more, as frame 100 is compared with the last")
    if any(getattr(options, name) for name in SPECIAL) and not options.model:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in SPECIAL)
        raise InputError(f"{names} measure a network: give --model, too")
    if options.model:
        benchmark_tracking(options)
    if options.released_code:
        print_comparison(options.released_code, _counts(options.objects), options.repeats)
    if options.train:
        benchmark_training(TRAINING_STEPS, options.repeats)
        benchmark_clip_memory(CLIP_GRADIENTS if options.full_clips else CLIP_GRADIENTS[:1])
    if options.metrics:
        benchmark_metrics(options.metrics)
    if options.data:
        benchmark_data(options.data, options.seconds)
    for report in details:
        report()


def benchmark_tracking(options: argparse.Namespace) -> None:
    """Runs what was asked for of a network's tracking; its steps, where nothing more special was."""
    if options.length:
        benchmark_length(options.model, options.length)
    if options.video:
        benchmark_video(options.model)
    if options.start_up:
        benchmark_start_up(options.model)
    if options.roofline:
        print_roofline(options.model, *open_network(options.model), options.repeats)
    if options.lockstep:
        print_lockstep(options.model, *open_network(options.model), LOCKSTEP_VIDEOS, options.repeats)
    if not any(getattr(options, name) for name in SPECIAL):
        benchmark_model(options.model, _counts(options.objects), options.repeats)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--objects {text}: give numbers separated by commas, such as 1,3") from error
    if not all(1 <= count <= OBJECT_BUCKETS[-1] for count in counts):
        raise InputError(f"--objects {text}: each must be from 1 to {OBJECT_BUCKETS[-1]}")
    return counts


if __name__ == "__main__":
    sys.exit(main())
