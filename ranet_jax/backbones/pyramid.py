"""What every backbone returns, and how masks join its stem."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Pyramid(NamedTuple):
    """Features at strides 2, 4, 8, 16 and 32, in the compute dtype; channel counts are the backbone's own."""

    c1: Float[Array, "b h2 w2 d1"]
    c2: Float[Array, "b h4 w4 d2"]
    c3: Float[Array, "b h8 w8 d3"]
    c4: Float[Array, "b h16 w16 d4"]
    c5: Float[Array, "b h32 w32 d5"]


def with_addition(x: Float[Array, "b h w c"], addition: Float[Array, "m h w c"] | None) -> Float[Array, "m_or_b h w c"]:
    """A stem's output for every mask of its image: the convolution over [image, mask] is a sum, its image part shared.

    Args:
        x: the stem's convolution of the images, before the norm.
        addition: its convolution of m / b masks an image, images first; None leaves x as it is.
    """
    return x if addition is None else jnp.repeat(x, addition.shape[0] // x.shape[0], axis=0) + addition
