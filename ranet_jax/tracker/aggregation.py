"""From the probabilities of several objects to one label for each pixel (spec section 6, step 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

PROBABILITY_FLOOR = 1e-7
AGGREGATION_FLOOR = 1e-7
AGGREGATION_LIMIT = 1e4


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


def aggregate(logits: Float[Array, "*b n"], valid: Bool[Array, "*v n"]) -> Float[Array, "*b n"]:
    """Soft aggregation: the odds of every object and of the background, normalised to sum to one.

    The background's probability is the product of the objects' complements. Odds p / (1 - p) are the exponentials of
    logits, so what is normalised is their softmax.

    Args:
        logits: of every object by itself; any number of leading axes.
        valid: which objects exist; the axes before n are leading axes of `logits`, as many as there are.

    Returns:
        Float32 logits of every object against all else; those of objects that do not exist are far below zero.
    """
    leading = (1,) * (logits.ndim - valid.ndim)
    exists = valid.reshape(*valid.shape[:-1], *leading, valid.shape[-1])
    logits = jnp.where(exists, logits.astype(jnp.float32), -AGGREGATION_LIMIT)
    # Bounded away from 0, where the background is certain, as its own logit would be infinite.
    complement = lambda log_p: jnp.log(-jnp.expm1(jnp.minimum(log_p, -AGGREGATION_FLOOR)))
    absent = jnp.sum(jnp.where(exists, jax.nn.log_sigmoid(-logits), 0.0), axis=-1, keepdims=True)
    background = jnp.maximum(absent - complement(absent), -AGGREGATION_LIMIT)
    log_p = jax.nn.log_softmax(jnp.concatenate([background, logits], axis=-1), axis=-1)[..., 1:]
    return log_p - complement(log_p)
