"""From the probabilities of several objects to one label for each pixel (spec section 6, step 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from ranet_jax.layers import aggregate

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
        clipped = jnp.clip(probability, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        merged = jax.nn.sigmoid(aggregate(jnp.log(clipped) - jnp.log1p(-clipped), valid))
        return merged, label_slots(merged)
    winner = jnp.argmax(probability, axis=-1).astype(jnp.int32) + 1
    return probability, jnp.where(jnp.max(probability, axis=-1) > 0.5, winner, 0)


def label_slots(merged: Float[Array, "h w n"]) -> Int32[Array, "h w"]:
    """The most probable of background (0) and objects (i + 1), from probabilities that sum to one with its own."""
    background = 1.0 - jnp.sum(merged, axis=-1, keepdims=True)
    return jnp.argmax(jnp.concatenate([background, merged], axis=-1), axis=-1).astype(jnp.int32)
