"""Tracks and scores a DAVIS split: `python -m eval.davis --davis DAVIS --year 2016 --split val --results results`.

Masks go to RESULTS/SEQUENCE/FRAME.png, tables to the terminal and, as the official CSV files, to RESULTS.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

import jax
import rich.console

from ranet_jax.cli import (
    Parser,
    add_cache_option,
    add_network_options,
    add_online_options,
    online_adaptation,
    run,
    use_cache,
)
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import DavisScores, evaluate_masks
from ranet_jax.evaluation.tables import format_tables, write_csv
from ranet_jax.io.results import ResultWriter
from ranet_jax.io.video import Frame, read_picture
from ranet_jax.tracking.adapting import Adaptation, AdaptingTracker
from ranet_jax.tracking.stream import StreamReport, Tracker, stream
from ranet_jax.tracking.tracker import make_tracker
from ranet_jax.weights import Checkpoint, open_checkpoint


def track_sequence(
    tree: DavisTree, sequence: str, checkpoint: Checkpoint, folder: pathlib.Path, *, adapt: Adaptation | None = None
) -> StreamReport:
    """Tracks one sequence from its first annotation and writes its masks to `folder`.

    Args:
        tree: the data set.
        sequence: of it.
        checkpoint: the network, its variables on the device.
        folder: for the masks.
        adapt: fits a copy of the weights to the first frame before (online learning).

    Raises:
        InputError: a frame or the first annotation is missing or damaged, or a mask cannot be written.
    """
    annotations = tree.annotations(sequence)
    label_map = tree.label_map(annotations[0])
    frames = (Frame(path.stem, read_picture(path)) for path in tree.frames(sequence))
    tracker: Tracker = make_tracker(checkpoint.config, (label_map.shape[0], label_map.shape[1]))
    if adapt is not None:
        tracker = AdaptingTracker(tracker, adapt)
    try:
        return stream(tracker, checkpoint.variables, frames, label_map, ResultWriter(folder))
    except InputError as error:
        raise InputError(f"{sequence}: {error}") from error


def track_and_score(
    tree: DavisTree,
    split: str,
    checkpoint: Checkpoint,
    results: pathlib.Path,
    *,
    sequences: Sequence[str] | None = None,
    adapt: Adaptation | None = None,
    notify: Callable[[str, StreamReport], object] = lambda sequence, report: None,
) -> tuple[DavisScores, dict[str, float]]:
    """Tracks a split, or some of its sequences, and scores the masks.

    Args:
        tree: the data set.
        split: name of the list in ImageSets.
        checkpoint: the network.
        results: folder for the masks, one below it for each sequence.
        sequences: only these; by default all of the split.
        adapt: fits the weights to each sequence's first frame, each time from the checkpoint's (online learning).
        notify: called after every sequence.

    Returns:
        The scores, and the median milliseconds a frame took by sequence.

    Raises:
        InputError: the data set or the results folder has a fault, or a sequence is not of the split.
    """
    known = tree.sequences(split)
    chosen = known if sequences is None else tuple(sequences)
    for name in chosen:
        if name not in known:
            raise InputError(f"{name} is not a sequence of {split}: choose among {', '.join(known)}")
    on_device = checkpoint._replace(variables=jax.device_put(checkpoint.variables))
    milliseconds = {}
    for name in chosen:
        report = track_sequence(tree, name, on_device, results / name, adapt=adapt)
        if report.median_milliseconds_per_frame is not None:
            milliseconds[name] = report.median_milliseconds_per_frame
        notify(name, report)
    return evaluate_masks(tree, split, results, sequences=chosen), milliseconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.davis", description=__doc__.splitlines()[0])
    parser.add_argument("--davis", required=True, type=pathlib.Path, help="DAVIS folder")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2016)
    parser.add_argument("--split", default="val", help="list of sequences in ImageSets (default val)")
    parser.add_argument("--sequences", help="only these, separated by commas")
    add_network_options(parser)
    parser.add_argument("--results", required=True, type=pathlib.Path, help="folder for masks and tables")
    add_online_options(parser)
    add_cache_option(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _evaluate(options), debug=options.debug)


def _evaluate(options: argparse.Namespace) -> None:
    console = rich.console.Console(stderr=True)
    use_cache(options)
    tree = DavisTree(options.davis, year=options.year)
    checkpoint = open_checkpoint(options.checkpoint, options.model)
    scores, milliseconds = track_and_score(
        tree,
        options.split,
        checkpoint,
        options.results,
        sequences=options.sequences.split(",") if options.sequences else None,
        adapt=online_adaptation(checkpoint.config, options.online_steps, options.online_learning_rate),
        notify=lambda name, report: console.print(f"{name}: {report.frames} frames in {report.seconds:.1f} s"),
    )
    print(format_tables(scores, milliseconds))
    for path in write_csv(scores, options.results, options.split):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
