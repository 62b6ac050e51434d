"""The host side of a batch of videos: one `stream` whose frames are one of each video.

A video that ends before the others leaves its slot to its last frame, again and again, and its outputs are dropped:
the batch keeps its shape, so nothing is compiled again. Videos of nearly one length waste nearly nothing.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.video import Frame
from ranet_jax.runtime.stream import StreamReport, Tracker, stream

Sink = Callable[[Frame, np.ndarray], object]


class Video(NamedTuple):
    """One video of a batch.

    Attributes:
        name: for messages.
        frames: see `stream`; their images are made in a thread.
        first_label_map: labels of the first frame, uint8 (height, width), 0 for the background.
        sink: called with every frame and its label map, in order, in a thread.
    """

    name: str
    frames: Iterable[Frame]
    first_label_map: UInt8[np.ndarray, "height width"]
    sink: Sink


@dataclasses.dataclass(frozen=True)
class FrameBatch:
    """A frame of every video.

    Attributes:
        image: uint8 RGB (b, height, width, 3).
        frames: of each video; None for one that has ended, whose image is its last one.
    """

    image: UInt8[np.ndarray, "b height width 3"]
    frames: tuple[Frame | None, ...]


def track_in_lockstep(
    tracker: Tracker,
    variables: Any,
    videos: Sequence[Video],
    *,
    device: jax.Device | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> list[StreamReport]:
    """Segments several videos of one size at once: `stream`, for all of them.

    Frames of one moment are read by as many threads as there are videos, and so are their label maps written.

    Args:
        tracker: of as many videos at once (`ranet_jax.runtime.batched.BatchedTracker`).
        variables: the tracker's.
        videos: of one frame size.
        device: where the variables are.
        progress: called after every frame of the longest video, with the number done.

    Returns:
        A report for each video: its own number of frames; the time of a frame is that of the batch's step divided by
        the number of videos, and the seconds are those of the whole batch.

    Raises:
        InputError: a video has no frame, or a frame has another size than the first label map, or whatever reading
            and writing raise: the message begins with the video's name.
    """
    counts = [0] * len(videos)
    with ThreadPoolExecutor(len(videos), thread_name_prefix="ranet-batch") as pool:

        def write(one: tuple[int, Frame, np.ndarray]) -> None:
            i, frame, label_map = one
            with _named(videos[i].name):
                videos[i].sink(frame, label_map)
            counts[i] += 1

        def sink(batch: FrameBatch, label_maps: np.ndarray) -> None:
            running = [(i, frame, label_maps[i]) for i, frame in enumerate(batch.frames) if frame is not None]
            list(pool.map(write, running))

        labels = np.stack([video.first_label_map for video in videos])
        whole = stream(tracker, variables, _batches(videos, pool), {0: labels}, sink, device=device, progress=progress)
    median = whole.median_milliseconds_per_frame
    share = None if median is None else median / len(videos)
    return [dataclasses.replace(whole, frames=count, median_milliseconds_per_frame=share) for count in counts]


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts a video's name before what an `InputError` says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _batches(videos: Sequence[Video], pool: ThreadPoolExecutor) -> Iterator[FrameBatch]:
    """Frames of all videos, to the end of the longest one."""
    sources = [_checked(video) for video in videos]
    latest: list[Any] = [None] * len(videos)
    for number in itertools.count():
        frames = tuple(pool.map(lambda source: next(source, None), sources))
        if not any(frames):
            return
        for i, frame in enumerate(frames):
            if frame is not None:
                latest[i] = frame.image
            elif number == 0:
                raise InputError(f"{videos[i].name}: the video has no frames: check the source")
        yield FrameBatch(np.stack(latest), frames)


def _checked(video: Video) -> Iterator[Frame]:
    expected = video.first_label_map.shape
    with _named(video.name):
        for frame in video.frames:
            if frame.image.shape[:2] != expected:
                (height, width), (mask_height, mask_width) = frame.image.shape[:2], expected
                raise InputError(
                    f"frame {frame.name} is {width}x{height} and the first mask {mask_width}x{mask_height}:"
                    " all frames of a video, and its mask, must be of one size"
                )
            yield frame
