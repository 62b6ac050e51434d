"""3x3 convolutions with half the products, for CPUs: Winograd's minimal filtering F(4, 3) along the rows.

Four outputs of a filter of three taps need 6 products instead of 12 where sums of inputs, of taps and of products are
taken before and after (Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, CVPR 2016). XLA's
convolutions on a CPU already run at the rate of its matrix products, so fewer products are what can make them faster.
Along one axis only: what is left are six convolutions of three rows by one column, which XLA does as fast, and an input
that grows by a half; along both, moving the transforms through memory costs what the products save (docs/log/0024).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TILE, TAPS = 4, 3
LEAST_CHANNELS, LEAST_FEATURES = 48, 32
"""Below these, the sums take longer than the products they save."""

# Interpolation at 0, 1, -1, 2, -2 and infinity.
_INPUTS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = np.array(((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24)), np.float32) / 24
_OUTPUTS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def worthwhile(x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"], stride: int, dilation: int) -> bool:
    """Whether `tiled_convolution` can do this convolution, and is faster; only float32 has digits to spare for it."""
    k, _, c, d = kernel.shape
    fits = (k, stride, dilation) == (TAPS, 1, 1) and x.dtype == jnp.float32
    return fits and x.shape[2] >= 2 * TILE and c >= LEAST_CHANNELS and d >= LEAST_FEATURES


@jax.jit
def tiled_convolution(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """A 3x3 convolution with symmetric padding, equal to the direct one to rounding (about 1e-5 of its values).

    Compiled for itself only so that equal layers are traced once.
    """
    b, h, w, _ = x.shape
    tiles = -(-w // TILE)
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, TILE * tiles - w + 1), (0, 0)))
    # Column j of every tile of six, neighbours overlapping by two.
    last = TILE * (tiles - 1) + 1
    columns = [padded[:, :, j : j + last : TILE] for j in range(TILE + TAPS - 1)]
    kernels = jnp.einsum("iw,hwcd->ihcd", _KERNEL, kernel, precision="highest")
    products = [
        jax.lax.conv_general_dilated(
            _weighted(weights, columns),
            kernels[i][:, None],
            (1, 1),
            ((1, 1), (0, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for i, weights in enumerate(_INPUTS)
    ]
    outputs = jnp.stack([_weighted(weights, products) for weights in _OUTPUTS], axis=3)
    return outputs.reshape(b, h, TILE * tiles, -1)[:, :, :w]


def _weighted(weights: Sequence[int], values: Sequence[jax.Array]) -> jax.Array:
    total = None
    for weight, value in zip(weights, values, strict=True):
        if weight:
            term = value if weight == 1 else weight * value
            total = term if total is None else total + term
    assert total is not None, "a transform has no row of zeros"
    return total
