"""Reference frames: frames whose masks are given. There are few places for them, and a rule for which one goes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from ranet_jax.errors import InputError

REFERENCE_BUCKETS = (1, 2, 4, 8)
"""Padded numbers of reference frames; each is a program of its own."""


def reference_bucket(references: int) -> int:
    """What a number of references is padded to; beyond the largest, older ones make room."""
    if references < 1:
        raise InputError(f"{references} reference frames are not possible: give 1 or more")
    return next((size for size in REFERENCE_BUCKETS if size >= references), REFERENCE_BUCKETS[-1])


def place_for(known: Bool[Array, "r n"], age: Int32[Array, "r"]) -> Int32[Array, ""]:
    """Where a new reference goes.

    First an empty place. Then that of the oldest reference all of whose masks are given by newer ones, too. Then that
    of the oldest but the first; objects that no other reference gives keep their target model and previous mask, and
    the new reference holds the tracker's own masks of them.

    Args:
        known: whose masks each reference gives.
        age: order in which the references were given, 0 for an empty place.
    """
    r = known.shape[0]
    if r == 1:
        return jnp.zeros((), jnp.int32)
    newer = age[None, :] > age[:, None]
    elsewhere = jnp.any(newer[:, :, None] & known[None], axis=1)
    superseded = jnp.all(elsewhere | ~known, axis=1)
    first = age == jnp.min(jnp.where(age > 0, age, jnp.iinfo(jnp.int32).max))
    rank = jnp.where(age == 0, 0, jnp.where(superseded, 1, jnp.where(first, 3, 2)))
    order = jnp.lexsort((age, rank))
    return order[0].astype(jnp.int32)


def orphans(known: Bool[Array, "r n"], slot: Int32[Array, ""]) -> Bool[Array, "n"]:
    """Objects that only the reference in a place gives."""
    others = jnp.where((jnp.arange(known.shape[0]) == slot)[:, None], False, known)
    gone = jax.lax.dynamic_index_in_dim(known, slot, 0, keepdims=False)
    return gone & ~jnp.any(others, axis=0)
