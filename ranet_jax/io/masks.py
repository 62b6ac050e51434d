"""Label maps as image files: palette PNGs out, any common mask format in.

A label map is a uint8 array (height, width): 0 is the background, every other value the id of an object,
and 255 in a palette annotation is the void region that DAVIS leaves out of its scores. `docs/palette.md`
describes the file formats.
"""

import io
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def _bit_interleaved_palette() -> UInt8[np.ndarray, "256 3"]:
    """The colour map of PASCAL VOC: an id's bits 0, 3, 6 fill red from the top; 1, 4, 7 green; 2, 5 blue."""
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


DAVIS_PALETTE: UInt8[np.ndarray, "256 3"] = _bit_interleaved_palette()
"""RGB of every label: the PASCAL VOC colour map, which DAVIS uses, up to label 255."""
DAVIS_PALETTE.setflags(write=False)


def read_label_map(path: str | Path) -> UInt8[np.ndarray, "height width"]:
    """Reads a mask file as a label map.

    | file | labels |
    |---|---|
    | palette | the indices, whatever their colours |
    | gray, 8 or 16 bits, alpha ignored | only black and white: 0 and 1; otherwise the values |
    | bi-level | 0 and 1 |

    Args:
        path: the file, a PNG or another lossless format that Pillow reads.

    Returns:
        The label map, uint8 (height, width), 0 for the background.

    Raises:
        InputError: the file is missing, unreadable or cut off, lossy (JPEG), a colour image, or holds ids
            above 255.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no mask file {path}: check the path")
    try:
        with Image.open(path) as image:
            image.load()
    except _UNREADABLE as error:
        raise InputError(f"cannot read the mask {path} ({error}): give an undamaged PNG") from error
    if image.format in ("JPEG", "MPO"):
        raise InputError(f"the mask {path} is a JPEG, whose compression changes the ids: save it as a PNG")
    if image.mode == "P":
        return np.array(image, np.uint8)
    if image.mode == "PA":
        return np.array(image.getchannel(0), np.uint8)
    if image.mode == "1":
        return np.array(image, np.uint8)
    if image.mode in ("L", "LA", "I", "I;16", "I;16B", "I;16L"):
        values = np.array(image.getchannel(0) if image.mode == "LA" else image)
        return _labels_of_gray(path, values, white=255 if values.dtype == np.uint8 else 65535)
    raise InputError(
        f"the mask {path} is a colour image (mode {image.mode}), which has no object ids: "
        "save it as a palette (indexed) or gray PNG"
    )


def write_label_map(path: str | Path, labels: UInt8[np.ndarray, "height width"]) -> None:
    """Writes a label map as an 8-bit palette PNG in the DAVIS colours, atomically.

    Args:
        path: the file to write; missing parent folders are created.
        labels: the label map, uint8 (height, width), not empty.

    Raises:
        InputError: the file cannot be written.
    """
    image = Image.fromarray(labels)  # mode L; attaching a palette keeps the values and makes it mode P
    image.putpalette(DAVIS_PALETTE.tobytes())
    encoded = io.BytesIO()
    # Run lengths alone compress label maps to about the size of a full search, in a third of the time.
    image.save(encoded, format="PNG", compress_type=zlib.Z_RLE)
    with atomic_file(path) as temporary:
        # Pillow hides why a write failed; writing the bytes here lets a full disk be told from a fault.
        temporary.write_bytes(encoded.getvalue())


def _labels_of_gray(path: str | Path, values: np.ndarray, *, white: int) -> UInt8[np.ndarray, "height width"]:
    """Values of a gray mask as labels: a black and white mask has one object, any other holds the ids."""
    is_white = values == white
    if np.all(is_white | (values == 0)):
        return is_white.astype(np.uint8)
    if values.min() < 0 or values.max() > 255:
        raise InputError(
            f"the mask {path} holds values up to {values.max()}, but ids end at 255: save it as an 8-bit PNG"
        )
    return values.astype(np.uint8)
