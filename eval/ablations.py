"""Reports the papers' ablations: `python -m eval.ablations --table 4 --davis DAVIS --runs runs --results results`.

RANet's Tables 4 and 5 and MRNet's ablation (`--table mrnet`) score trained variants, `RUNS/NAME/inference` (of MRNet
`RUNS/mrnet-NAME/inference`) or `--checkpoints NAME=PATH,...`, and say how to train those that are missing
(`configs/ranet_ablations.py`, `configs/mrnet_ablations.py`). Table 6 scores one checkpoint after ever more online
learning, a sweep one checkpoint of MRNet with other candidates, or other frames between them (Figures 7 and 8):

    python -m eval.ablations --table 6 --davis DAVIS --results results --steps 0,10,50 --learning-rates 1e-6,1e-4
    python -m eval.ablations --sweep candidates=1,2,4,6 --davis DAVIS --results results
    python -m eval.ablations --sweep interval=3,5,10 --davis DAVIS --results results --checkpoint runs/mrnet/inference

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
from eval.variants import TABLES, Table, trained_variants, training_commands
from ranet_jax.cli import ONLINE_LEARNING_RATE, Parser, online_adaptation, run
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import DavisScores
from ranet_jax.evaluation.tables import write_rows
from ranet_jax.networks import MRNetConfig
from ranet_jax.runtime.adapting import Adaptation
from ranet_jax.runtime.stream import StreamReport
from ranet_jax.weights import Checkpoint, open_checkpoint

Rows = list[list[str]]
Notify = Callable[[str], object]


ONLINE_HEADER = ("online steps", "learning rate", "J&F", "J", "F", "adaptation, s", "s/frame")
SWEPT = ("candidates", "interval")
"""Fields of MRNet's configuration that change no parameter: the paper's k and n."""


class Report(NamedTuple):
    """What is printed and written: names of columns, rows of cells, a line of settings, the files' stem, what to do."""

    header: Sequence[str]
    rows: Rows
    settings: str
    stem: str
    advice: Sequence[str] = ()


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


def variant_header(table: Table) -> tuple[str, ...]:
    """Names of the columns of `compare_variants`."""
    measure = table.measure
    return ("ablation", "change", "J&F", "J", "F", f"{measure} - full", f"paper's {measure}", "ms/frame")


def compare_variants(
    table: Table, split: Split, checkpoints: Mapping[str, pathlib.Path], masks: pathlib.Path, notify: Notify
) -> Rows:
    """Tracks and scores the variants of a table.

    Args:
        table: of `eval.variants.TABLES`.
        split: what is scored.
        checkpoints: folder of every variant that was trained, by name.
        masks: folder for the masks, one below it for each variant.
        notify: called with a line after every sequence.

    Returns:
        A row of cells for each variant, see `variant_header`; numbers of a missing one are "-".

    Raises:
        InputError: a checkpoint or the data set has a fault, or a checkpoint is of the other network.
    """
    rows: Rows = []
    full: float | None = None
    for variant in table.variants:
        numbers, difference, time_of_frame = ["-", "-", "-"], "-", "-"
        if variant.name in checkpoints:
            checkpoint = open_checkpoint(str(checkpoints[variant.name]), table.network)
            scores, milliseconds, _ = _track(split, checkpoint, masks / variant.name, None, notify)
            numbers, value = _percentages(scores), 100 * scores.global_scores()[f"{table.measure}-Mean"]
            full = value if variant is table.variants[0] else full
            difference = difference if full is None else f"{value - full:+.1f}"
            time_of_frame = _mean_time(milliseconds)
        rows.append([variant.name, variant.change, *numbers, difference, f"{variant.paper:.1f}", time_of_frame])
    return rows


def compare_values(
    field: str, values: Sequence[int], split: Split, checkpoint: Checkpoint, masks: pathlib.Path, notify: Notify
) -> Rows:
    """Tracks and scores one checkpoint of MRNet with other values of a field than it was trained with.

    Args:
        field: of `SWEPT`.
        values: of the field, each a row.
        split: what is scored.
        checkpoint: of MRNet, with the Mask-Ranking Module.
        masks: folder for the masks, one below it for each value.
        notify: called with a line after every sequence.

    Returns:
        A row of cells for each value: the value, J&F, J, F (percent) and milliseconds a frame.

    Raises:
        InputError: a value is not possible, or the data set has a fault.
    """
    rows: Rows = []
    for config in [dataclasses.replace(checkpoint.config, **{field: value}) for value in values]:
        value = str(getattr(config, field))
        notify(f"{field} {value}")
        scores, milliseconds, _ = _track(split, checkpoint._replace(config=config), masks / value, None, notify)
        rows.append([value, *_percentages(scores), _mean_time(milliseconds)])
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

    # Sequences that are adapted to are timed one by one, in the order they are told of.
    devices = None if adapt is None else jax.local_devices()[:1]
    scores, milliseconds = track_and_score(
        split.tree, split.name, checkpoint, masks, sequences=split.sequences, adapt=adapt, devices=devices, notify=tell
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


def _mean_time(milliseconds: Mapping[str, float]) -> str:
    return f"{np.mean(list(milliseconds.values())):.1f}" if milliseconds else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.ablations", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", choices=("4", "5", "6", "mrnet"), help="of RANet's paper, or MRNet's ablation")
    what.add_argument("--sweep", metavar="FIELD=VALUE,...", help=f"values of MRNet's {' or '.join(SWEPT)}")
    parser.add_argument("--davis", required=True, type=pathlib.Path, help="DAVIS folder")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2016)
    parser.add_argument("--split", default="val", help="list of sequences in ImageSets (default val)")
    parser.add_argument("--sequences", help="only these, separated by commas")
    parser.add_argument("--results", required=True, type=pathlib.Path, help="folder for tables and masks")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="folder of trained variants")
    parser.add_argument("--checkpoints", default="", metavar="NAME=PATH,...", help="variants in place of runs")
    parser.add_argument("--checkpoint", help="table 6, sweep: shipped name or folder (default: the shipped one)")
    parser.add_argument("--steps", default="0,10,50,100", help="table 6: of online learning (default 0,10,50,100)")
    parser.add_argument("--learning-rates", default=f"{ONLINE_LEARNING_RATE:g}", help="table 6: of these steps")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _report(options), debug=options.debug)


def _report(options: argparse.Namespace) -> None:
    sequences = tuple(options.sequences.split(",")) if options.sequences else None
    split = Split(DavisTree(options.davis, year=options.year), options.split, sequences)
    notify = functools.partial(rich.console.Console(stderr=True).print, highlight=False, soft_wrap=True)
    if options.sweep is not None:
        report = _sweep(options, split, notify)
    elif options.table == "6":
        report = _online_learning(options, split, notify)
    else:
        report = _variants(options, split, notify)
    report = report._replace(settings=f"{report.settings}, {jax.devices()[0].device_kind}")
    _print_table(report)
    for line in report.advice:
        print(line)
    for path in write_rows(report.header, report.rows, options.results / report.stem, settings=report.settings):
        print(path)


def _variants(options: argparse.Namespace, split: Split, notify: Notify) -> Report:
    table = TABLES[options.table]
    checkpoints = trained_variants(table, options.checkpoints, options.runs)
    rows = compare_variants(table, split, checkpoints, options.results / table.stem, notify)
    advice = []
    for name in (variant.name for variant in table.variants if variant.name not in checkpoints):
        folder = table.folder(name, options.runs) / "inference"
        commands = [f"  {command}" for command in training_commands(table, name, options.runs)]
        advice += [f"{name} is not trained: there is no {folder}. To train it:", *commands]
    return Report(variant_header(table), rows, f"{table.title}: {split}", table.stem, advice)


def _sweep(options: argparse.Namespace, split: Split, notify: Notify) -> Report:
    field, values = _swept(options.sweep)
    checkpoint = open_checkpoint(options.checkpoint, "mrnet")
    if not checkpoint.config.mask_ranking:
        raise InputError(f"{checkpoint.name}: has no Mask-Ranking Module, so {field} changes nothing: give another")
    stem = f"sweep-{field}"
    rows = compare_values(field, values, split, checkpoint, options.results / stem, notify)
    trained = ", ".join(f"{name} {getattr(checkpoint.config, name)}" for name in SWEPT)
    settings = f"Sweep of {field}: {checkpoint.name} (trained with {trained}), {split}"
    return Report((field, "J&F", "J", "F", "ms/frame"), rows, settings, stem)


def _online_learning(options: argparse.Namespace, split: Split, notify: Notify) -> Report:
    checkpoint = open_checkpoint(options.checkpoint, "ranet")
    amounts = _amounts(options.steps, options.learning_rates)
    rows = compare_online_learning(split, checkpoint, amounts, options.results / "table6", notify)
    return Report(ONLINE_HEADER, rows, f"Table 6, online learning: {checkpoint.name}, {split}", "table6")


def _print_table(report: Report) -> None:
    table = rich.table.Table(title=report.settings, title_justify="left")
    for column in report.header:
        table.add_column(column, justify="left" if column in ("ablation", "change") else "right")
    for row in report.rows:
        table.add_row(*row)
    rich.console.Console().print(table, highlight=False)


def _swept(text: str) -> tuple[str, list[int]]:
    """The field of a sweep and its values, each possible in a configuration."""
    field, _, listed = text.partition("=")
    try:
        values = [int(part) for part in listed.split(",")]
    except ValueError as error:
        raise InputError(f"--sweep {text}: give a field and whole numbers, such as candidates=1,2,4,6") from error
    if field not in SWEPT:
        raise InputError(f"--sweep {text}: no such field; choose {' or '.join(SWEPT)}")
    for value in values:
        MRNetConfig.from_dict({field: value})
    return field, values


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
