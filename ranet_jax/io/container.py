"""Frames from a video file, decoded by FFmpeg's libraries (PyAV)."""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.ends import ends_early, ends_inside_a_frame, is_iso_file
from ranet_jax.io.frames import FOLDER_FRAMES_PER_SECOND, DamagedVideoError, Frame, FrameReader, TruncatedVideoError
from ranet_jax.io.levels import EightBits

_HIGHEST_FRAME_RATE = 480.0
"""Files that do not know their rate announce that of their clock: 1000, 90000."""
_DECODING_ERRORS = (av.FFmpegError, ValueError)
"""PyAV's; from version 19 on, a `ValueError` where damage makes a codec unknown."""
_WITHOUT_LENGTH = ("flv", "live_flv", "mpeg", "mpegts")
"""Formats that do not say where they end: that frames are missing shows in those that are shown after them."""


def open_container(path: Path, to_eight_bits: EightBits) -> FrameReader:
    """Opens a video file.

    Frames come in the order in which they are shown, turned and mirrored as the file says, in the colours that FFmpeg
    shows, with their time stamps. Left out are frames that an edit list skips, and a last one that is only half there.

    Args:
        path: a file that exists.
        to_eight_bits: scales gray frames of more than 8 bits.

    Returns:
        The reader.

    Raises:
        InputError: the file is no video, holds no picture, or nothing here decodes it.
    """
    container, stream = _open_stream(path)
    try:
        # Threads that work on several frames at a time are the fastest for small frames, too.
        stream.thread_type = "AUTO"
        frames = _Decoding(path, container, stream, to_eight_bits)
        first = next(frames.shown, None)
    except InputError:
        container.close()
        raise
    if first is None:
        container.close()
        raise InputError(
            f"{path}: no frame can be decoded ({frames.codec}): it is damaged or cut off; get another copy"
        )
    return FrameReader(
        frames.named(first),
        size=(first[0].shape[0], first[0].shape[1]),
        frames_per_second=frames.rate,
        count=stream.frames or None,
        release=container.close,
        notes=() if to_eight_bits.note is None else (to_eight_bits.note,),
    )


def _open_stream(path: Path) -> tuple[Any, Any]:
    """The container and its video stream, which has a decoder."""
    try:
        container = av.open(str(path))
    except PermissionError as error:
        raise InputError(f"cannot read {path}: permission denied") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot decode {path}: {_what_is_wrong(path)}") from error
    # Files of sound may hold a cover, which is a stream of one picture.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        container.close()
        raise InputError(f"{path} holds no moving pictures: give a video file")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        container.close()
        raise InputError(
            f"{path}: there is no decoder here for its codec{_codec_name(path)}: convert it, for example by"
            " `ffmpeg -i IN -c:v libx264 OUT.mp4`"
        )
    return container, stream


def _what_is_wrong(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return "the file is empty; get another copy"
    if is_iso_file(head):
        return "it is cut off before its index, or damaged; get a complete copy"
    return "it is not a video, or its beginning is damaged; give a video file or a folder of frames"


def _codec_name(path: Path) -> str:
    """Name of a codec that FFmpeg does not know, with a leading space; only its log tells."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.VERBOSE)
    try:
        with av.logging.Capture() as lines:
            av.open(str(path)).close()
    finally:
        av.logging.set_level(level)
    text = " ".join(line[2] for line in lines)
    name = re.search(r"AVCodecID (\S+?)\.?\s", text) or re.search(r"Video: \w+ \((\S+) /", text)
    return f" {name[1]}" if name else ""


class _Decoding:
    """One pass over a stream.

    Attributes:
        shown: (image, seconds) in order; ends with `IncompleteVideoError` where frames are missing.
        rate: frames per second on average.
        codec: its name.
    """

    def __init__(self, path: Path, container: Any, stream: Any, to_eight_bits: EightBits):
        self._path = path
        self._container = container
        self._stream = stream
        self._to_eight_bits = to_eight_bits
        self._decoded = 0
        self._lost = 0
        self._cut = False
        self._first_time = self._last_time = 0.0
        self._is_avi = container.format.name == "avi"
        # What FFmpeg says of these files' length is what it found in them.
        self._unannounced = container.format.name in ("gif", "mpegts")
        self.codec = stream.codec_context.name
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if not 0 < rate <= _HIGHEST_FRAME_RATE:
            rate = float(stream.guessed_rate or 0)
        self.rate = rate if 0 < rate <= _HIGHEST_FRAME_RATE else FOLDER_FRAMES_PER_SECOND
        self.shown = self._shown()

    def named(self, first: tuple[np.ndarray, float]) -> Iterator[Frame]:
        """All frames, of which the first was taken already."""
        yield Frame("00000", *first)
        for index, (image, seconds) in enumerate(self.shown, start=1):
            if image.shape != first[0].shape:
                (height, width), (new_height, new_width) = first[0].shape[:2], image.shape[:2]
                raise InputError(
                    f"{self._path} changes from {width}x{height} to {new_width}x{new_height} at frame {index}:"
                    " cut it there, or convert it to one size"
                )
            yield Frame(f"{index:05d}", image, seconds)

    def _shown(self) -> Iterator[tuple[UInt8[np.ndarray, "height width 3"], float]]:
        for frame in self._whole_frames():
            seconds = self._time(frame)
            if self._decoded == 0:
                self._first_time = seconds = 0.0 if math.isnan(seconds) else seconds
            # Raw streams have no time stamps, and those of broken files need not be in order.
            elif not seconds > self._last_time:
                seconds = self._last_time + 1.0 / self.rate
            self._last_time = seconds
            self._decoded += 1
            seconds -= self._first_time
            yield upright_image(frame, self._to_eight_bits, str(self._path)), seconds
        if self._cut:
            announced = None if self._unannounced else self._stream.frames or None
            raise TruncatedVideoError(self._path, self._decoded, announced)
        if self._lost:
            raise DamagedVideoError(self._path, self._decoded, self._lost)

    def _is_last(self, waiting: list[Any]) -> bool:
        """Whether these are the video's last frames, though its file is shorter than it should be: an index is lost."""
        if self._unannounced:
            return False
        if self._stream.frames:
            return self._decoded + len(waiting) >= self._stream.frames
        length = self._container.duration
        times = [self._time(frame) for frame in waiting]
        last = max([self._last_time, *(time for time in times if not math.isnan(time))])
        return length is not None and last - self._first_time + 1.5 / self.rate >= length / av.time_base

    def _has_gap(self, waiting: list[Any]) -> bool:
        """Whether a frame seems to be missing among the last ones, which were decoded before frames shown earlier."""
        times = [time for time in (self._last_time, *map(self._time, waiting)) if not math.isnan(time)]
        has_order = bool(self._stream.codec_context.has_b_frames) and not self._is_avi
        return has_order and any(after - before > 1.5 / self.rate for before, after in itertools.pairwise(times))

    def _time(self, frame: Any) -> float:
        """Time stamp in seconds; NaN where there is none. AVI has those of decoding alone, in steps of equal length."""
        if frame.pts is None or (self._is_avi and self._stream.codec_context.has_b_frames):
            return math.nan
        # The last frames, which the decoder still held, do not know the unit of their own time.
        return float(frame.pts * self._stream.time_base)

    def _whole_frames(self) -> Iterator[Any]:
        """Decoded frames, without those at the end that are only partly there."""
        doubtful: list[Any] = []
        for frame in self._decoded_frames():
            if frame.is_corrupt:
                doubtful.append(frame)
                continue
            yield from doubtful  # damaged in the middle: shown as players show it
            doubtful.clear()
            yield frame
        if doubtful:
            self._cut = True

    def _decoded_frames(self) -> Iterator[Any]:
        decoder = self._stream.codec_context
        failed = 0
        begun = False
        last_dts = None
        for packet in self._packets():
            last_dts = packet.dts
            try:
                frames = decoder.decode(packet)
            except _DECODING_ERRORS:
                failed += begun  # recordings may begin with what belongs to frames before them
                continue
            if frames:
                self._lost += failed
                failed, begun = 0, True
            yield from frames
        self._cut |= failed > 0
        try:
            waiting = decoder.decode(None)
        except _DECODING_ERRORS:
            self._cut = True
            return
        shown_to_the_end = not self._has_gap(waiting)
        if ends_early(self._path):
            self._cut |= not (shown_to_the_end and self._is_last(waiting))
        elif self._container.format.name in _WITHOUT_LENGTH:
            self._cut |= not shown_to_the_end
        for frame in waiting:
            if self._cut and decoder.has_b_frames and not self._follows(frame, last_dts):
                return
            yield frame

    def _follows(self, frame: Any, last_dts: int | None) -> bool:
        """Whether nothing that was cut off is shown before this frame: all of that is decoded, and shown, later."""
        is_ordered = not self._is_avi and frame.pts is not None and last_dts is not None
        return is_ordered and frame.pts <= last_dts

    def _packets(self) -> Iterator[Any]:
        """Packets to be decoded, without a last one that is only partly there."""
        held = None
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    if held is not None:
                        yield held
                    held = packet
        except _DECODING_ERRORS:
            self._cut = True
        if held is not None and (held.is_corrupt or ends_inside_a_frame(self._path, self._stream.id)):
            self._cut = True
        elif held is not None:
            yield held


_NO_PIXELS = np.zeros((0, 3), np.uint8)


def upright_image(frame: Any, to_eight_bits: EightBits, source: str) -> UInt8[np.ndarray, "height width 3"]:
    """A decoded frame as RGB, turned and mirrored as the file says.

    Args:
        frame: of PyAV.
        to_eight_bits: of the video; gray frames of more bits go through it.
        source: the video, for messages.

    Raises:
        InputError: a range was given and the frame has 8 bits.
    """
    if re.fullmatch("gray(9|1[0-6]|f)[0-9lbe]*", frame.format.name):
        gray = to_eight_bits(frame.to_ndarray(), source)
        image = np.repeat(gray[..., None], 3, axis=-1)
    else:
        to_eight_bits(_NO_PIXELS, source)  # a range that was given for 8 bits is refused
        image = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return image if matrix is None else _transformed(image, np.frombuffer(bytes(matrix), np.int32))


def _transformed(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a display matrix, rounded to one of the eight that keep the grid of pixels.

    A pixel at (x, y) is shown at (a x + c y, b x + d y), where a, b are the first two entries and c, d the fourth and
    fifth (ISO/IEC 14496-12, 6.2.2).
    """
    a, b, c, d = (int(matrix[index]) for index in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)
