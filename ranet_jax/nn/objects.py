"""Objects as an axis of their own, and as part of the batch."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def foreground_present(masks: Float[Array, "b h w n"]) -> Bool[Array, "b n"]:
    """Whether a mask has any foreground at all; a padded object has none."""
    return jnp.max(masks, axis=(1, 2)) > 0


def split_objects(x: Array, batch: int) -> Array:
    """(b * n, ...) to (b, n, ...)."""
    return x.reshape(batch, -1, *x.shape[1:])


def join_objects(x: Array) -> Array:
    """(b, n, ...) to (b * n, ...)."""
    return x.reshape(-1, *x.shape[2:])
