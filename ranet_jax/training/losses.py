"""Losses and metrics of predicted masks, one value for each object, and their exact averages.

A batch pads its objects. Averages are therefore carried as `Mean` (sum, count) until all devices and all rollout
steps are added up; an object that is not valid adds to neither.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float


class Mean(NamedTuple):
    """An average in the making: adding two of them field by field averages over both."""

    total: Float[Array, ""]
    count: Float[Array, ""]  # type: ignore[assignment]  # a tuple has a method of that name


def binary_cross_entropy(logits: Float[Array, "b h w n"], masks: Float[Array, "b h w n"]) -> Float[Array, "b n"]:
    """Mean over an object's pixels of the cross-entropy (paper section 3.5), from logits, in float32."""
    losses = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), masks.astype(jnp.float32))
    return jnp.mean(losses, axis=(1, 2))


def dice_loss(logits: Float[Array, "b h w n"], masks: Float[Array, "b h w n"]) -> Float[Array, "b n"]:
    """One minus the soft dice overlap `(2 sum(p m) + 1) / (sum(p) + sum(m) + 1)`, in [0, 1), in float32.

    The ones make an absent object's loss small where nothing is predicted.
    """
    probability, masks = jax.nn.sigmoid(logits.astype(jnp.float32)), masks.astype(jnp.float32)
    overlap = jnp.sum(probability * masks, axis=(1, 2))
    area = jnp.sum(probability, axis=(1, 2)) + jnp.sum(masks, axis=(1, 2))
    return 1.0 - (2.0 * overlap + 1.0) / (area + 1.0)


def intersection_over_union(logits: Float[Array, "b h w n"], masks: Float[Array, "b h w n"]) -> Float[Array, "b n"]:
    """Overlap of the pixels with probability above 0.5 with the mask; 1 where both are empty."""
    predicted, masks = logits > 0, masks > 0.5
    intersection = jnp.sum(predicted & masks, axis=(1, 2)).astype(jnp.float32)
    union = jnp.sum(predicted | masks, axis=(1, 2)).astype(jnp.float32)
    return jnp.where(union > 0, intersection / jnp.maximum(union, 1.0), 1.0)


def mean_of_valid(values: Float[Array, "b n"], valid: Bool[Array, "b n"]) -> Mean:
    """Sum and count over the objects that exist; a value of another is left out even where it is NaN."""
    return Mean(jnp.sum(jnp.where(valid, values, 0.0)), jnp.sum(valid).astype(jnp.float32))


def mask_loss(
    logits: Float[Array, "b h w n"],
    masks: Float[Array, "b h w n"],
    valid: Bool[Array, "b n"],
    *,
    dice_weight: float = 0.0,
) -> Mean:
    """Cross-entropy and, where its weight is not 0, dice loss of the valid objects.

    Args:
        logits: predicted, of any float dtype.
        masks: the truth, 0 or 1.
        valid: which objects count.
        dice_weight: factor of the dice loss; the paper's loss has none (0).

    Returns:
        Sum over the valid objects, and their number.
    """
    losses = binary_cross_entropy(logits, masks)
    if dice_weight:
        losses = losses + dice_weight * dice_loss(logits, masks)
    return mean_of_valid(losses, valid)


def masks_of_labels(labels: jax.Array, objects: int) -> jax.Array:
    """Label maps (..., H, W), uint8, slots 1..n, to float32 masks (..., H, W, n); other values are background."""
    slots = jnp.arange(1, objects + 1, dtype=labels.dtype)
    return (labels[..., None] == slots.reshape((1,) * labels.ndim + (-1,))).astype(jnp.float32)
