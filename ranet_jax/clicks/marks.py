"""Points on objects and boxes around them, each for one object of a frame, as one label map."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ranet_jax.clicks.clicks import click_mask
from ranet_jax.clicks.regions import ClickFeatures
from ranet_jax.errors import InputError


class Point(NamedTuple):
    """A point on an object, in pixels from the frame's upper left corner."""

    x: float
    y: float

    def __str__(self) -> str:
        return f"--point {self.x:g},{self.y:g}"


class Box(NamedTuple):
    """A box that holds all of an object: its upper left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        return f"--box {self.x:g},{self.y:g},{self.width:g},{self.height:g}"


Mark = Point | Box


def marked_labels(
    features: ClickFeatures,
    marks: Sequence[Mark],
    labels: UInt8[np.ndarray, "height width"],
    taken: Iterable[int] = (),
) -> UInt8[np.ndarray, "height width"]:
    """A label map with a further object for every mark.

    Args:
        features: of the frame, from `ranet_jax.clicks.features.Encoder`.
        marks: one for each object; their ids are the lowest that are free, in this order.
        labels: what is marked already, which stays as it is.
        taken: ids of other frames' objects.

    Raises:
        InputError: a mark lies outside of the frame, or on another object, or nothing was found at it.
    """
    labels = labels.copy()
    used = {int(value) for value in np.unique(labels)} | set(taken)
    free = (value for value in range(1, 256) if value not in used)
    for mark, value in zip(marks, free, strict=False):
        mask = _mask(features, mark, labels > 0)
        if not mask.any():
            instead = "its box, or a mask" if isinstance(mark, Point) else "a mask"
            raise InputError(f"{mark}: no object was found there: give {instead} (`ranet-jax studio` makes masks)")
        labels[mask] = value
    return labels


def _mask(features: ClickFeatures, mark: Mark, others: np.ndarray) -> np.ndarray:
    height, width = features.size
    if isinstance(mark, Point):
        if not (0 <= mark.x < width and 0 <= mark.y < height):
            raise InputError(f"{mark} lies outside of the frames of {width}x{height}: give a point on the object")
        if others[int(mark.y), int(mark.x)]:
            raise InputError(f"{mark} lies on another object: give a point that only this one has, or a mask")
        return click_mask(features, [(float(mark.x), float(mark.y))], others=others)
    left, top, right, bottom = (float(side) for side in (mark.x, mark.y, mark.x + mark.width, mark.y + mark.height))
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise InputError(f"{mark} does not lie in the frames of {width}x{height}: it is X,Y,WIDTH,HEIGHT in pixels")
    return click_mask(features, [], box=(left, top, right, bottom), others=others)
