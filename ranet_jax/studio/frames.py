"""Any frame of a video file or a folder of pictures, by its number: for scrubbing, and for tracking from anywhere.

A video's packets are read once, without decoding, for the times of its frames and the places where decoding can
start. A frame is then decoded from the last such place before it, and neighbours are kept in a small cache.
"""

import bisect
import collections
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.container import upright_image
from ranet_jax.io.folders import frame_files
from ranet_jax.io.frames import FOLDER_FRAMES_PER_SECOND, Frame
from ranet_jax.io.levels import EightBits
from ranet_jax.io.pictures import read_picture

CACHE_BYTES = 96 * 1024**2
"""Decoded frames that are kept for scrubbing."""
CHUNK_BYTES = 160 * 1024**2
"""Decoded frames that a backward pass over a video holds at a time."""
DECODED_PIXELS_PER_SECOND = 150e6
"""What one core decodes of common codecs; decides which videos need small pictures of their frames on disk."""
PATIENCE = 0.08
"""Seconds that decoding up to one frame may take before such a picture is shown in its place."""

Image = UInt8[np.ndarray, "height width 3"]


@runtime_checkable
class _Source(Protocol):
    """What a folder and a video have in common."""

    names: list[str]
    size: tuple[int, int]
    frames_per_second: float

    def image(self, index: int) -> Image:
        """Any frame."""

    def run(self, start: int, stop: int, step: int) -> Iterator[Image]:
        """Frames in order."""

    def start(self, index: int) -> int:
        """The frame, at or before this one, with which decoding has to start."""

    def time(self, index: int) -> float | None:
        """When a frame is shown, in seconds from the first; None where its place and the rate say so."""


class FrameStore:
    """All frames of a source, by number. Safe to use from several threads.

    Attributes:
        names: of the frames, as results are named: file stems, or "00000", "00001", ...
        size: height and width of every frame.
        frames_per_second: of the video; 24 for a folder.
    """

    def __init__(self, path: str | Path):
        """Opens a source.

        Args:
            path: a video file, or a folder of JPEG or PNG frames.

        Raises:
            InputError: nothing is there, or nothing that can be decoded.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"there is no video {path}: check the path")
        self._source: _Source = _Folder(self.path) if self.path.is_dir() else _Video(self.path)
        self.names = self._source.names
        self.size = self._source.size
        self.frames_per_second = self._source.frames_per_second
        self._cache: collections.OrderedDict[int, Image] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int | None:
        """Number of the frame of that name."""
        try:
            return self.names.index(name)
        except ValueError:
            return None

    def image(self, index: int) -> Image:
        """One frame, uint8 RGB (height, width, 3), read-only.

        Raises:
            InputError: it cannot be decoded.
        """
        with self._lock:
            if index not in self._cache:
                image = self._source.image(index)
                image.setflags(write=False)
                self._cache[index] = image
                room = max(2, CACHE_BYTES // image.nbytes)
                while len(self._cache) > room:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(index)
            return self._cache[index]

    def is_quick(self, index: int) -> bool:
        """Whether a frame is at hand, or decoded within `PATIENCE`."""
        return index in self._cache or self._seconds_to(index) <= PATIENCE

    def is_quick_everywhere(self) -> bool:
        """Whether every frame is decoded within `PATIENCE`."""
        return all(self._seconds_to(index) <= PATIENCE for index in range(len(self)))

    def quick_neighbour(self, index: int) -> int:
        """The frame itself where it is decoded quickly; otherwise one not far before it that is."""
        return index if self.is_quick(index) else self._source.start(index)

    def _seconds_to(self, index: int) -> float:
        """About how long one frame takes to decode."""
        height, width = self.size
        return (index - self._source.start(index)) * height * width / DECODED_PIXELS_PER_SECOND

    def run(self, start: int, stop: int, step: int = 1) -> Iterator[Frame]:
        """Frames `start`, `start + step`, ... before `stop`, each decoded once as it is asked for.

        Args:
            start: number of the first one.
            stop: exclusive; -1 for a backward run to the first frame.
            step: 1 or -1.

        Raises:
            InputError: a frame cannot be decoded; those before it were yielded.
        """
        numbers = range(start, stop, step)
        for index, image in zip(numbers, self._source.run(start, stop, step), strict=True):
            yield Frame(self.names[index], image, self._source.time(index))


class _Folder:
    """Pictures, sorted as `open_frames` sorts them."""

    def __init__(self, folder: Path):
        self._paths = frame_files(folder).files
        self.names = [path.stem for path in self._paths]
        self._levels = EightBits(None)  # the first frame's range is that of all
        first = read_picture(self._paths[0], self._levels)
        self.size = (first.shape[0], first.shape[1])
        self.frames_per_second = FOLDER_FRAMES_PER_SECOND

    def image(self, index: int) -> Image:
        image = read_picture(self._paths[index], self._levels)
        if image.shape[:2] != self.size:
            raise InputError(
                f"{self._paths[index]} is {image.shape[1]}x{image.shape[0]} but the first frame is "
                f"{self.size[1]}x{self.size[0]}: all frames must have one size"
            )
        return image

    def run(self, start: int, stop: int, step: int) -> Iterator[Image]:
        return (self.image(index) for index in range(start, stop, step))

    def start(self, index: int) -> int:
        return index

    def time(self, index: int) -> float | None:
        return None


class _Index(NamedTuple):
    times: list[int]
    starts: list[int]  # numbers of the frames where decoding can start
    frames_per_second: float
    time_base: float


class _Video:
    """A video file through FFmpeg."""

    def __init__(self, path: Path):
        self._path = path
        self._index = _read_index(path)
        self.frames_per_second = self._index.frames_per_second
        self._decoder: _Decoder | None = None
        self._to_eight_bits = EightBits()  # by the first frame, which is decoded here
        first = self.image(0)
        self.size = (first.shape[0], first.shape[1])
        self.names = [f"{index:05d}" for index in range(len(self._index.times))]

    def image(self, index: int) -> Image:
        # The decoder that stands just before the frame goes on; any other place needs a seek.
        near = self._decoder is not None and self.start(index) < self._decoder.position <= index
        if self._decoder is None or not near:
            if self._decoder is not None:
                self._decoder.close()
            self._decoder = _Decoder(self._path, self._index, self.start(index), self._to_eight_bits)
        try:
            return self._decoder.take(index)
        except InputError:
            self._decoder.close()
            self._decoder = None
            raise

    def run(self, start: int, stop: int, step: int) -> Iterator[Image]:
        if step > 0:
            yield from self._forward(start, stop)
            return
        height, width = self.size
        length = max(2, CHUNK_BYTES // (height * width * 3))
        for last in range(start, stop, -length):
            first = max(stop + 1, last - length + 1)
            images = list(self._forward(first, last + 1))
            while images:
                yield images.pop()

    def time(self, index: int) -> float | None:
        return (self._index.times[index] - self._index.times[0]) * self._index.time_base

    def start(self, index: int) -> int:
        return self._index.starts[bisect.bisect_right(self._index.starts, index) - 1]

    def _forward(self, start: int, stop: int) -> Iterator[Image]:
        decoder = _Decoder(self._path, self._index, self.start(start), self._to_eight_bits, threads=True)
        try:
            for index in range(start, stop):
                yield decoder.take(index)
        finally:
            decoder.close()


class _Decoder:
    """One reader of the file that moves forward.

    Attributes:
        position: number of the frame it gives next.
    """

    def __init__(self, path: Path, index: _Index, start: int, to_eight_bits: EightBits, *, threads: bool = False):
        self._path, self._times, self._to_eight_bits = path, index.times, to_eight_bits
        self._container = av.open(str(path))
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO" if threads else "SLICE"
        if start > 0:
            self._container.seek(index.times[start], stream=stream, backward=True)
        self._frames = self._container.decode(stream)
        self.position = start

    def take(self, index: int) -> Image:
        """Decodes up to a frame at or after `position`."""
        wanted = self._times[index]
        try:
            for frame in self._frames:
                if frame.pts is not None and frame.pts >= wanted:
                    self.position = index + 1
                    return upright_image(frame, self._to_eight_bits, str(self._path))
        except av.error.FFmpegError as error:
            raise InputError(f"cannot decode frame {index} of {self._path} ({error.strerror})") from error
        raise InputError(f"{self._path} ends before its frame {index}: get a complete copy")

    def close(self) -> None:
        self._container.close()


def _read_index(path: Path) -> _Index:
    """Times of all frames, from the packets alone."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no video: give a video file")
            stream = container.streams.video[0]
            packets = [
                (packet.pts if packet.pts is not None else packet.dts, packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
            rate, time_base = stream.average_rate, float(stream.time_base or 0)
    except av.error.FFmpegError as error:
        raise InputError(f"cannot decode {path}: it is not a video, or damaged ({error.strerror})") from error
    known = sorted((time, bool(key)) for time, key in packets if time is not None)
    while known and not known[0][1]:  # what comes before the first complete picture cannot be decoded
        known.pop(0)
    times = [time for time, _ in known]
    if not times or len(set(times)) < len(times):
        raise InputError(f"cannot find the frames of {path}: convert it to mp4, or give a folder of pictures")
    starts = [number for number, (_, key) in enumerate(known) if key]
    valid = rate is not None and 0 < rate <= 1000
    return _Index(times, starts, float(rate) if valid and rate else FOLDER_FRAMES_PER_SECOND, time_base)


def encode_jpeg(image: Image, *, longest: int | None = None, quality: int = 90) -> bytes:
    """A frame as a JPEG, made smaller where its longer side has more than `longest` pixels."""
    if longest is not None and max(image.shape[:2]) > longest:
        scale = longest / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "JPEG takes any 8-bit picture"
    return encoded.tobytes()
