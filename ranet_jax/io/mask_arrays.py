"""Masks as arrays: which values are ids, and files of NumPy."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.reasons import brief

_SHADES = 32, 223
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, MemoryError, NotImplementedError),
    *(RuntimeError, tokenize.TokenError, zlib.error, zipfile.BadZipFile),
)
"""What NumPy raises at damaged files."""


class Mask(NamedTuple):
    """A mask that was read.

    Attributes:
        labels: uint8 (height, width): 0 for the background, otherwise the id of an object.
        notes: what the user should know about how it was read, a line each.
    """

    labels: UInt8[np.ndarray, "height width"]
    notes: tuple[str, ...] = ()


def labels_of_gray(path: Path, values: np.ndarray, *, white: int) -> UInt8[np.ndarray, "height width"]:
    """Values of a gray mask as labels: a black and white mask has one object, any other holds the ids.

    Args:
        path: for messages.
        values: whole numbers (height, width).
        white: the value of white.

    Raises:
        InputError: the values are no ids: negative, above 255, or shades of soft edges.
    """
    is_white = values == white
    if np.all(is_white | (values == 0)):
        return is_white.astype(np.uint8)
    if _has_soft_edges(values, white):
        raise InputError(
            f"the mask {path} has soft edges ({np.unique(values).size} shades): threshold it, so that every pixel is"
            " either in or out (such as all above 127), and save it as a PNG"
        )
    if values.min() < 0:
        raise InputError(f"the mask {path} holds negative values, which are no ids: number the objects 1, 2, ...")
    if values.max() > 255:
        raise InputError(
            f"the mask {path} holds values up to {values.max()}, but ids end at 255: number the objects 1, 2, ..."
        )
    return values.astype(np.uint8)


def labels_of_array(path: Path, values: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Labels of a two-dimensional array of bools, whole numbers, or floats that are whole numbers.

    Raises:
        InputError: the values are no ids.
    """
    if values.dtype.kind == "f":
        if not np.all(np.isfinite(values)):
            raise InputError(f"the mask {path} holds values that are no numbers: give ids, 0 for the background")
        if not np.all(values == np.rint(values)):
            what = "shares between 0 and 1" if values.min() >= 0 and values.max() <= 1 else "fractions"
            raise InputError(f"the mask {path} holds {what}, which are no ids: threshold it (such as mask > 0.5)")
        values = values.astype(np.int64)
    if values.dtype.kind not in "biu":
        raise InputError(f"the mask {path} holds {values.dtype}, which are no ids: give whole numbers or bools")
    if values.dtype == bool:
        return values.astype(np.uint8)
    return labels_of_gray(path, values, white=65535 if values.dtype.itemsize > 1 and values.max() > 255 else 255)


def labels_of_objects(path: Path, masks: list[Bool[np.ndarray, "height width"]], ids: list[int]) -> Mask:
    """Joins masks of single objects; where they overlap the later one wins, which a note says.

    Raises:
        InputError: there are more than 255, an id is not from 1 to 255 or one twice, or an object has no pixel.
    """
    if len(masks) > 255:
        raise InputError(f"the mask {path} has {len(masks)} objects and 255 is the most: leave some out")
    labels = np.zeros(masks[0].shape, np.uint8)
    overlap = 0
    for mask, value in zip(masks, ids, strict=True):
        overlap += int(np.count_nonzero(labels[mask]))
        labels[mask] = value
    hidden = sorted(set(ids) - {int(value) for value in np.unique(labels)})
    if hidden:
        names = ", ".join(map(str, hidden))
        raise InputError(f"the mask {path} shows nothing of object {names}: it is empty or covered; leave it out")
    notes = () if not overlap else (f"{path}: {overlap} pixels are in two objects: the later one has them",)
    return Mask(labels, notes)


def mask_of_array_file(path: Path) -> Mask:
    """Reads a .npy or .npz file; of several label maps in an .npz the first.

    Raises:
        InputError: the file is damaged, holds objects of Python, or an array that is no mask.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return _mask_of_array(path, loaded)
            names = [name for name in loaded.files if loaded[name].ndim >= 2]
            if not names:
                raise InputError(f"the mask {path} holds no array (height, width): give one")
            mask = _mask_of_array(path, loaded[names[0]])
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"cannot read the mask {path} ({brief(error)}): save it with numpy.save, without objects"
        ) from error
    if len(names) == 1:
        return mask
    return Mask(mask.labels, (*mask.notes, f"{path} holds {len(names)} arrays: the first, {names[0]}, is the mask"))


def _mask_of_array(path: Path, array: np.ndarray) -> Mask:
    if array.ndim == 3 and array.shape[-1] == 1 and array.shape[0] != 1:
        array = array[..., 0]
    elif array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.size and array.ndim == 3 and array.dtype == bool:
        return labels_of_objects(path, list(array), list(range(1, len(array) + 1)))
    if array.ndim != 2 or not array.size:
        shape = "x".join(map(str, array.shape))
        raise InputError(
            f"the mask {path} holds an array of {shape}: give ids (height, width), or bools (objects, height, width)"
        )
    return Mask(labels_of_array(path, array))


def _has_soft_edges(values: np.ndarray, white: int) -> bool:
    """Whether the values between black and the brightest are shades of an edge rather than ids.

    The region of an id has room for a square of 3x3 pixels; shades of an edge have not, or only by chance.
    """
    brightest = int(values.max())
    inner = (values > 0) & (values < brightest)
    shades = np.unique(values[inner])
    if not shades.size or brightest < white // 2:
        return False
    numbers = np.searchsorted(np.unique(values), values).astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    around = cv2.copyMakeBorder(numbers, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-1.0)
    alike = (cv2.erode(around, square) == cv2.dilate(around, square))[1:-1, 1:-1]
    solid = np.unique(values[inner & alike]).size
    if shades.size >= 3:
        return solid < shades.size / 2
    beside_white = cv2.dilate((values == brightest).astype(np.uint8), square).astype(bool)
    scale = white / 255
    middle = (shades >= _SHADES[0] * scale) & (shades <= _SHADES[1] * scale)
    return solid == 0 and bool(middle.any()) and bool(np.all(beside_white[inner]))
