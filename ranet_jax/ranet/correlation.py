"""Pixel-to-pixel similarity of two frames' matching features (paper section 3.2)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def correlate(template_feature: Float[Array, "b t c"], matching: Float[Array, "b h w c"]) -> Float[Array, "b h w t"]:
    """Similarity of every position of the current frame with every template position.

    Both features are l2 normalised (the template's before it was pooled), so values lie in [-1, 1]. The product is
    accumulated and returned in float32.

    Args:
        template_feature: one row for each template position, row-major over the template grid.
        matching: feature of the current frame.

    Returns:
        `S[b, y, x, j] = <template_feature[b, j], matching[b, y, x]>`.
    """
    return jnp.einsum(
        "bhwc,btc->bhwt", matching, template_feature, preferred_element_type=jnp.float32, precision="highest"
    )
