"""Label maps as files: palette PNGs out, every form of mask that people have in.

A label map is a uint8 array (height, width): 0 is the background, every other value the id of an object, also 255.
What scoring makes of 255 in annotations is not decided here. `docs/palette.md` describes the file formats.
"""

import io
import re
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.mask_arrays import Mask, mask_of_array_file
from ranet_jax.io.mask_coco import mask_of_json
from ranet_jax.io.mask_pictures import mask_of_picture
from ranet_jax.io.palette import DAVIS_PALETTE

__all__ = ["DAVIS_PALETTE", "Mask", "encode_label_map", "read_label_map", "read_mask", "write_label_map"]

_SAME_SIZE = 0.05
"""Masks whose scale differs from the frames' by less are cropped rather than resized: their size is refused."""


def read_mask(path: str | Path, size: tuple[int, int] | None = None) -> Mask:
    """Reads the mask of a frame in any form that people have.

    | file | labels |
    |---|---|
    | palette PNG | the indices, whatever their colours |
    | GIF | the values of a gray one, DAVIS's ids of its colours, else the indices |
    | gray or RGB of grays, 8 or 16 bits, floats | only black and white: 0 and 1; otherwise the values, up to 255 |
    | bi-level | 0 and 1 |
    | RGB in colours of DAVIS's palette | their ids |
    | one colour with holes (RGBA) | 1 where it is not transparent |
    | .npy, .npz | (h, w): as gray; bool (n, h, w): objects 1 to n |
    | COCO JSON (run lengths or polygons) | the tracks' ids, otherwise 1 to n |

    Args:
        path: the file.
        size: (height, width) of the frames. A mask of another size and the same shape is resized to it.

    Returns:
        The labels, uint8 (height, width), and notes for the user: what was resized, which objects overlap.

    Raises:
        InputError: the file is missing, unreadable or cut off, lossy (JPEG), has soft edges, colours that are no ids,
            ids above 255, or does not fit `size`.
    """
    if re.match("[A-Za-z][A-Za-z0-9+.-]+://", str(path)):
        raise InputError(f"{path} is an address on a network: download the mask and give its path")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the mask file of one frame")
    if not path.is_file():
        raise InputError(f"there is no mask file {path}: check the path")
    readers = {".npy": mask_of_array_file, ".npz": mask_of_array_file, ".json": mask_of_json}
    mask = readers.get(path.suffix.lower(), mask_of_picture)(path)
    return mask if size is None else _fitted(path, mask, size)


def read_label_map(path: str | Path) -> UInt8[np.ndarray, "height width"]:
    """Reads a mask file as a label map: `read_mask` for annotations and results, which are taken as they are.

    Args:
        path: the file.

    Returns:
        The label map, uint8 (height, width), 0 for the background; 255 is a label like others.

    Raises:
        InputError: see `read_mask`.
    """
    return read_mask(path).labels


def encode_label_map(labels: UInt8[np.ndarray, "height width"]) -> bytes:
    """A label map as the bytes of an 8-bit palette PNG in the DAVIS colours.

    Args:
        labels: the label map, uint8 (height, width), not empty.
    """
    image = Image.fromarray(labels)  # mode L; attaching a palette keeps the values and makes it mode P
    image.putpalette(DAVIS_PALETTE.tobytes())
    encoded = io.BytesIO()
    # Run lengths alone compress label maps to about the size of a full search, in a third of the time.
    image.save(encoded, format="PNG", compress_type=zlib.Z_RLE)
    return encoded.getvalue()


def write_label_map(path: str | Path, labels: UInt8[np.ndarray, "height width"]) -> None:
    """Writes a label map as an 8-bit palette PNG in the DAVIS colours, atomically.

    Args:
        path: the file to write; missing parent folders are created.
        labels: the label map, uint8 (height, width), not empty.

    Raises:
        InputError: the file cannot be written.
    """
    encoded = encode_label_map(labels)
    with atomic_file(path) as temporary:
        # Pillow hides why a write failed; writing the bytes here lets a full disk be told from a fault.
        temporary.write_bytes(encoded)


def _fitted(path: Path, mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask at the frames' size: the nearest pixel, where its shape is the frames' but for rounding."""
    (height, width), (mask_height, mask_width) = size, mask.labels.shape
    if (mask_height, mask_width) == size:
        return mask
    is_near = abs(height / mask_height - 1) < _SAME_SIZE or abs(width / mask_width - 1) < _SAME_SIZE
    if is_near or not (_is_scaled(mask.labels.shape, size) or _is_scaled(size, mask.labels.shape)):
        turned = " (it seems to be turned: the frames are upright)" if (mask_width, mask_height) == size else ""
        raise InputError(
            f"{path}: the mask is {mask_width}x{mask_height} and the video {width}x{height}{turned}:"
            " give a mask of the first frame's size"
        )
    rows = ((np.arange(height) + 0.5) * mask_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask_width / width).astype(int)
    labels = mask.labels[rows][:, columns]
    lost = sorted({int(value) for value in np.unique(mask.labels)} - {int(value) for value in np.unique(labels)} - {0})
    if lost:
        names = ", ".join(map(str, lost))
        raise InputError(
            f"{path}: object {names} vanishes where the mask is reduced to {width}x{height}: mark it larger"
        )
    note = f"{path}: the mask was resized from {mask_width}x{mask_height} to the video's {width}x{height}"
    return Mask(labels, (*mask.notes, note))


def _is_scaled(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether one factor takes both sides to the target's, rounded to whole pixels either way."""
    least = max((to - 0.51) / of for of, to in zip(source, target, strict=True))
    most = min((to + 0.51) / of for of, to in zip(source, target, strict=True))
    return least <= most
