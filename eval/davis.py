"""Tracks and scores a DAVIS split: `python -m eval.davis --davis DAVIS --year 2016 --split val --results results`.

Masks go to RESULTS/SEQUENCE/FRAME.png, tables to the terminal and, as the official CSV files, to RESULTS.
"""

import argparse
import functools
import pathlib
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import rich.console

from eval.shares import Group, make_groups, over_devices, share_of
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
from ranet_jax.processes import add_distributed_option, start_distributed, together
from ranet_jax.runtime.adapting import Adaptation, AdaptingTracker
from ranet_jax.runtime.batched import BatchedTracker
from ranet_jax.runtime.lockstep import Video, track_in_lockstep
from ranet_jax.runtime.stream import StreamReport, Tracker, stream
from ranet_jax.tracker.make import make_tracker
from ranet_jax.weights import Checkpoint, open_checkpoint

Notify = Callable[[str, StreamReport], object]
"""Told a sequence's name, and what tracking it took."""


def track_split(
    tree: DavisTree,
    sequences: Sequence[str],
    checkpoint: Checkpoint,
    results: pathlib.Path,
    *,
    adapt: Adaptation | None = None,
    batch: int = 1,
    share: tuple[int, int] = (0, 1),
    devices: Sequence[jax.Device] | None = None,
    notify: Notify = lambda sequence, report: None,
) -> dict[str, float]:
    """Tracks sequences from their first annotations, on several devices at once, and writes their masks.

    Args:
        tree: the data set.
        sequences: of it.
        checkpoint: the network.
        results: folder for the masks, one below it for each sequence.
        adapt: fits the weights to each sequence's first frame, each time from the checkpoint's (online learning).
        batch: sequences tracked in lockstep on a device, at most.
        share: which process's share of the sequences, and of how many; the others are left to the others.
        devices: of this process; all of them if None.
        notify: called after every sequence, from one thread at a time.

    Returns:
        The median milliseconds a frame took, by sequence.

    Raises:
        InputError: a frame or a first annotation is missing or damaged, a mask cannot be written, or several sequences
            at once would need weights of their own.
    """
    if adapt is not None and batch > 1:
        raise InputError("online learning gives every sequence its own weights: leave out --batch or --online-steps")
    devices = jax.local_devices() if devices is None else devices
    index, count = share
    # Every process makes the same groups, whatever its own devices are.
    workers = len(devices) if count == 1 else jax.device_count()
    groups = make_groups(tree, sequences, batch=batch, workers=workers)
    milliseconds: dict[str, float] = {}
    telling = threading.Lock()

    def work(variables: Any, group: Group, device: jax.Device, check: Callable[[], None]) -> None:
        network = checkpoint._replace(variables=variables)
        reports = _track(tree, group.sequences, network, results, adapt=adapt, device=device, check=check)
        with telling:
            for name, report in zip(group.sequences, reports, strict=True):
                if report.median_milliseconds_per_frame is not None:
                    milliseconds[name] = report.median_milliseconds_per_frame
                notify(name, report)

    over_devices(share_of(groups, index, count), checkpoint.variables, devices, work)
    return milliseconds


def _track(
    tree: DavisTree,
    sequences: Sequence[str],
    checkpoint: Checkpoint,
    results: pathlib.Path,
    *,
    adapt: Adaptation | None,
    device: jax.Device,
    check: Callable[[], None],
) -> list[StreamReport]:
    """Tracks sequences of one frame size and bucket in lockstep, or one by itself."""
    videos = [
        Video(
            name,
            (Frame(path.stem, read_picture(path)) for path in tree.frames(name)),
            tree.label_map(tree.annotations(name)[0]),
            ResultWriter(results / name),
        )
        for name in sequences
    ]
    height, width = videos[0].first_label_map.shape
    tracker = make_tracker(checkpoint.config, (height, width))
    progress = lambda done: check()
    if len(videos) > 1:
        batched = BatchedTracker(tracker)
        return track_in_lockstep(batched, checkpoint.variables, videos, device=device, progress=progress)
    (video,) = videos
    single: Tracker = tracker if adapt is None else AdaptingTracker(tracker, adapt)
    frames, labels = video.frames, video.first_label_map
    try:
        return [stream(single, checkpoint.variables, frames, labels, video.sink, device=device, progress=progress)]
    except InputError as error:
        raise InputError(f"{video.name}: {error}") from error


def track_and_score(
    tree: DavisTree,
    split: str,
    checkpoint: Checkpoint,
    results: pathlib.Path,
    *,
    sequences: Sequence[str] | None = None,
    adapt: Adaptation | None = None,
    devices: Sequence[jax.Device] | None = None,
    notify: Notify = lambda sequence, report: None,
) -> tuple[DavisScores, dict[str, float]]:
    """Tracks a split, or some of its sequences, in this process alone, and scores the masks.

    Args:
        tree: the data set.
        split: name of the list in ImageSets.
        checkpoint: the network.
        results: folder for the masks, one below it for each sequence.
        sequences: only these; by default all of the split.
        adapt: fits the weights to each sequence's first frame, each time from the checkpoint's (online learning).
        devices: of this process; all of them if None.
        notify: called after every sequence, from one thread at a time.

    Returns:
        The scores, and the median milliseconds a frame took by sequence.

    Raises:
        InputError: the data set or the results folder has a fault, or a sequence is not of the split.
    """
    chosen = choose_sequences(tree, split, sequences)
    milliseconds = track_split(tree, chosen, checkpoint, results, adapt=adapt, devices=devices, notify=notify)
    return evaluate_masks(tree, split, results, sequences=chosen), milliseconds


def choose_sequences(tree: DavisTree, split: str, sequences: Sequence[str] | None) -> tuple[str, ...]:
    """The sequences of a split, or those named.

    Raises:
        InputError: the split does not exist, or a sequence is not of it.
    """
    known = tree.sequences(split)
    chosen = known if sequences is None else tuple(sequences)
    for name in chosen:
        if name not in known:
            raise InputError(f"{name} is not a sequence of {split}: choose among {', '.join(known)}")
    return chosen


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
    parser.add_argument(
        "--batch", type=_number_of_sequences, default=1, metavar="N", help="track up to N sequences at once (default 1)"
    )
    add_distributed_option(parser)
    add_cache_option(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _evaluate(options), debug=options.debug)


def _number_of_sequences(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of sequences: give 1 or more")
    return int(text)


def _evaluate(options: argparse.Namespace) -> None:
    start_distributed(options.distributed)
    console = rich.console.Console(stderr=True)
    use_cache(options)
    tree = DavisTree(options.davis, year=options.year)
    chosen = choose_sequences(tree, options.split, options.sequences.split(",") if options.sequences else None)
    checkpoint = open_checkpoint(options.checkpoint, options.model)
    track = functools.partial(
        track_split,
        tree,
        chosen,
        checkpoint,
        options.results,
        adapt=online_adaptation(checkpoint.config, options.online_steps, options.online_learning_rate),
        batch=options.batch,
        share=(jax.process_index(), jax.process_count()),
        notify=lambda name, report: console.print(f"{name}: {report.frames} frames in {report.seconds:.1f} s"),
    )
    milliseconds = together(track, chosen)
    if jax.process_index():
        return
    scores = evaluate_masks(tree, options.split, options.results, sequences=chosen)
    print(format_tables(scores, milliseconds))
    for path in write_csv(scores, options.results, options.split):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
