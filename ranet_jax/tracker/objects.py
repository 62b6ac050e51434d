"""Objects as slots: ids of a label map, padded to a bucket, on the device numbered 1, 2, ... with 0 for background."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from ranet_jax.errors import InputError

OBJECT_BUCKETS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
"""Slots there are: most videos have up to six objects and pay for no more; each number is a program of its own."""
VOID = 255


def object_ids(label_map: np.ndarray) -> list[int]:
    """Ids of the objects in a label map, ascending; 0 is background and 255 is void.

    Raises:
        InputError: there is no object, or there are more than 16.
    """
    ids = [int(value) for value in np.unique(label_map) if value not in (0, VOID)]
    if not ids:
        raise InputError("the first frame's mask is empty: mark at least one object with a value other than 0")
    if len(ids) > OBJECT_BUCKETS[-1]:
        raise InputError(f"the mask has {len(ids)} objects and {OBJECT_BUCKETS[-1]} is the most: leave some out")
    return ids


def object_bucket(objects: int) -> int:
    """How many slots a number of objects is padded to: the smallest of `OBJECT_BUCKETS` that holds them.

    Raises:
        InputError: the number is not from 1 to 16.
    """
    if not 1 <= objects <= OBJECT_BUCKETS[-1]:
        raise InputError(f"{objects} objects are not possible: give a number from 1 to {OBJECT_BUCKETS[-1]}")
    return next(size for size in OBJECT_BUCKETS if size >= objects)


def padded_ids(
    frame: UInt8[np.ndarray | Array, "..."],
    label_map: UInt8[np.ndarray | Array, "..."],
    frame_size: tuple[int, int],
    slots: int | None = None,
) -> UInt8[np.ndarray, "n"]:
    """The ids of a first frame's objects, with zeros up to the number of slots.

    Args:
        frame: the first frame.
        label_map: its objects: 0 background, 255 void (treated as background), any other value an object.
        frame_size: what both must have.
        slots: how many there are; by default the objects' bucket.

    Raises:
        InputError: the frame or the mask is not of `frame_size`, or it has no object or more than slots.
    """
    for name, array in (("frame", frame), ("mask", label_map)):
        if array.shape[:2] != frame_size:
            size, expected = ("x".join(map(str, s)) for s in (array.shape[1::-1], frame_size[::-1]))
            raise InputError(f"the {name} is {size} pixels and the video {expected}: both must be of one size")
    ids = object_ids(np.asarray(label_map))
    slots = object_bucket(len(ids)) if slots is None else slots
    if len(ids) > slots:
        raise InputError(f"the mask has {len(ids)} objects and there is room for {slots}: leave some out")
    padded = np.zeros(slots, np.uint8)
    padded[: len(ids)] = ids
    return padded


def slots_of_labels(label_map: UInt8[Array, "h w"], ids: UInt8[Array, "n"]) -> Int32[Array, "h w"]:
    """Labels to slots: i + 1 for the i-th id, 0 for all else."""
    matches = (label_map[..., None] == ids[None, None]) & (ids > 0)[None, None]
    return jnp.sum(jnp.where(matches, jnp.arange(1, ids.size + 1, dtype=jnp.int32)[None, None], 0), axis=-1)


def labels_of_slots(slots: Int32[Array, "h w"], ids: UInt8[Array, "n"]) -> UInt8[Array, "h w"]:
    """Slots to labels: the inverse of `slots_of_labels`."""
    return jnp.concatenate([jnp.zeros(1, jnp.uint8), ids])[slots]


def masks_of_slots(slots: Int32[Array, "h w"], n: int) -> Float[Array, "1 h w n"]:
    """One float mask for each slot, as a batch of one."""
    numbers = jnp.arange(1, n + 1, dtype=slots.dtype)[None, None, None]
    return (slots[None, ..., None] == numbers).astype(jnp.float32)
