"""RANet's training loss: Siamese encoding of all frames of a sample at once, one or two steps of propagation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ranet_jax.backbones import normalise
from ranet_jax.networks import RANet, RANetConfig
from ranet_jax.ranet.network import split_features
from ranet_jax.tracker.target import second_view
from ranet_jax.training.losses import (
    Mean,
    intersection_over_union,
    mask_loss,
    masks_of_labels,
    mean_of_valid,
)
from ranet_jax.training.optimizer import frozen_backbone
from ranet_jax.training.step import LossFunction, Metrics


@dataclasses.dataclass(frozen=True)
class RANetObjective:
    """What RANet minimises. The default is the paper's: cross-entropy of one predicted frame.

    Attributes:
        dice_weight: factor of a dice loss beside the cross-entropy.
        rollout_gradient: whether, where a batch holds a second frame, its loss reaches through the first prediction,
            which is its previous mask.
        remat: compute activations again in the backward pass rather than keep them: less memory, more time.
    """

    dice_weight: float = 0.0
    rollout_gradient: bool = False
    remat: bool = False


def ranet_loss(config: RANetConfig, objective: RANetObjective, *, frozen: tuple[str, ...]) -> LossFunction:
    """RANet's loss function.

    A batch holds, with n object slots: `template_image`, `image` (b, H, W, 3) uint8 RGB; `template_labels`, `labels`,
    `previous_labels` (b, H, W) uint8, 0 background and slots 1..n; `valid` (b, n) bool; and, where a second frame is
    rolled out, `next_image` and `next_labels`. The second frame's previous mask is the first prediction's probability.

    Args:
        config: of the network.
        objective: what is minimised.
        frozen: see `OptimizerConfig.frozen`; what it names gets no gradient.

    Returns:
        The function; its metrics are `iou`, and `next_iou` where there is a second frame.
    """
    model = RANet(config)

    def loss(params: Any, batch_stats: Any, batch: Any) -> tuple[Mean, Metrics]:
        params = frozen_backbone(params, frozen)
        variables = {"params": params, "batch_stats": batch_stats}
        wrap = jax.checkpoint if objective.remat else lambda function: function
        encode = wrap(lambda images: model.apply(variables, images, method="features"))
        segment = wrap(
            lambda template, features, previous: model.apply(
                variables,
                features.pyramid,
                model.apply(variables, template, features.matching, method="rank"),
                previous,
                model.apply(variables, template, features, method="score"),
                method="decode",
            )
        )
        valid = batch["valid"]
        objects = lambda name: masks_of_labels(batch[name], valid.shape[1])
        frames = ["image", "next_image"] if "next_image" in batch else ["image"]
        images = [normalise(batch[name], config.backbone) for name in ("template_image", *frames)]
        if config.target_model:
            images.append(second_view(images[0]))
        # In one pass of the network: no norm mixes the images of a batch.
        template_features, *features = split_features(encode(jnp.concatenate(images)), len(images))
        template = model.apply(
            variables,
            template_features,
            objects("template_labels"),
            features.pop() if config.target_model else None,
            method="template_from_features",
        )
        logits = segment(template, features[0], objects("previous_labels"))
        total = mask_loss(logits, objects("labels"), valid, dice_weight=objective.dice_weight)
        metrics = {"iou": mean_of_valid(intersection_over_union(logits, objects("labels")), valid)}
        if len(frames) == 2:
            previous = jax.nn.sigmoid(logits) * valid[:, None, None].astype(logits.dtype)
            if not objective.rollout_gradient:
                previous = jax.lax.stop_gradient(previous)
            logits, masks = segment(template, features[1], previous), objects("next_labels")
            second = mask_loss(logits, masks, valid, dice_weight=objective.dice_weight)
            total = Mean(total.total + second.total, total.count + second.count)
            metrics["next_iou"] = mean_of_valid(intersection_over_union(logits, masks), valid)
        return total, metrics

    return loss


def predict(config: RANetConfig, variables: Any, batch: Any) -> jax.Array:
    """Probabilities (b, H, W, n), float32, of a batch's current frame, for pictures of the training's progress."""
    model, objects = RANet(config), batch["valid"].shape[1]
    template = model.apply(
        variables,
        normalise(batch["template_image"], config.backbone),
        masks_of_labels(batch["template_labels"], objects),
        method="encode_template",
    )
    image, previous = normalise(batch["image"], config.backbone), masks_of_labels(batch["previous_labels"], objects)
    return jax.nn.sigmoid(model.apply(variables, image, template, previous)[0])
