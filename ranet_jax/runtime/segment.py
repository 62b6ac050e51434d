"""A video and the mask of its first frame in, palette masks and an overlay video out: what `ranet-jax segment` does."""

import contextlib
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.results import ResultWriter
from ranet_jax.io.video import Frame, FrameReader, open_frames
from ranet_jax.runtime.absences import Absences
from ranet_jax.runtime.stream import StreamReport, Tracker, stream
from ranet_jax.tracker.objects import object_ids

Progress = Callable[[int, int | None], object]
TrackerFactory = Callable[[tuple[int, int], int], Tracker]
"""From height and width of the frames and the number of objects to what tracks them."""


class SegmentReport(NamedTuple):
    """What was done: the stream's figures, by object the first and last frames it is nowhere in, and the results."""

    stream: StreamReport
    absences: dict[int, list[tuple[str, str]]]
    folder: pathlib.Path
    overlay: pathlib.Path | None


def segment_video(
    source: str,
    mask: str | pathlib.Path,
    out: str | pathlib.Path,
    make_tracker: TrackerFactory,
    variables: Any,
    *,
    overlay: str | pathlib.Path | None = None,
    progress: Progress = lambda done, total: None,
) -> SegmentReport:
    """Segments a whole video.

    Args:
        source: video file, folder of frames, or camera index (ends at Ctrl-C, keeping what was done).
        mask: label image of the first frame: palette, gray ids, or 0/255 (docs/palette.md).
        out: folder for one palette PNG a frame, named like the frames.
        make_tracker: makes the tracker; called once, before anything is written.
        variables: the tracker's, arrays of JAX or NumPy.
        overlay: video file to draw the result into, as mp4.
        progress: called after every frame with the number done and the total, where it is known.

    Returns:
        The report.

    Raises:
        InputError: any input is missing, unreadable or does not fit, or an output cannot be written. Frames decoded
            before a video breaks off are segmented and written first.
        Exception: whatever `make_tracker` and the tracker raise.
    """
    label_map = read_label_map(mask)
    try:
        absences = Absences(object_ids(label_map))
    except InputError as error:
        raise InputError(f"{mask}: {error}") from error
    with open_frames(source) as frames, contextlib.ExitStack() as resources:
        if label_map.shape != frames.size:
            (height, width), (mask_height, mask_width) = frames.size, label_map.shape
            raise InputError(
                f"{mask}: the mask is {mask_width}x{mask_height} and the video {width}x{height}:"
                " give a mask of the first frame's size"
            )
        tracker = make_tracker(frames.size, len(absences.spans))
        writer = None
        if overlay is not None:
            writer = resources.enter_context(OverlayWriter(overlay, frames.size, frames.frames_per_second))
        results = ResultWriter(out, writer)
        resources.enter_context(_interrupt_stops(frames))
        report = stream(
            tracker,
            jax.device_put(variables),
            frames,
            {0: label_map},
            _written_and_noted(results, absences),
            progress=lambda done: progress(done, frames.count),
        )
    return SegmentReport(report, absences.spans, pathlib.Path(out), None if overlay is None else pathlib.Path(overlay))


def _written_and_noted(results: ResultWriter, absences: Absences) -> Callable[[Frame, np.ndarray], None]:
    def sink(frame: Frame, label_map: np.ndarray) -> None:
        results(frame, label_map)
        absences.note(frame.name, label_map)

    return sink


@contextlib.contextmanager
def _interrupt_stops(frames: FrameReader) -> Iterator[None]:
    """While a source without an end (a camera) is read, Ctrl-C makes the current frame its last."""
    if frames.count is not None:
        yield
        return
    previous = signal.signal(signal.SIGINT, lambda *_: frames.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
