"""From the probabilities of several objects to one label for each pixel (spec section 6, step 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

PROBABILITY_FLOOR = 1e-7


def merge_objects(
    probability: Float[Array, "h w n"], valid: Bool[Array, "n"], merging: str
) -> tuple[Float[Array, "h w n"], Int32[Array, "h w"]]:
    """Merges objects into slots.

    Args:
        probability: of each object by itself, in [0, 1].
        valid: which objects exist; the others never win a pixel.
        merging: "maximum": an object's pixel needs p > 0.5 and p at least that of every other object (the lower slot
            on a tie). "softmax": softmax over the objects' logits and the background's, which is that of the product of
            complements; the largest wins.

    Returns:
        The objects' probabilities after merging, and the label slots: 0 background, i + 1 object i.
    """
    probability = jnp.where(valid[None, None], probability, 0.0)
    if merging == "softmax":
        background = jnp.prod(1.0 - probability, axis=-1, keepdims=True)
        clipped = jnp.clip(
            jnp.concatenate([background, probability], axis=-1), PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR
        )
        logits = jnp.log(clipped) - jnp.log1p(-clipped)
        exists = jnp.concatenate([jnp.ones_like(valid[:1]), valid])
        merged = jax.nn.softmax(jnp.where(exists[None, None], logits, -jnp.inf), axis=-1)
        return merged[..., 1:], jnp.argmax(merged, axis=-1).astype(jnp.int32)
    winner = jnp.argmax(probability, axis=-1).astype(jnp.int32) + 1
    return probability, jnp.where(jnp.max(probability, axis=-1) > 0.5, winner, 0)
