"""Bilinear enlargement, with both conventions of corners."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def upsample(x: Float[Array, "b h w c"], factor: int, *, align_corners: bool = False) -> Float[Array, "b hout wout c"]:
    """Bilinear enlargement by a whole factor.

    Output `factor * i + p` lies within one input pixel of input i, so each of the `factor` phases is a weighted sum of
    the input and its two shifted copies: no gather, and XLA fuses it into one pass.

    Args:
        x: the input.
        factor: how many times larger, at least 1.
        align_corners: True puts the centres of the corner pixels on each other ("corner"); False uses half-pixel
            centres with the edge clamped ("half").

    Returns:
        The enlarged array, in the dtype of x.
    """
    if factor == 1:
        return x
    for axis in (1, 2):
        x = _upsample_axis(x, axis, factor, align_corners)
    return x


def _upsample_axis(x: jax.Array, axis: int, factor: int, align_corners: bool) -> jax.Array:
    n = x.shape[axis]
    position, phase = np.meshgrid(np.arange(n), np.arange(factor), indexing="ij")
    if align_corners:
        offset = (factor * position + phase) * (n - 1) / (factor * n - 1) - position
    else:
        offset = (phase + 0.5) / factor - 0.5
    before, after = np.maximum(-offset, 0), np.maximum(offset, 0)
    broadcast = [1] * (x.ndim + 1)
    broadcast[axis], broadcast[axis + 1] = n, factor
    weight = lambda values: jnp.asarray(values.reshape(broadcast), x.dtype)
    index = lambda start, stop: (slice(None),) * axis + (slice(start, stop),)
    previous = jnp.concatenate([x[index(0, 1)], x[index(0, n - 1)]], axis)
    following = jnp.concatenate([x[index(1, n)], x[index(n - 1, n)]], axis)
    here, previous, following = (jnp.expand_dims(z, axis + 1) for z in (x, previous, following))
    total = here * weight(1 - before - after) + previous * weight(before) + following * weight(after)
    shape = list(x.shape)
    shape[axis] = n * factor
    return total.reshape(shape)
