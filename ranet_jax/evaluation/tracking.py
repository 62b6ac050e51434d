"""Tracks the sequences of a data set, on all devices at once, into RESULTS/SEQUENCE/FRAME.png, and scores them."""

import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import DavisScores, choose_sequences, evaluate_masks
from ranet_jax.evaluation.shares import Group, make_groups, over_devices, share_of
from ranet_jax.io.results import ResultWriter
from ranet_jax.io.video import Frame, read_picture
from ranet_jax.runtime.adapting import Adaptation, AdaptingTracker
from ranet_jax.runtime.batched import BatchedTracker
from ranet_jax.runtime.lockstep import Video, track_in_lockstep
from ranet_jax.runtime.stream import StreamReport, Tracker, stream
from ranet_jax.weights import Checkpoint

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
    """Tracks sequences, each object from its first annotation, on several devices at once, and writes their masks.

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
    videos, masks = [], {}
    for name in sequences:
        paths, masks[name] = tree.given(name)
        frames = (Frame(path.stem, read_picture(path)) for path in paths)
        videos.append(Video(name, frames, masks[name][0], ResultWriter(results / name)))
    height, width = videos[0].first_label_map.shape
    tracker = checkpoint.tracker_for((height, width))
    progress = lambda done: check()
    if len(videos) > 1:
        batched = BatchedTracker(tracker)
        return track_in_lockstep(batched, checkpoint.variables, videos, device=device, progress=progress)
    (video,) = videos
    single: Tracker = tracker if adapt is None else AdaptingTracker(tracker, adapt)
    shown, given = video.frames, masks[video.name]
    try:
        return [stream(single, checkpoint.variables, shown, given, video.sink, device=device, progress=progress)]
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
