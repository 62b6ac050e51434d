"""From the logits of several objects to probabilities, and from these to one label for each pixel (spec section 6)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

AGGREGATION_FLOOR = 1e-7
AGGREGATION_LIMIT = 1e4


def combined(logits: Float[Array, "*b n"], valid: Bool[Array, "*v n"], aggregation: str) -> Float[Array, "*b n"]:
    """Logits of objects among each other: with "soft" aggregation see `aggregate`; with "hard", as they are.

    Args:
        logits: of every object by itself.
        valid: which objects exist, see `aggregate`.
        aggregation: "hard" or "soft".
    """
    return aggregate(logits, valid) if aggregation == "soft" else logits


def decide(
    probability: Float[Array, "h w n"], valid: Bool[Array, "n"], aggregation: str
) -> tuple[Float[Array, "h w n"], Int32[Array, "h w"]]:
    """One object for each pixel.

    Args:
        probability: of each object, in [0, 1]; with "soft" aggregation they sum to one with the background's.
        valid: which objects exist; the others never win a pixel.
        aggregation: "hard": an object's pixel needs p > 0.5 and p at least that of every other object (the lower index
            on a tie). "soft": the most probable of background and objects.

    Returns:
        The probabilities, 0 for objects that do not exist, and the object index: 0 background, i + 1 object i.
    """
    probability = jnp.where(valid[None, None], probability, 0.0)
    if aggregation == "soft":
        background = 1.0 - jnp.sum(probability, axis=-1, keepdims=True)
        everything = jnp.concatenate([background, probability], axis=-1)
        return probability, jnp.argmax(everything, axis=-1).astype(jnp.int32)
    winner = jnp.argmax(probability, axis=-1).astype(jnp.int32) + 1
    return probability, jnp.where(jnp.max(probability, axis=-1) > 0.5, winner, 0)


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
