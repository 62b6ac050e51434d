"""The host side of tracking: frames in, label maps out, while the device is kept busy.

    reader thread: decode, copy to the device -> calling thread: dispatch steps -> writer thread: fetch, sink

The calling thread reads no value back, so that the device never waits for the host. Both hand-overs are
bounded: the host runs ahead only a few frames, and memory stays flat however long the video is.
"""

import collections
import itertools
import statistics
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError

T = TypeVar("T")


@runtime_checkable
class Picture(Protocol):
    """What `stream` needs of a frame: a `Frame`, or one of each of several videos (`ranet_jax.runtime.lockstep`)."""

    @property
    def image(self) -> np.ndarray:
        """uint8 RGB (..., height, width, 3)."""


P = TypeVar("P", bound=Picture)


@runtime_checkable
class Tracker(Protocol):
    """What `stream` needs of a tracker: functions, compiled by the tracker, of arrays on the device.

    Where masks are given for later frames, too, there is `annotate(variables, state, frame, label_map)`, which stands
    in for `step` at such a frame and makes the room that its objects need (see `ranet_jax.tracker.Tracker`). Nobody
    says beforehand what will come: a frame's result depends on the masks up to it alone, so that tracking which goes on
    after a correction is the same, to the last bit, as tracking in one go with that correction.
    """

    def init(self, variables: Any, frame: jax.Array, label_map: jax.Array) -> Any:
        """The state after the first frame, uint8 (height, width, 3), whose uint8 label map is given."""

    def step(self, variables: Any, state: Any, frame: jax.Array) -> tuple[Any, jax.Array, Any]:
        """The next state, the frame's uint8 (height, width) label map, and anything; may donate the state."""


ProbabilitySink = Callable[[Any, np.ndarray, np.ndarray | None], object]
"""Called with a frame, its label map, and its objects' probabilities where the label map is not certain."""


class _Segmented(NamedTuple):
    """A frame with what was found in it, perhaps still on its way from the device."""

    frame: Any
    label_map: np.ndarray | jax.Array
    probability: jax.Array | np.ndarray | None


@dataclass(frozen=True)
class StreamReport:
    """What a finished stream took.

    Attributes:
        frames: number of frames given to the sink.
        median_milliseconds_per_frame: median wall time from one frame leaving the sink to the next one. The
            first step, which waits for the compiler, is left out; None for fewer than three frames.
        seconds: wall time of everything, compilation included.
    """

    frames: int
    median_milliseconds_per_frame: float | None
    seconds: float


def stream(
    tracker: Tracker,
    variables: Any,
    frames: Iterable[P],
    given: Mapping[int, UInt8[np.ndarray, "*b height width"]],
    sink: Callable[[P, np.ndarray], object],
    *,
    device: jax.Device | None = None,
    queue_size: int = 4,
    progress: Callable[[int], object] = lambda done: None,
    probabilities: ProbabilitySink | None = None,
) -> StreamReport:
    """Segments a video: tracks the labels that are given for some frames, mostly the first, through all that follow.

    With a tracker of several videos, a frame is one of each: images, and the label maps, have a leading axis.

    An error of `frames` counts as their end: what came before it is tracked and given to the sink, then the
    error is raised. An error of the tracker, the sink or `progress`, or an interruption, ends the stream at
    once. In every case both threads have ended when this returns or raises.

    Args:
        tracker: see `Tracker`.
        variables: the tracker's, on the device.
        frames: the video, read in a thread of its own; all of one size.
        given: by number of the frame, from 0, its labels, uint8 (height, width), 0 for the background. Frames before
            the first of them show nothing.
        sink: called in another thread, in order, with every frame and its label map, uint8 (height, width),
            read-only.
        device: where the variables are, for the frames to be put there; JAX's default device if None.
        queue_size: frames that may wait before the tracker, and label maps that may wait after it.
        progress: called after every frame, in the sink's thread, with the number of frames done.
        probabilities: called before the sink with every frame, its label map, and what the tracker's `step` gives
            beside it, float32 (height, width, n); None for the first frame that has labels and those before it.

    Returns:
        How many frames, and how long they took.

    Raises:
        InputError: there is no frame, one has another size than its label map, or there are fewer frames than that.
        Exception: whatever `frames`, `tracker`, `sink` or `progress` raise.
    """
    start = time.perf_counter()
    incoming: _Handover[tuple[P, jax.Array]] = _Handover(queue_size)
    outgoing: _Handover[_Segmented] = _Handover(queue_size)
    finished = array("d")
    with ThreadPoolExecutor(2, thread_name_prefix="ranet-stream") as pool:
        try:
            reading = pool.submit(_read, frames, incoming, device)
            writing = pool.submit(_write, outgoing, sink, progress, finished, probabilities)
            waiting = _track(tracker, variables, given, incoming, outgoing, device, probabilities is not None)
            outgoing.close()
            writing.result()
        finally:  # whatever happened, neither thread may wait for the other side any more
            incoming.abandon()
            outgoing.abandon()
        reading.result()
    return _report(finished, waiting, time.perf_counter() - start)


def _report(finished: "array[float]", waiting: set[int], seconds: float) -> StreamReport:
    """From the times at which frames were done, and the numbers of masks that no frame came for."""
    if not finished:
        raise InputError("the video has no frames: check the source")
    if waiting:
        raise InputError(f"a mask is given for frame {max(waiting)} and the video has {len(finished)}, from 0")
    intervals = [after - before for before, after in itertools.pairwise(finished[1:])]
    return StreamReport(len(finished), 1e3 * statistics.median(intervals) if intervals else None, seconds)


class _Handover(Generic[T]):
    """A bounded queue between two threads that either side can end.

    `close` is the producer's end: what is queued is still delivered. `abandon` drops it: a waiting or later
    `put` returns False, and the consumer's loop ends.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._items: collections.deque[T] = collections.deque()
        self._closed = False
        self._abandoned = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Waits for room; False where the other side has given up."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._items) < self._capacity)
            if not self._abandoned:
                self._items.append(item)
                self._changed.notify_all()
            return not self._abandoned

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        with self._changed:
            self._closed = self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._closed)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item  # while the consumer waits for the next one, this one's memory is free


def _read(frames: Iterable[P], incoming: _Handover[tuple[P, jax.Array]], device: jax.Device | None) -> None:
    try:
        for frame in frames:
            if not incoming.put((frame, jax.device_put(frame.image, device))):
                return
    finally:
        incoming.close()


def _track(
    tracker: Tracker,
    variables: Any,
    given: Mapping[int, UInt8[np.ndarray, "*b height width"]],
    incoming: _Handover[tuple[P, jax.Array]],
    outgoing: "_Handover[_Segmented]",
    device: jax.Device | None,
    with_probabilities: bool,
) -> set[int]:
    """Tracks all frames; the numbers of given label maps that no frame came for."""
    state, waiting = None, set(given)
    for number, (frame, image) in enumerate(incoming):
        label_map: np.ndarray | jax.Array
        probability = None
        if number in waiting:
            waiting.discard(number)
            labels = given[number]  # read once: it may lie in a file
            _require_same_size(frame, labels)
            on_device = jax.device_put(labels, device)
            if state is None:
                state, label_map = tracker.init(variables, image, on_device), labels
            else:
                state, label_map, probability = tracker.annotate(variables, state, image, on_device)  # type: ignore[attr-defined]
        elif state is None:
            label_map = np.zeros(frame.image.shape[:-1], np.uint8)
        else:
            state, label_map, probability = tracker.step(variables, state, image)
        probability = probability if with_probabilities else None
        for result in (label_map, probability):
            if isinstance(result, jax.Array):
                result.copy_to_host_async()
        if not outgoing.put(_Segmented(frame, label_map, probability)):
            return set()
    return waiting


def _require_same_size(frame: Picture, label_map: UInt8[np.ndarray, "*b height width"]) -> None:
    (mask_height, mask_width), (height, width) = label_map.shape[-2:], frame.image.shape[-3:-1]
    if (mask_height, mask_width) != (height, width):
        raise InputError(
            f"the mask is {mask_width}x{mask_height} but the video is {width}x{height}: give a mask of its frame's size"
        )


def _write(
    outgoing: "_Handover[_Segmented]",
    sink: Callable[[P, np.ndarray], object],
    progress: Callable[[int], object],
    finished: "array[float]",
    probabilities: ProbabilitySink | None,
) -> None:
    try:
        for frame, label_map, probability in outgoing:
            labels = np.asarray(label_map)
            if probabilities is not None:
                probabilities(frame, labels, None if probability is None else np.asarray(probability))
            sink(frame, labels)
            finished.append(time.perf_counter())
            progress(len(finished))
    finally:
        outgoing.abandon()
