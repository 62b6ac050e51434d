"""Single pictures: every still format that Pillow or OpenCV decodes, upright, as 8-bit RGB."""

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ranet_jax.errors import InputError
from ranet_jax.io.levels import EightBits, Levels
from ranet_jax.io.opencv import quiet_opencv
from ranet_jax.io.reasons import brief

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError),
    *(RuntimeError, zlib.error, struct.error, Image.DecompressionBombError),
)
"""What Pillow raises at damaged files."""
_ONLY_OPENCV = (".hdr", ".pam", ".pfm", ".ras", ".sr", ".tif", ".tiff")
"""Formats of which OpenCV decodes what Pillow does not know. It prints about other damaged files, in spite of all."""
_ORIENTATION_TAG = 0x0112


def read_picture(path: str | Path, to_eight_bits: EightBits | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a picture as 8-bit RGB, upright as its EXIF orientation says.

    Gray, palette, CMYK and transparent pictures become RGB; transparency is dropped.

    Args:
        path: a file that Pillow or OpenCV reads.
        to_eight_bits: how 16-bit and float values are scaled; one for all frames of a video. By default by their
            nominal range: 0 to 65535, or 0 to 1.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        InputError: the file is missing, damaged or not a picture.
    """
    try:
        with quiet_pillow():
            values = _decode(Path(path))
    except UNREADABLE as error:
        raise InputError(f"cannot read the picture {path} ({brief(error)}): replace it by an undamaged one") from error
    if to_eight_bits is not None:
        values = to_eight_bits(values, str(path))
    elif values.dtype != np.uint8:
        values = Levels(0.0, 1.0 if values.dtype.kind == "f" else 65535.0).apply(values)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1)


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keeps Pillow from warning about files of which it then says the same as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def is_animated(path: Path) -> bool:
    """Whether a picture file (GIF, PNG, AVIF, WebP) holds several pictures; False where it is no picture."""
    try:
        with quiet_pillow(), Image.open(path) as file:
            return bool(getattr(file, "is_animated", False))
    except UNREADABLE:
        return False


def _decode(path: Path) -> np.ndarray:
    """Upright values: uint8 RGB (h, w, 3), or gray or RGB of more bits, (h, w) or (h, w, 3)."""
    try:
        with Image.open(path) as file:
            # Of colours of 16 bits Pillow keeps the upper 8: OpenCV decodes those once more. (Before anything else: to
            # look for an orientation in a PNG, Pillow decodes it, and then no longer tells how it was stored.)
            deep_colours = file.mode in ("RGB", "RGBA", "LA") and _has_deep_colours(file)
            orientation = file.getexif().get(_ORIENTATION_TAG, 1)
            # Pillow decodes JPEGs to the same values as OpenCV, and unlike OpenCV it refuses files that are cut off.
            image = ImageOps.exif_transpose(file)
    except UnidentifiedImageError:
        if path.suffix.lower() not in _ONLY_OPENCV:
            raise
        return _decode_by_opencv(path, 1)
    if deep_colours:
        return _decode_by_opencv(path, orientation)
    if image.mode.startswith("I") or image.mode == "F":
        return np.array(image)
    return np.array(image.convert("RGB"))


def _has_deep_colours(file: Image.Image) -> bool:
    if file.format == "JPEG2000":
        return True
    arguments = [tile[3] for tile in getattr(file, "tile", ())]
    return any(";16" in str(a) or (isinstance(a, tuple) and a[-1] == 65535) for a in arguments)


def _decode_by_opencv(path: Path, orientation: int) -> np.ndarray:
    try:
        with quiet_opencv():
            values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    if values is None:
        raise ValueError("neither Pillow nor OpenCV knows this format, or it is damaged")
    if values.ndim == 3:
        # Blue comes first; a fourth channel is transparency, as is the second of two.
        values = values[..., 2::-1] if values.shape[2] >= 3 else values[..., 0]
    return np.ascontiguousarray(_upright(values, orientation))


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
