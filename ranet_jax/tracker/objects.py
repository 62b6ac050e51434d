"""Objects by index: ids of label maps, on the device numbered 1, 2, ... with 0 for background, padded to a bucket."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from ranet_jax.errors import InputError

OBJECT_BUCKETS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
"""Padded object counts: most videos have up to six objects and pay for no more; each is a program of its own."""


def object_ids(label_map: np.ndarray) -> list[int]:
    """Ids of the objects in a label map, ascending: every value but 0, which is background.

    Raises:
        InputError: there is no object, or there are more than 16.
    """
    ids = [int(value) for value in np.unique(label_map) if value]
    if not ids:
        raise InputError("the mask is empty: mark at least one object with a value other than 0")
    _check_number(len(ids))
    return ids


def _check_number(objects: int) -> None:
    if objects > OBJECT_BUCKETS[-1]:
        raise InputError(f"the masks have {objects} objects and {OBJECT_BUCKETS[-1]} is the most: leave some out")


def object_bucket(objects: int) -> int:
    """What a number of objects is padded to: the smallest of `OBJECT_BUCKETS` that holds them.

    Raises:
        InputError: the number is not from 1 to 16.
    """
    if not 1 <= objects <= OBJECT_BUCKETS[-1]:
        raise InputError(f"{objects} objects are not possible: give a number from 1 to {OBJECT_BUCKETS[-1]}")
    return next(size for size in OBJECT_BUCKETS if size >= objects)


def padded_ids(ids: Iterable[int], count: int | None = None) -> UInt8[np.ndarray, "n"]:
    """Ids with zeros up to a padded object count.

    Args:
        ids: of the objects, 1 to 255.
        count: what they are padded to; by default their bucket.

    Raises:
        InputError: there is no object, or there are more than `count`, or than 16.
    """
    ids = list(ids)
    _check_number(len(ids))
    count = object_bucket(len(ids)) if count is None else count
    if len(ids) > count:
        raise InputError(f"there are {len(ids)} objects and there is room for {count}: leave some out")
    padded = np.zeros(count, np.uint8)
    padded[: len(ids)] = ids
    return padded


def check_frame_size(frame_size: Any) -> None:
    """Raises InputError where a frame size is no tuple of two positive whole numbers."""
    if (
        not isinstance(frame_size, tuple)
        or len(frame_size) != 2
        or not all(isinstance(side, int | np.integer) and side > 0 for side in frame_size)
    ):
        raise InputError(f"a frame size is a tuple (height, width) of pixels, and this is {frame_size!r}")


def check_frame(frame: Any, frame_size: tuple[int, int]) -> None:
    """Checks a frame by its type and shape: no value is looked at.

    Raises:
        InputError: it is not a uint8 array (height, width, 3) of the video's size.
    """
    if not hasattr(frame, "dtype") or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(f"a frame is a uint8 array (height, width, 3), RGB from 0 to 255, and this is {_kind(frame)}")
    _check_size("frame", frame, frame_size)


def check_labels(label_map: Any, frame_size: tuple[int, int]) -> None:
    """Checks a label map by its type and shape: no value is looked at.

    Raises:
        InputError: it is not a uint8 array (height, width) of the video's size.
    """
    if not hasattr(label_map, "dtype") or label_map.dtype != np.uint8 or label_map.ndim != 2:
        found = (
            f"{label_map.dtype} {tuple(label_map.shape)}" if hasattr(label_map, "dtype") else type(label_map).__name__
        )
        raise InputError(
            f"a mask is a uint8 array (height, width), 0 or an object's id at every pixel, and this is {found}"
        )
    _check_size("mask", label_map, frame_size)


def _kind(array: Any) -> str:
    return f"{array.dtype} {tuple(array.shape)}" if hasattr(array, "dtype") else type(array).__name__


def _check_size(name: str, array: Any, frame_size: tuple[int, int]) -> None:
    if array.shape[:2] != frame_size:
        size, expected = ("x".join(map(str, s)) for s in (array.shape[1::-1], frame_size[::-1]))
        raise InputError(f"the {name} is {size} pixels and the video {expected}: both must be of one size")


def indices_of_labels(label_map: UInt8[Array, "h w"], ids: UInt8[Array, "n"]) -> Int32[Array, "h w"]:
    """Labels to object indices: i + 1 for the i-th id, 0 for all else."""
    matches = (label_map[..., None] == ids[None, None]) & (ids > 0)[None, None]
    return jnp.sum(jnp.where(matches, jnp.arange(1, ids.size + 1, dtype=jnp.int32)[None, None], 0), axis=-1)


def labels_of_indices(indices: Int32[Array, "h w"], ids: UInt8[Array, "n"]) -> UInt8[Array, "h w"]:
    """Object indices to labels: the inverse of `indices_of_labels`."""
    return jnp.concatenate([jnp.zeros(1, jnp.uint8), ids])[indices]


def masks_of_indices(indices: Int32[Array, "h w"], n: int) -> Float[Array, "1 h w n"]:
    """One float mask for each object, as a batch of one."""
    numbers = jnp.arange(1, n + 1, dtype=indices.dtype)[None, None, None]
    return (indices[None, ..., None] == numbers).astype(jnp.float32)


@functools.partial(jax.jit, static_argnames=("shapes",))
def grown(state: Any, *, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """Every array of a state with zeros behind, up to a shape: objects and references lie one after another in all."""
    leaves, structure = jax.tree.flatten(state)
    grow = lambda x, shape: jnp.pad(x, [(0, b - a) for a, b in zip(x.shape, shape, strict=True)]) if x.ndim else x
    return jax.tree.unflatten(structure, [grow(x, shape) for x, shape in zip(leaves, shapes, strict=True)])
