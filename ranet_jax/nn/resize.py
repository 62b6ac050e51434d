"""Bilinear enlargement, with both conventions of corners."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def upsample(x: Float[Array, "b h w c"], factor: int, *, align_corners: bool = False) -> Float[Array, "b hout wout c"]:
    """Bilinear enlargement by a whole factor.

    Output `factor * i + p` lies within one input pixel of input i, so each of the `factor` phases is a weighted sum of
    the input and its two shifted copies: no gather, and XLA fuses it into one pass. Columns of a single channel would
    have to be interleaved value by value; there, the same weights are a matrix that rows are multiplied by.

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
    if x.shape[-1] == 1:
        columns = jnp.asarray(_matrix(x.shape[2], factor, align_corners), x.dtype)
        product = jnp.einsum("bhw,wv->bhv", x[..., 0], columns, precision="highest")
        return _upsample_axis(product, 1, factor, align_corners)[..., None]
    for axis in (1, 2):
        x = _upsample_axis(x, axis, factor, align_corners)
    return x


def _weights(n: int, factor: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of the inputs before and after input i, for output `factor * i + p`; both (n, factor)."""
    position, phase = np.meshgrid(np.arange(n), np.arange(factor), indexing="ij")
    if align_corners:
        offset = (factor * position + phase) * (n - 1) / (factor * n - 1) - position
    else:
        offset = (phase + 0.5) / factor - 0.5
    return np.maximum(-offset, 0), np.maximum(offset, 0)


def _matrix(n: int, factor: int, align_corners: bool) -> np.ndarray:
    """The same as a matrix of n rows, a column for each output; what lies beyond the edge is the edge."""
    before, after = _weights(n, factor, align_corners)
    matrix = np.zeros((n, n, factor))
    here = np.arange(n)
    for index, weight in ((here, 1 - before - after), (here - 1, before), (here + 1, after)):
        np.add.at(matrix, (np.clip(index, 0, n - 1), here), weight)
    return matrix.reshape(n, n * factor)


def _upsample_axis(x: jax.Array, axis: int, factor: int, align_corners: bool) -> jax.Array:
    n = x.shape[axis]
    before, after = _weights(n, factor, align_corners)
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
