"""Video files that browsers play, with a time for every frame."""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import av.video.reformatter as colours
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError

_BT709 = 1
_LIMITED_RANGE = 1
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_VP9 = MappingProxyType({"deadline": "realtime", "cpu-used": "7", "row-mt": "1", "crf": "30", "b": "0"})
# B-frames would cost the end of a video of varying rate: MP4's length is that of the decoding times, which lag behind.
_CODEC_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libopenh264": {"b": "8M"},
    "libvpx-vp9": _VP9,
}


@dataclass(frozen=True)
class _Format:
    """How files of one suffix are written: the first of the codecs that there is, and the steps that time has."""

    codecs: tuple[str, ...]
    clock: Fraction
    pixels: str = "yuv420p"
    shortest_step: int = 1
    options: Mapping[str, str] = field(default_factory=dict)


_FORMATS = {
    # The index comes first, so that browsers play what is still on its way.
    ".mp4": _Format(("libx264", "libopenh264", "libvpx-vp9"), Fraction(1, 90000), options={"movflags": "+faststart"}),
    ".webm": _Format(("libvpx-vp9",), Fraction(1, 1000)),
    # Browsers show frames of one hundredth of a second for ten.
    ".gif": _Format(("gif",), Fraction(1, 100), pixels="pal8", shortest_step=2),
}
SUFFIXES = tuple(_FORMATS)
"""What a video's name may end with."""


class Encoder:
    """Writes RGB pictures to a video file: H.264 in .mp4, VP9 in .webm, or a .gif.

    A picture is shown until the next one's time, the last one for an average step. Times that do not rise, and
    pictures of a GIF that come faster than it can show them, are moved or left out.
    """

    def __init__(self, path: Path, size: tuple[int, int], frames_per_second: int | float, *, name: Path):
        """Opens the file.

        Args:
            path: a file that may be overwritten; its suffix, one of `SUFFIXES`, decides the format.
            size: (height, width), both even but for GIFs.
            frames_per_second: on average.
            name: what the file is called in messages.

        Raises:
            InputError: this PyAV has no encoder for the format, or the file cannot be written.
        """
        self._format = _FORMATS[path.suffix.lower()]
        codec = next((name for name in self._format.codecs if _can_encode(name)), None)
        if codec is None:
            names = " or ".join(self._format.codecs)
            raise InputError(f"this PyAV has no encoder for {path.suffix} ({names}): choose another suffix")
        self._step = max(1, round(1 / (frames_per_second * self._format.clock)))
        self._rate = frames_per_second
        self._number = 0
        self._held: Any = None
        self._name = name
        with _reported(name):
            self._container = av.open(str(path), "w", options=dict(self._format.options))
        rate = Fraction(frames_per_second).limit_denominator(1001)
        options = dict(_CODEC_OPTIONS.get(codec, _NO_OPTIONS))
        stream: Any = self._container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = self._format.pixels
        self._stream = stream
        context = stream.codec_context
        context.time_base = self._format.clock
        if self._format.pixels != "pal8":
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED_RANGE

    def write(self, image: UInt8[np.ndarray, "height width 3"], seconds: float | None) -> None:
        """Appends a picture.

        Args:
            image: uint8 RGB.
            seconds: when it is shown; None for what its number and the rate say.

        Raises:
            InputError: the file cannot be written, for example because the disk is full.
        """
        last = None if self._held is None else self._held.pts
        time = round((self._number / self._rate if seconds is None else seconds) / self._format.clock)
        self._number += 1
        if last is not None and time < last + self._format.shortest_step:
            if self._format.shortest_step > 1:
                return
            time = last + 1
        frame = self._frame(image)
        frame.pts, frame.time_base = time, self._format.clock
        with _reported(self._name):
            self._encode_held(until=time)
        self._held = frame

    def finish(self) -> None:
        """Writes the rest and closes the file.

        Raises:
            InputError: the file cannot be written, for example because the disk is full.
        """
        with _reported(self._name):
            if self._held is not None:
                self._encode_held(until=self._held.pts + self._step)
                self._container.mux(self._stream.encode(None))
            self._container.close()

    def abandon(self) -> None:
        """Closes the file, which is then of no use; never fails."""
        with contextlib.suppress(av.FFmpegError):
            self._container.close()

    def _encode_held(self, until: int) -> None:
        """A frame is encoded when its duration is known: the last one's is nowhere else in the file."""
        if self._held is not None:
            self._held.duration = until - self._held.pts
            self._container.mux(self._stream.encode(self._held))

    def _frame(self, image: UInt8[np.ndarray, "height width 3"]) -> Any:
        if self._format.pixels == "pal8":
            return _indexed(image)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        return frame.reformat(
            format=self._format.pixels,
            dst_colorspace=colours.Colorspace.ITU709,
            dst_color_range=colours.ColorRange.MPEG,
        )


def _can_encode(codec: str) -> bool:
    try:
        return bool(av.codec.Codec(codec, "w"))
    except ValueError:  # PyAV's error for unknown codecs
        return False


def _indexed(image: UInt8[np.ndarray, "height width 3"]) -> Any:
    """A frame of 256 colours chosen for this picture."""
    picture = Image.fromarray(image).quantize(256, Image.Quantize.FASTOCTREE)
    table = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    palette[: len(table), 1:] = table
    indexed: Any = np.array(picture), palette  # PyAV's stubs know arrays alone
    return av.VideoFrame.from_ndarray(indexed, format="pal8")


@contextlib.contextmanager
def _reported(name: Path) -> Iterator[None]:
    """Tells FFmpeg's errors as ours: of the operating system, or with a text of its own."""
    try:
        yield
    except av.FFmpegError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number in errno.errorcode else str(error).splitlines()[0]
        raise InputError(f"cannot write {name}: {reason}; make room or choose another place") from error
