"""What every backbone returns."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Pyramid(NamedTuple):
    """Features at strides 2, 4, 8, 16 and 32, in the compute dtype; channel counts are the backbone's own."""

    c1: Float[Array, "b h2 w2 d1"]
    c2: Float[Array, "b h4 w4 d2"]
    c3: Float[Array, "b h8 w8 d3"]
    c4: Float[Array, "b h16 w16 d4"]
    c5: Float[Array, "b h32 w32 d5"]
