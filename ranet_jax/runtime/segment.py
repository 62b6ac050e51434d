"""A video and masks of some of its frames in, masks of all of them out: what `ranet-jax segment` does."""

import contextlib
import dataclasses
import itertools
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.exports import ProbabilityWriter, open_export
from ranet_jax.io.frames import Frame, FrameReader, IncompleteVideoError
from ranet_jax.io.levels import Levels
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.paths import require_distinct
from ranet_jax.io.preview import PreviewSheet
from ranet_jax.io.results import ResultWriter, remove_old_results, require_no_old_results
from ranet_jax.io.video import open_frames
from ranet_jax.runtime.absences import Absences
from ranet_jax.runtime.backward import tracked_back
from ranet_jax.runtime.given import GivenMasks, mask_paths, open_masks
from ranet_jax.runtime.probabilities import ProbabilitySink
from ranet_jax.runtime.stream import StreamReport, Tracker, stream

Progress = Callable[[int, int | None], object]
TrackerFactory = Callable[[tuple[int, int], int], Tracker]
"""From height and width of the frames and the number of objects to what tracks them."""
Sink = Callable[[Frame, np.ndarray], object]
AddObjects = Callable[[np.ndarray, np.ndarray, tuple[int, ...]], np.ndarray]
"""From a frame, uint8 RGB, its label map, and all ids that masks have to a label map with further objects."""


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Where results go.

    Attributes:
        folder: one palette PNG a frame, named like the frames.
        overlay: video with the objects drawn in (.mp4, .webm or .gif), or None.
        preview: picture of a few frames with their objects, or None.
        exports: further files by format, see `ranet_jax.io.exports.FORMATS`.
        overwrite: whether results that lie in the folder may go.
    """

    folder: Path
    overlay: Path | None = None
    preview: Path | None = None
    exports: Mapping[Any, Path] = dataclasses.field(default_factory=dict)
    overwrite: bool = False

    @property
    def places(self) -> dict[str, Path | None]:
        """All of them, by the options that name them."""
        files = {"--out": self.folder, "--overlay": self.overlay, "--preview": self.preview}
        return files | {f"--format {kind}": path for kind, path in self.exports.items()}


@dataclasses.dataclass(frozen=True)
class Span:
    """Which frames of a video are segmented, by number from 0.

    Attributes:
        start: the first.
        end: the last, None for the video's.
        backward: whether frames before the first mask are tracked back from it; otherwise they show nothing.
    """

    start: int = 0
    end: int | None = None
    backward: bool = False


@dataclasses.dataclass(frozen=True)
class SegmentReport:
    """What was done.

    Attributes:
        stream: the stream's figures, of the frames from the first mask on.
        frames: how many were written.
        before: how many of them lie before the first mask.
        absences: by object the names of the first and last frames of every run that shows nothing of it, from the frame
            on from which it is looked for.
        removed: how many old results went.
    """

    stream: StreamReport
    frames: int
    before: int
    absences: dict[int, list[tuple[str, str]]]
    removed: int


def segment_video(
    source: str,
    masks: Sequence[str],
    outputs: Outputs,
    make_tracker: TrackerFactory,
    variables: Any,
    *,
    mark: AddObjects | None = None,
    aggregation: str = "hard",
    span: Span = Span(),
    levels: Levels | None = None,
    progress: Progress = lambda done, total: None,
    note: Callable[[str], object] = lambda text: None,
) -> SegmentReport:
    """Segments a whole video, or a part of it, and says what was done.

    Args:
        source: video file, folder of frames, or `camera:1` (ends at Ctrl-C, keeping what was done).
        masks: `FILE`, the first frame's; `NUMBER=FILE`; or a folder of files named like frames (docs/palette.md).
        outputs: where results go.
        make_tracker: makes the tracker; called once, before anything is written.
        variables: the tracker's, arrays of JAX or NumPy.
        mark: adds objects to the first frame's label map, so that there need be no mask.
        aggregation: the tracker's, "hard" or "soft"; of importance to probabilities alone.
        span: which frames.
        levels: the values of 16-bit and float frames that become black and white.
        progress: called after every frame with the number done and the total, where it is known.
        note: called with what the user should know, a line each.

    Raises:
        InputError: an input is missing, unreadable or does not fit, an output would replace an input, or cannot be
            written. Frames decoded before a video breaks off are written first; old results of later frames go, too.
        Exception: whatever `make_tracker`, the tracker and `mark` raise.
    """
    paths = mask_paths(masks, source, first=span.start, required=mark is None)
    inputs = {"the video": source} | {f"the mask of frame {number}": path for number, path in paths.items()}
    require_distinct(inputs, outputs.places)
    _check_span(span, paths)
    old = require_no_old_results(outputs.folder, overwrite=outputs.overwrite)
    with open_frames(source, without=list(paths.values()), levels=levels) as reader, contextlib.ExitStack() as stack:
        given = _given(reader, paths, span, source, note)
        frames = _cut(reader, span, paths)
        if mark is not None:
            given, frames = _marked(given, frames, mark)
        tracker = make_tracker(reader.size, len(given.first_frames))
        stack.enter_context(_interrupt_stops(reader))
        sink = _Sink(stack, outputs, reader, source, given, span, aggregation)
        try:
            done = _tracked(tracker, jax.device_put(variables), frames, given, sink, progress, note)
        except IncompleteVideoError:
            remove_old_results(old, sink.written)
            raise
    return SegmentReport(
        done, len(sink.written), min(given), sink.absences.spans, remove_old_results(old, sink.written)
    )


def _tracked(
    tracker: Tracker,
    variables: Any,
    frames: Iterator[Frame],
    given: GivenMasks,
    sink: "_Sink",
    progress: Progress,
    note: Callable[[str], object],
) -> StreamReport:
    """Tracks all frames, those before the first mask, too."""
    first, probabilities = min(given), sink.probabilities
    report = lambda _: progress(len(sink.written), sink.total)
    if not first or not sink.span.backward:
        if first:
            note(
                f"the first mask is of frame {first + sink.span.start}: frames before it show nothing (see --backward)"
            )
        return stream(tracker, variables, frames, given, sink, progress=report, probabilities=probabilities)
    back = tracked_back(tracker, variables, frames, first, given[first], with_probabilities=probabilities is not None)
    with back as (before, after):
        for frame, labels, probability in before:
            if probabilities is not None:
                probabilities(frame, labels, probability)
            sink(frame, labels)
            report(None)
        later = given.from_frame(first)
        return stream(tracker, variables, after, later, sink, progress=report, probabilities=probabilities)


class _Sink:
    """Hands every frame to all that want it, and keeps account; files appear when the stack is left."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        outputs: Outputs,
        reader: FrameReader,
        source: str,
        given: GivenMasks,
        span: Span,
        aggregation: str,
    ):
        self.span, self.total = span, _length(reader, span)
        self.written: list[str] = []
        """Names of the frames so far."""
        first = min(given)
        looked_for = {value: 0 if span.backward and n == first else n for value, n in given.first_frames.items()}
        self.absences = Absences(looked_for)
        self.probabilities: ProbabilitySink | None = None
        """What wants probabilities."""
        overlay = None
        if outputs.overlay is not None:
            overlay = stack.enter_context(OverlayWriter(outputs.overlay, reader.size, reader.frames_per_second))
        self._writers: list[Sink] = [ResultWriter(outputs.folder, overlay)]
        if outputs.preview is not None:
            self._writers.append(stack.enter_context(PreviewSheet(outputs.preview)))
        for kind, path in outputs.exports.items():
            if kind == "probabilities":
                writer = stack.enter_context(ProbabilityWriter(path, given.ids))
                self.probabilities = ProbabilitySink(writer, given.ids, aggregation)
            else:
                export: Any = open_export(kind, path, video=Path(source).stem)
                self._writers.append(stack.enter_context(export))

    def __call__(self, frame: Frame, labels: np.ndarray) -> None:
        """Takes the next frame."""
        for write in self._writers:
            write(frame, labels)
        self.absences.note(frame.name, labels)
        self.written.append(frame.name)


def _given(
    reader: FrameReader, paths: Mapping[int, Path], span: Span, source: str, note: Callable[[str], object]
) -> GivenMasks:
    """The masks of files, by number from the span's first frame."""
    if reader.count is not None:
        _check_reached(span, paths, reader.count)
    given = open_masks(paths, reader.size, source)
    for text in (*reader.notes, *given.notes):
        note(text)
    return given.from_frame(span.start)


def _marked(given: GivenMasks, frames: Iterator[Frame], mark: AddObjects) -> tuple[GivenMasks, Iterator[Frame]]:
    """The masks with those of objects that are marked in the first frame, and the frames from that one on."""
    frame = next(frames, None)
    if frame is None:
        raise InputError("the video has no frames: check the source")
    labels = given[0] if 0 in given else np.zeros(given.size, np.uint8)
    given = given.with_drawn(mark(frame.image, labels, tuple(given.first_frames)))
    return given, itertools.chain((frame,), frames)


def _check_span(span: Span, masks: Mapping[int, Path]) -> None:
    if span.end is not None and span.end < span.start:
        raise InputError(f"--end {span.end} lies before --start {span.start}: exchange them")
    for number, path in masks.items():
        if number < span.start or (span.end is not None and number > span.end):
            raise InputError(f"{path} is the mask of frame {number}, which is not segmented: change --start or --end")


def _check_reached(span: Span, masks: Mapping[int, Path], count: int) -> None:
    """Raises InputError where a video of `count` frames ends before the span begins, or before a mask's frame."""
    if span.start >= count:
        raise InputError(f"the video has {count} frames, from 0, and no frame {span.start}: choose an earlier --start")
    last = max(masks, default=-1)
    if last >= count:
        raise InputError(f"{masks[last]} is the mask of frame {last} and the video has {count} frames, from 0")


def _length(reader: FrameReader, span: Span) -> int | None:
    """How many frames there will be, where that is known."""
    if reader.count is None:
        return None if span.end is None else span.end - span.start + 1
    last = reader.count - 1 if span.end is None else min(span.end, reader.count - 1)
    return max(0, last - span.start + 1)


def _cut(reader: FrameReader, span: Span, masks: Mapping[int, Path]) -> Iterator[Frame]:
    """The frames of a span, their time counted from its first; InputError where they end too early for the masks."""
    begin, count = None, 0
    for number, frame in enumerate(reader):
        count = number + 1
        if number < span.start:
            continue
        if begin is None:
            begin = frame.seconds
        seconds = None if frame.seconds is None or begin is None else frame.seconds - begin
        yield dataclasses.replace(frame, seconds=seconds)
        if number == span.end:
            return
    _check_reached(span, masks, count)


@contextlib.contextmanager
def _interrupt_stops(reader: FrameReader) -> Iterator[None]:
    """While a source without an end (a camera) is read, Ctrl-C makes the current frame its last."""
    if not reader.live:
        yield
        return
    previous = signal.signal(signal.SIGINT, lambda *_: reader.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
