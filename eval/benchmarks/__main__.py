"""What the project measures of itself: `python -m eval.benchmarks --model released --objects 1,3`.

Every figure is a median, and a yardstick (the rate of a matrix product: float32, on an accelerator bfloat16) is taken
in turn with it, so that both see the same machine. Of a network also `--length` (a late frame of a long video),
`--video` (files included), `--start-up`, `--roofline` (what bounds a step) and `--lockstep` (several videos at once, on
accelerators). `--against PATH` times another checkout and this one by turns: steps, or with `--start-up` commands.
`--released-code CODES` runs the authors' PyTorch code beside the network it released. More: training steps (`--train`,
`--split DAVIS`, `--batch-sizes`, `--scaling DAVIS`) and `--metrics DAVIS` (J and F). `--accelerator FOLDER` is all that
an accelerator is asked, in under eight minutes.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from eval.benchmarks import accelerator, against, commands, training
from eval.benchmarks.networks import open_network
from eval.benchmarks.released_code import print_comparison
from eval.benchmarks.roofline import print_lockstep, print_roofline
from ranet_jax.commands.common import Parser, run, whole_number, whole_numbers
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation import tracking_speed
from ranet_jax.evaluation.speed import measure_metric_speed

METRIC_SEQUENCE = "car-shadow"
SPECIAL = ("length", "video", "start_up", "roofline", "lockstep", "against")
"""What may be asked for of a network's tracking in place of its plain steps."""
LOCKSTEP_VIDEOS = (1, 8, 16)
"""How many videos `--lockstep` tracks at once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="'released' or 'mrnet' (full size, random weights), or a checkpoint")
    parser.add_argument(
        "--objects", type=whole_numbers, default=[1], metavar="N,...", help="a row for each number (default 1)"
    )
    parser.add_argument("--length", type=int, metavar="FRAMES", help="with --model: a late frame against an early one")
    parser.add_argument("--video", action="store_true", help="with --model: the embedded clip, files included")
    parser.add_argument(
        "--start-up", action="store_true", help="with --model: from a command's start to its masks; see --against, too"
    )
    parser.add_argument("--roofline", action="store_true", help="with --model: products, memory, and the step")
    parser.add_argument("--lockstep", action="store_true", help="with --model: bfloat16 videos on an accelerator")
    parser.add_argument(
        "--against", type=pathlib.Path, metavar="PATH", help="with --model: another checkout and this one by turns"
    )
    parser.add_argument(
        "--released-code", type=pathlib.Path, metavar="CODES", help="the authors' PyTorch code beside this library"
    )
    parser.add_argument("--metrics", type=pathlib.Path, metavar="DAVIS", help="time J and F on this DAVIS folder")
    parser.add_argument(
        "--accelerator", type=pathlib.Path, metavar="FOLDER", help="all of an accelerator: a JSON file and a table"
    )
    parser.add_argument("--davis", type=pathlib.Path, help="with --accelerator: J on a sequence of this DAVIS folder")
    parser.add_argument("--repeats", type=whole_number, default=7, metavar="N", help="timed steps (default 7)")
    training.add_options(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _benchmark(options), debug=options.debug)


def _benchmark(options: argparse.Namespace) -> None:
    details = training.wanted(options)
    if options.length is not None and options.length < 200:
        raise InputError(f"--length {options.length}: give 200 frames or more, as frame 100 is compared with the last")
    if any(getattr(options, name) for name in SPECIAL) and not options.model:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in SPECIAL)
        raise InputError(f"{names} measure a network: give --model, too")
    if not (options.model or options.released_code or options.metrics or options.accelerator or details):
        raise InputError("nothing to measure: give --model, --train, --metrics or another (see --help)")
    if options.accelerator:
        accelerator.print_report(options.accelerator, options.davis)
    if options.model:
        benchmark_tracking(options)
    if options.released_code:
        print_comparison(options.released_code, options.objects, options.repeats)
    if options.metrics:
        milliseconds = measure_metric_speed(DavisTree(options.metrics, year=2016), METRIC_SEQUENCE)
        print(f"J and F of one object of a {METRIC_SEQUENCE} frame on one core: median {milliseconds:.2f} ms")
    for report in details:
        report()


def benchmark_tracking(options: argparse.Namespace) -> None:
    """Runs what was asked for of a network's tracking; its steps, where nothing more special was."""
    name, repeats = options.model, options.repeats
    if options.length:
        tracking_speed.print_length(open_network(name), options.length)
    if options.video:
        tracking_speed.print_video(open_network(name))
    if options.start_up and options.against:
        commands.print_comparison(options.against, name, repeats)
        return
    if options.start_up:
        tracking_speed.print_start_up(name)
    if options.roofline:
        print_roofline(open_network(name), repeats)
    if options.lockstep:
        print_lockstep(open_network(name), LOCKSTEP_VIDEOS, repeats)
    if options.against:
        against.print_comparison(options.against, name, options.objects, repeats)
    if not any(getattr(options, special) for special in SPECIAL):
        for objects in options.objects:
            tracking_speed.print_steps(open_network(name, objects), [objects], repeats)


if __name__ == "__main__":
    sys.exit(main())
