"""Pooling over fixed windows and over the cells of a grid."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FEW_CHANNELS = 12
"""Up to so many channels (objects, mostly) are pooled each by itself: together, they would make products of rows that
are hardly longer than a number."""


def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b hout wout c"]:
    """2x2 max-pooling with stride 2; an odd last row or column is dropped."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return jnp.max(x.reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def _cells(size: int, cells: int) -> list[tuple[int, int]]:
    """First and one-past-last input index of each output cell of an adaptive pooling."""
    return [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]


def window_sum(x: Float[Array, "*b h w c"], size: int) -> Float[Array, "*b h w c"]:
    """Sum over the square of `size` (odd) rows and columns around every position; outside there is nothing."""
    leading = (1,) * (x.ndim - 3)
    for window in ((size, 1, 1), (1, size, 1)):
        x = jax.lax.reduce_window(x, jnp.zeros((), x.dtype), jax.lax.add, (*leading, *window), (1,) * x.ndim, "SAME")
    return x


def adaptive_average_pool(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Float[Array, "b hout wout c"]:
    """Average over cells: output i covers inputs `floor(i*n/m) .. ceil((i+1)*n/m)`; the result is float32."""

    def weights(size: int, cells: int) -> np.ndarray:
        matrix = np.zeros((cells, size), np.float32)
        for row, (start, stop) in zip(matrix, _cells(size, cells), strict=True):
            row[start:stop] = 1.0 / (stop - start)
        return matrix

    b, h, w, c = x.shape
    if 1 < c <= FEW_CHANNELS:
        planes = jnp.moveaxis(x, -1, 1).reshape(b * c, h, w, 1)
        return jnp.moveaxis(adaptive_average_pool(planes, shape).reshape(b, c, *shape), 1, -1)
    x32 = x.astype(jnp.float32)
    rows = jnp.einsum("ih,bhwc->biwc", weights(h, shape[0]), x32, precision="highest")
    return jnp.einsum("jw,biwc->bijc", weights(w, shape[1]), rows, precision="highest")


def adaptive_max_pool(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Float[Array, "b hout wout c"]:
    """Maximum over the cells of `adaptive_average_pool`; 2x2 max-pooling where the size is exactly halved."""
    _, h, w, _ = x.shape
    if (h, w) == (2 * shape[0], 2 * shape[1]):
        return max_pool_2x2(x)
    x = jnp.stack([jnp.max(x[:, start:stop], axis=1) for start, stop in _cells(h, shape[0])], axis=1)
    return jnp.stack([jnp.max(x[:, :, start:stop], axis=2) for start, stop in _cells(w, shape[1])], axis=2)
