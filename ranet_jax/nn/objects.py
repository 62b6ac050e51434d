"""Objects as an axis of their own, and as part of the batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped


def foreground_present(masks: Float[Array, "b h w n"]) -> Bool[Array, "b n"]:
    """Whether a mask has any foreground at all; a padded object has none."""
    return jnp.max(masks, axis=(1, 2)) > 0


def split_objects(x: Array, batch: int) -> Array:
    """(b * n, ...) to (b, n, ...)."""
    return x.reshape(batch, -1, *x.shape[1:])


def join_objects(x: Array) -> Array:
    """(b, n, ...) to (b * n, ...)."""
    return x.reshape(-1, *x.shape[2:])


def by_object(function: Callable[[jax.Array], jax.Array], x: Float[Array, "b h w n"]) -> Shaped[Array, "b hout wout n"]:
    """Applies a function of (b, n, h, w) to an array whose objects come last.

    A CPU has wide registers for values that lie side by side, and there are few objects: where each is a plane, work on
    pixels is several times faster. Between two such functions, XLA leaves out both exchanges of axes.
    """
    return jnp.moveaxis(function(jnp.moveaxis(x, -1, 1)), 1, -1)
