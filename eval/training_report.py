"""What `eval.benchmark` says of training beyond `--train`: options and tables."""

import argparse
import pathlib
from collections.abc import Callable, Sequence

import jax

from eval.map_selection import measure_map_selection
from eval.scaling import SETTINGS, measure_scaling
from eval.training_memory import device_memory, measure_batch_sizes, measure_recomputation
from eval.training_split import measure_split
from ranet_jax.errors import InputError
from train.options import load_config

RECIPES = "configs/ranet_lite_davis16.py,configs/mrnet_lite_davis16.py"
"""The small networks: a step of the full-size ones takes half a minute on a CPU."""
SCALING_BATCH, SCALING_STEPS = 8, 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this module."""
    group = parser.add_argument_group("training, in detail")
    group.add_argument("--split", type=pathlib.Path, metavar="DAVIS", help="time a step's parts, input included")
    group.add_argument("--batch-sizes", action="store_true", help="memory of a step by batch size, and what fits")
    group.add_argument("--recomputation", action="store_true", help="a step with activations kept and recomputed")
    group.add_argument("--map-selection", action="store_true", help="keeping maps by a gather and by a product")
    group.add_argument("--scaling", type=pathlib.Path, metavar="DAVIS", help="the input side of several processes")
    group.add_argument("--recipes", default=RECIPES, help="of these, separated by commas (default: the small ones)")
    group.add_argument("--batch", type=int, help="samples of a step (default: the recipe's)")
    group.add_argument("--memory", type=float, metavar="GIB", help="for --batch-sizes (default: the device's)")


def wanted(options: argparse.Namespace) -> list[Callable[[], None]]:
    """What the options ask for, ready to be run.

    Raises:
        InputError: a value is out of range.
    """
    if options.batch is not None and options.batch < 1:
        raise InputError(f"--batch {options.batch}: give 1 or more")
    if options.memory is not None and not options.memory > 0:
        raise InputError(f"--memory {options.memory}: give GiB above 0")
    recipes, batch, repeats = options.recipes.split(","), options.batch, options.repeats
    reports: list[Callable[[], None]] = []
    if options.split:
        reports.append(lambda: report_split(recipes, options.split, batch, repeats, options.seconds))
    if options.batch_sizes:
        budget = device_memory() if options.memory is None else int(options.memory * 2**30)
        reports.append(lambda: report_batch_sizes(recipes, budget))
    if options.recomputation:
        reports.append(lambda: report_recomputation(recipes, batch, repeats))
    if options.map_selection:
        reports.append(lambda: report_map_selection(recipes, batch, repeats))
    if options.scaling:
        reports.append(lambda: report_scaling(options.scaling, options.seconds))
    return reports


def report_split(recipes: Sequence[str], davis: pathlib.Path, batch: int | None, repeats: int, seconds: float) -> None:
    """Prints two rows for each recipe: seconds of the parts, and of the whole."""
    print(f"parts of a training step in seconds, {_device()}, median of {repeats}; MFU: share of the matrix rate")
    for recipe in recipes:
        config = load_config(recipe)
        found = measure_split(config, davis, batch or config.batch_size, repeats, seconds)
        samples = (
            f"{found.batch_size} clips of {found.clip_length}" if found.clip_length else f"{found.batch_size} pairs"
        )
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


def report_recomputation(recipes: Sequence[str], batch: int | None, repeats: int) -> None:
    """Prints one row for each recipe and rule."""
    print(f"what the backward pass finds kept, {_device()}, median of {repeats} steps; ratios to 'kept'")
    print("recipe                samples  rule          s/step  ratio  compiled GiB  ratio")
    for recipe in recipes:
        config = load_config(recipe)
        samples = batch or config.batch_size
        found = measure_recomputation(config, samples, repeats)
        kept = found["kept"]
        for rule, values in found.items():
            print(
                f"{_name(recipe):20s}  {samples:7d}  {rule:12s}  {values.seconds:6.3f}"
                f"  {values.seconds / kept.seconds:5.2f}  {values.compiled_bytes / 2**30:12.2f}"
                f"  {values.compiled_bytes / kept.compiled_bytes:5.2f}"
            )


def report_map_selection(recipes: Sequence[str], batch: int | None, repeats: int) -> None:
    """Prints two rows for each recipe of RANet: one sample, and a step's."""
    print(f"keeping maps, {_device()}, median of {repeats}, milliseconds; ratio: product to gather")
    print("recipe                maps         kept  samples  product  gather  ratio  gradient: product  gather  ratio")
    for recipe in recipes:
        config = load_config(recipe)
        if "template_grid" not in config.model:
            continue
        for samples in sorted({1, batch or config.batch_size}):
            found = measure_map_selection(config, samples, repeats)
            height, width, positions, kept = found.shape
            print(
                f"{_name(recipe):20s}  {f'{height}x{width}x{positions}':11s}  {kept:4d}  {samples:7d}"
                f"  {1e3 * found.product_forward:7.2f}  {1e3 * found.gather_forward:6.2f}"
                f"  {found.product_forward / found.gather_forward:5.1f}"
                f"  {1e3 * found.product_gradient:17.2f}  {1e3 * found.gather_gradient:6.2f}"
                f"  {found.product_gradient / found.gather_gradient:5.1f}"
            )


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
