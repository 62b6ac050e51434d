"""Reports the paper's ablations: `python -m eval.ablations --table 4 --davis DAVIS --runs runs --results results`.

Tables 4 and 5 score trained variants, `RUNS/NAME/inference` or `--checkpoints NAME=PATH,...`, and say how to train
those that are missing (`configs/ranet_ablations.py`). Table 6 scores one checkpoint after ever more online learning:

    python -m eval.ablations --table 6 --davis DAVIS --results results --steps 0,10,50 --learning-rates 1e-6,1e-4

The table goes to the terminal, to RESULTS/table4.csv and to RESULTS/table4.md, the masks to a folder beside them.
"""

import argparse
import dataclasses
import functools
import math
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.console
import rich.table

from eval.davis import track_and_score
from ranet_jax.cli import ONLINE_LEARNING_RATE, Parser, online_adaptation, run
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import DavisScores
from ranet_jax.evaluation.tables import write_rows
from ranet_jax.tracking.adapting import Adaptation
from ranet_jax.tracking.stream import StreamReport
from ranet_jax.weights import Checkpoint, load_checkpoint, open_checkpoint

Rows = list[list[str]]
Notify = Callable[[str], object]


class Variant(NamedTuple):
    """An ablation: its name in `configs/ranet_ablations.py`, what it changes, and the paper's J mean (percent)."""

    name: str
    change: str
    paper: float


FULL = Variant("full", "nothing", 85.5)
VARIANTS = {
    4: (
        FULL,
        Variant("ranking-none", "all maps in template order", 81.9),
        Variant("ranking-maximum", "channel-wise maximum", 81.1),
    ),
    5: (
        FULL,
        Variant("no-correlation", "-CL: features concatenated", 67.5),
        Variant("no-previous-mask", "-PM", 81.4),
        Variant("no-static-pretraining", "-IP", 73.2),
        Variant("no-video-finetuning", "-VF", 79.9),
    ),
}
"""The rows of Tables 4 and 5."""

VARIANT_HEADER = ("ablation", "change", "J&F", "J", "F", "J - full", "paper's J", "ms/frame")
ONLINE_HEADER = ("online steps", "learning rate", "J&F", "J", "F", "adaptation, s", "s/frame")


@dataclasses.dataclass(frozen=True)
class Split:
    """What is tracked and scored.

    Attributes:
        tree: the data set.
        name: of the list in ImageSets.
        sequences: those of it; None for all.
    """

    tree: DavisTree
    name: str
    sequences: tuple[str, ...] | None

    def __str__(self) -> str:
        chosen = f" ({', '.join(self.sequences)})" if self.sequences else ""
        return f"DAVIS {self.tree.year} {self.name}{chosen}"


def training_commands(name: str, runs: pathlib.Path) -> list[str]:
    """The commands that train a variant from ImageNet weights into `RUNS/NAME`, without a stage that is done.

    Args:
        name: of a variant in `VARIANTS`.
        runs: the folder of runs.
    """
    command = "python -m train.ranet --config configs/ranet_ablations.py:{} --workdir {} --config.data.root=data {}"
    imagenet = "--config.backbone_checkpoint=resnet101.pth"
    if name == "no-static-pretraining":
        return [command.format(name, runs / name, imagenet)]
    if name == "no-video-finetuning":
        return [command.format(f"{name}:static", runs / name, imagenet)]
    first = runs / f"{name}-static"
    second = command.format(name, runs / name, f"--config.initial_checkpoint={first / 'inference'}")
    pretrained = (first / "inference").is_dir()
    return [second] if pretrained else [command.format(f"{name}:static", first, imagenet), second]


def compare_variants(
    table: int, split: Split, checkpoints: Mapping[str, pathlib.Path], masks: pathlib.Path, notify: Notify
) -> Rows:
    """Tracks and scores the variants of Table 4 or 5.

    Args:
        table: 4 or 5.
        split: what is scored.
        checkpoints: folder of every variant that was trained, by name.
        masks: folder for the masks, one below it for each variant.
        notify: called with a line after every sequence.

    Returns:
        A row of cells for each variant, see `VARIANT_HEADER`; numbers of a missing one are "-".

    Raises:
        InputError: a checkpoint or the data set has a fault.
    """
    rows: Rows = []
    full: float | None = None
    for variant in VARIANTS[table]:
        numbers, difference, time_of_frame = ["-", "-", "-"], "-", "-"
        if variant.name in checkpoints:
            checkpoint = load_checkpoint(checkpoints[variant.name])
            scores, milliseconds, _ = _track(split, checkpoint, masks / variant.name, None, notify)
            numbers, region = _percentages(scores), 100 * scores.global_scores()["J-Mean"]
            full = region if variant is FULL else full
            difference = difference if full is None else f"{region - full:+.1f}"
            time_of_frame = f"{np.mean(list(milliseconds.values())):.1f}" if milliseconds else "-"
        rows.append([variant.name, variant.change, *numbers, difference, f"{variant.paper:.1f}", time_of_frame])
    return rows


def compare_online_learning(
    split: Split, checkpoint: Checkpoint, amounts: Sequence[tuple[int, float]], masks: pathlib.Path, notify: Notify
) -> Rows:
    """Tracks and scores one checkpoint after several amounts of online learning (Table 6).

    Args:
        split: what is scored.
        checkpoint: the network.
        amounts: steps and learning rate of every row.
        masks: folder for the masks, one below it for each row.
        notify: called with a line after every sequence.

    Returns:
        A row of cells for each amount, see `ONLINE_HEADER`. The time of a frame is the median of tracking plus the
        frame's share of the video's adaptation, averaged over the sequences; compilation is in neither.

    Raises:
        InputError: the data set has a fault.
    """
    rows: Rows = []
    for steps, rate in amounts:
        name = f"{steps}-{rate:g}" if steps else "0"
        notify(f"{steps} steps of online learning at {rate:g}")
        adaptations: list[float] = []
        adapt = online_adaptation(checkpoint.config, steps, rate)
        timed = None if adapt is None else functools.partial(_timed, adapt, adaptations)
        scores, milliseconds, frames = _track(split, checkpoint, masks / name, timed, notify)
        adaptations = adaptations or [0.0] * len(frames)
        shares = [
            seconds / count + milliseconds.get(sequence, math.nan) / 1e3
            for seconds, (sequence, count) in zip(adaptations, frames.items(), strict=True)
        ]
        times = [f"{np.mean(adaptations):.1f}", f"{np.mean(shares):.2f}"]
        rows.append([str(steps), f"{rate:g}" if steps else "-", *_percentages(scores), *times])
    return rows


def _track(
    split: Split, checkpoint: Checkpoint, masks: pathlib.Path, adapt: Adaptation | None, notify: Notify
) -> tuple[DavisScores, dict[str, float], dict[str, int]]:
    """Scores, and by sequence the median milliseconds and the number of frames."""
    frames: dict[str, int] = {}

    def tell(sequence: str, report: StreamReport) -> None:
        frames[sequence] = report.frames
        notify(f"{checkpoint.name}: {sequence}, {report.frames} frames in {report.seconds:.1f} s")

    scores, milliseconds = track_and_score(
        split.tree, split.name, checkpoint, masks, sequences=split.sequences, adapt=adapt, notify=tell
    )
    return scores, milliseconds, frames


def _timed(adapt: Any, adaptations: list[float], variables: Any, frame: np.ndarray, labels: np.ndarray) -> Any:
    """Adapts, and notes how long it took; a step before it, whose result is dropped, has all that is to be compiled."""
    jax.block_until_ready(functools.partial(adapt, steps=1)(variables, frame, labels))
    start = time.perf_counter()
    adapted = jax.block_until_ready(adapt(variables, frame, labels))
    adaptations.append(time.perf_counter() - start)
    return adapted


def _percentages(scores: DavisScores) -> list[str]:
    means = scores.global_scores()
    return [f"{100 * means[name]:.1f}" for name in ("J&F-Mean", "J-Mean", "F-Mean")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=int, choices=(4, 5, 6), required=True, help="of the paper")
    parser.add_argument("--davis", required=True, type=pathlib.Path, help="DAVIS folder")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2016)
    parser.add_argument("--split", default="val", help="list of sequences in ImageSets (default val)")
    parser.add_argument("--sequences", help="only these, separated by commas")
    parser.add_argument("--results", required=True, type=pathlib.Path, help="folder for tables and masks")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="tables 4, 5: folder of runs")
    parser.add_argument("--checkpoints", default="", metavar="NAME=PATH,...", help="tables 4, 5: in place of runs")
    parser.add_argument("--checkpoint", help="table 6: embedded name or checkpoint folder (default: the shipped one)")
    parser.add_argument("--steps", default="0,10,50,100", help="table 6: of online learning (default 0,10,50,100)")
    parser.add_argument("--learning-rates", default=f"{ONLINE_LEARNING_RATE:g}", help="table 6: of these steps")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _report(options), debug=options.debug)


def _report(options: argparse.Namespace) -> None:
    sequences = tuple(options.sequences.split(",")) if options.sequences else None
    split = Split(DavisTree(options.davis, year=options.year), options.split, sequences)
    masks = options.results / f"table{options.table}"
    notify = functools.partial(rich.console.Console(stderr=True).print, highlight=False, soft_wrap=True)
    device = jax.devices()[0].device_kind
    header: Sequence[str] = VARIANT_HEADER
    missing: list[str] = []
    if options.table == 6:
        checkpoint = open_checkpoint(options.checkpoint, "ranet")
        amounts = _amounts(options.steps, options.learning_rates)
        header, rows = ONLINE_HEADER, compare_online_learning(split, checkpoint, amounts, masks, notify)
        settings = f"Table 6, online learning: {checkpoint.name}, {split}, {device}"
    else:
        checkpoints = _checkpoints(options.table, options.checkpoints, options.runs)
        rows = compare_variants(options.table, split, checkpoints, masks, notify)
        missing = [variant.name for variant in VARIANTS[options.table] if variant.name not in checkpoints]
        settings = f"Table {options.table}: {split}, {device}"
    _print_table(header, rows, settings)
    for name in missing:
        print(f"{name} is not trained: there is no {options.runs / name / 'inference'}. To train it:")
        print("\n".join(f"  {command}" for command in training_commands(name, options.runs)))
    for path in write_rows(header, rows, masks, settings=settings):
        print(path)


def _print_table(header: Sequence[str], rows: Rows, settings: str) -> None:
    table = rich.table.Table(title=settings, title_justify="left")
    for column in header:
        table.add_column(column, justify="left" if column in ("ablation", "change") else "right")
    for row in rows:
        table.add_row(*row)
    rich.console.Console().print(table, highlight=False)


def _checkpoints(table: int, given: str, runs: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where the trained variants of a table are."""
    names = [variant.name for variant in VARIANTS[table]]
    found = {name: runs / name / "inference" for name in names if (runs / name / "inference").is_dir()}
    for entry in filter(None, given.split(",")):
        name, equals, path = entry.partition("=")
        if name not in names or not equals:
            raise InputError(f"--checkpoints {entry}: give NAME=PATH with a name of table {table}: {', '.join(names)}")
        found[name] = pathlib.Path(path)
    return found


def _amounts(steps: str, rates: str) -> list[tuple[int, float]]:
    """Every number of steps with every rate; no steps at all only once."""
    try:
        counts, values = [int(part) for part in steps.split(",")], [float(part) for part in rates.split(",")]
    except ValueError as error:
        raise InputError(f"--steps {steps} --learning-rates {rates}: give numbers separated by commas") from error
    if min(counts) < 0 or not all(0 < value < float("inf") for value in values):
        raise InputError(f"--steps {steps} --learning-rates {rates}: steps from 0 on, and positive rates")
    plain = [(0, values[0])] if 0 in counts else []
    return plain + [(count, value) for value in values for count in counts if count]


if __name__ == "__main__":
    sys.exit(main())
