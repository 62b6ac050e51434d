"""What `eval.benchmarks` says of training: options and tables."""

import argparse
import pathlib
from collections.abc import Callable, Sequence

import jax

from eval.benchmarks.scaling import SETTINGS, measure_scaling
from eval.benchmarks.training_memory import device_memory, measure_batch_sizes
from eval.benchmarks.training_speed import measure_training_step
from eval.benchmarks.training_split import measure_split
from ranet_jax.commands.common import whole_number
from ranet_jax.errors import InputError
from ranet_jax.training.options import load_config

RECIPES = "ranet_lite_davis16,mrnet_lite_davis16"
"""The small networks: a step of the full-size ones takes half a minute on a CPU."""
SCALING_BATCH, SCALING_STEPS = 8, 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this module."""
    group = parser.add_argument_group("training")
    group.add_argument("--train", action="store_true", help="time and memory of a step, for each number of --objects")
    group.add_argument("--split", type=pathlib.Path, metavar="DAVIS", help="time a step's parts, input included")
    group.add_argument("--batch-sizes", action="store_true", help="memory of a step by batch size, and what fits")
    group.add_argument("--scaling", type=pathlib.Path, metavar="DAVIS", help="the input side of several processes")
    group.add_argument("--recipes", default=RECIPES, help="of these, separated by commas (default: the small ones)")
    group.add_argument("--batch", type=whole_number, help="samples of a step (default: the recipe's)")
    group.add_argument("--memory", type=float, metavar="GIB", help="for --batch-sizes (default: the device's)")
    group.add_argument("--seconds", type=float, default=20.0, help="how long the input side is timed (default 20)")


def wanted(options: argparse.Namespace) -> list[Callable[[], None]]:
    """What the options ask for, ready to be run.

    Raises:
        InputError: a value is out of range.
    """
    if options.memory is not None and not options.memory > 0:
        raise InputError(f"--memory {options.memory}: give GiB above 0")
    recipes, batch, repeats = options.recipes.split(","), options.batch, options.repeats
    reports: list[Callable[[], None]] = []
    if options.train:
        reports.append(lambda: report_steps(recipes, batch, options.objects, repeats))
    if options.split:
        reports.append(lambda: report_split(recipes, options.split, batch, repeats, options.seconds))
    if options.batch_sizes:
        budget = device_memory() if options.memory is None else int(options.memory * 2**30)
        reports.append(lambda: report_batch_sizes(recipes, budget))
    if options.scaling:
        reports.append(lambda: report_scaling(options.scaling, options.seconds))
    return reports


def report_steps(recipes: Sequence[str], batch: int | None, object_counts: Sequence[int], repeats: int) -> None:
    """Prints one row for each recipe and number of objects."""
    print(f"training steps, {_device()}, median of {repeats}; MFU: share of the matrix product's rate")
    print("recipe                batch  objects  s/step  samples/s  GFLOP   MFU  compiled GiB  peak GiB", flush=True)
    for recipe in recipes:
        config = load_config(recipe)
        size = batch or config.batch_size
        for objects in object_counts:
            found = measure_training_step(config, size, objects, repeats)
            peak = "-" if found.peak_bytes is None else f"{found.peak_bytes / 2**30:.2f}"
            utilisation = found.operations / found.seconds / found.yardstick
            print(
                f"{_name(recipe):20s}  {size:5d}  {objects:7d}  {found.seconds:6.2f}  {size / found.seconds:9.3g}"
                f"  {found.operations / 1e9:5.0f}  {utilisation:4.0%}"
                f"  {found.compiled_bytes / 2**30:12.2f}  {peak:>8s}",
                flush=True,
            )


def report_split(recipes: Sequence[str], davis: pathlib.Path, batch: int | None, repeats: int, seconds: float) -> None:
    """Prints two rows for each recipe: seconds of the parts, and of the whole."""
    print(f"parts of a training step in seconds, {_device()}, median of {repeats}; MFU: share of the matrix rate")
    for recipe in recipes:
        config = load_config(recipe)
        found = measure_split(config, davis, batch or config.batch_size, repeats, seconds)
        samples = f"{found.batch_size} samples of {found.frames} frames"
        print(f"{_name(recipe)}: {found.size[0]}x{found.size[1]}, {found.dtype}, {samples} on each of {found.devices}")
        print("  forward  backward  optimizer  all-reduce     sum   whole  sum/whole  samples/s/device   GFLOP   MFU")
        print(
            f"  {found.forward:7.3f}  {found.backward:8.3f}  {found.optimizer:9.4f}  {found.all_reduce:10.4f}"
            f"  {found.parts:6.3f}  {found.whole:6.3f}  {found.parts / found.whole:9.0%}"
            f"  {found.batch_size / found.whole:16.3g}  {found.operations / 1e9:6.0f}  {found.utilisation:4.0%}"
        )
        print(
            f"  input by itself {found.input:.3f} s a batch; fed by it, a step takes {found.loop.seconds:.3f} s,"
            f" waiting {found.loop.waiting:.3f} s of it; matrix product {found.yardstick / 1e9:.1f} GFLOP/s"
        )


def report_batch_sizes(recipes: Sequence[str], budget: int) -> None:
    """Prints one row for each recipe and batch size that was compiled."""
    print(f"memory of the compiled training step, {_device()}; budget {budget / 2**30:.2f} GiB")
    print("recipe                samples     GiB")
    for recipe in recipes:
        found = measure_batch_sizes(load_config(recipe), budget)
        for size, taken in sorted(found.sizes.items()):
            mark = "  the largest that fits" if size == found.largest else ""
            print(f"{_name(recipe):20s}  {size:7d}  {taken / 2**30:6.2f}{mark}")
        if not found.largest:
            print(f"{_name(recipe)}: not even one sample fits")


def report_scaling(davis: pathlib.Path, seconds: float) -> None:
    """Prints one row for each setting."""
    print(f"a network of one linear map, {SCALING_BATCH} samples of 480p videos a step, virtual CPU devices")
    print(
        "processes  devices of each  threads of each  input alone, samples/s  samples/s  s/step  waiting for input, s"
    )
    for setting in SETTINGS:
        found = measure_scaling(davis, setting, batch_size=SCALING_BATCH, seconds=seconds, steps=SCALING_STEPS)
        print(
            f"{setting.processes:9d}  {setting.devices:15d}  {setting.threads:15d}  {found.input_rate:22.1f}"
            f"  {SCALING_BATCH / found.step:9.1f}  {found.step:6.3f}  {found.waiting:10.3f}"
        )


def _device() -> str:
    return jax.devices()[0].device_kind


def _name(recipe: str) -> str:
    return pathlib.Path(recipe.partition(":")[0]).stem
