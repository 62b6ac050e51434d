"""MRNet's training loss: back-propagation through time over clips, by a scan over the step that tracks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.networks import Memory, MRNet, MRNetConfig
from ranet_jax.training.losses import Mean, intersection_over_union, mask_loss, masks_of_labels, mean_of_valid
from ranet_jax.training.optimizer import WHOLE_BACKBONE, frozen_backbone
from ranet_jax.training.step import LossFunction, Metrics
from ranet_jax.weights import expected_variables


@dataclasses.dataclass(frozen=True)
class MRNetObjective:
    """What MRNet minimises. The default is cross-entropy of every frame after the first.

    Attributes:
        dice_weight: factor of a dice loss beside the cross-entropy.
        remat: compute a frame's activations again in the backward pass rather than keep those of all frames: memory
            then grows with the state from frame to frame only. Of a frozen encoder that sees no masks, the features
            are kept, as they need no gradient.
        gradient_through_masks: whether a frame's loss reaches through the masks of the frames before it.
        gradient_frames: truncated back-propagation through time: the loss is that of a clip's last so many frames, and
            its gradient reaches these and frame 0; the frames between only bring the state, mistakes included, to
            where tracking has it. 0: all frames.
    """

    dice_weight: float = 0.0
    remat: bool = True
    gradient_through_masks: bool = True
    gradient_frames: int = 0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a number of frames is negative.
        """
        if self.gradient_frames < 0:
            raise InputError(f"objective.gradient_frames is {self.gradient_frames}: give 0 (all frames) or more")


def mrnet_loss(config: MRNetConfig, objective: MRNetObjective, *, frozen: tuple[str, ...]) -> LossFunction:
    """MRNet's loss function.

    A batch holds `images` (b, L, H, W, 3) uint8 RGB; `labels` (b, L, H, W) uint8, 0 background and slots 1..n; `valid`
    (b, n) bool. Frame 0 is given with its labels; every other frame is segmented from the predictions before it.

    Args:
        config: of the network.
        objective: what is minimised.
        frozen: see `OptimizerConfig.frozen`; what it names gets no gradient. The stem's mask channel always learns.

    Returns:
        The function; its metrics are `iou`, over all frames that the loss is of, and `last_iou`, of the clips' last.
    """
    model = MRNet(config)

    def loss(params: Any, batch_stats: Any, batch: Any) -> tuple[Mean, Metrics]:
        params = frozen_backbone(params, frozen)
        variables = {"params": params, "batch_stats": batch_stats}
        images, labels, valid = batch["images"], batch["labels"], batch["valid"]

        def body(memory: Memory, frame: tuple[jax.Array, jax.Array]) -> tuple[Memory, tuple[Mean, Mean]]:
            memory, logits, _ = _step(model, variables, memory, frame[0])
            if not objective.gradient_through_masks:
                memory = memory._replace(
                    previous=jax.lax.stop_gradient(memory.previous), masks=jax.lax.stop_gradient(memory.masks)
                )
            masks = masks_of_labels(frame[1], valid.shape[1])
            total = mask_loss(logits, masks, valid, dice_weight=objective.dice_weight)
            return memory, (total, mean_of_valid(intersection_over_union(logits, masks), valid))

        if objective.remat:
            fixed = frozen == WHOLE_BACKBONE and config.mask_input == "decoder"
            keep = jax.checkpoint_policies.save_only_these_names("pyramid") if fixed else None
            # Inside a scan nothing can be merged with the forward pass: the barrier against it would only cost time.
            body = jax.checkpoint(body, prevent_cse=False, policy=keep)
        memory = start(model, variables, images[:, 0], labels[:, 0], valid.shape[1], frames=images.shape[1] - 1)
        early = max(0, images.shape[1] - 1 - objective.gradient_frames) if objective.gradient_frames else 0
        if early:
            memory = _advance(model, variables, memory, images[:, 1 : 1 + early])
        over_time = lambda x: jnp.moveaxis(x[:, 1 + early :], 1, 0)
        _, (losses, overlaps) = jax.lax.scan(body, memory, (over_time(images), over_time(labels)))
        summed = lambda means: Mean(jnp.sum(means.total), jnp.sum(means.count))
        last = Mean(overlaps.total[-1], overlaps.count[-1])
        return summed(losses), {"iou": summed(overlaps), "last_iou": last}

    return loss


def start(
    model: MRNet,
    variables: Any,
    image: UInt8[Array, "b height width 3"],
    labels: UInt8[Array, "b height width"],
    objects: int,
    *,
    frames: int | None = None,
) -> Memory:
    """The state after frame 0 of a batch of clips; `frames` as in `MRNet.start`."""
    masks = masks_of_labels(labels, objects)
    normalised = normalise(image, model.config.backbone)
    return model.apply(variables, normalised, masks, frames, method="start")  # type: ignore[return-value]


def _advance(model: MRNet, variables: Any, memory: Memory, images: UInt8[Array, "b l height width 3"]) -> Memory:
    """The state after these frames, of which only frame 0's part carries a gradient."""
    fixed = jax.lax.stop_gradient(variables)
    body = lambda memory, image: (_step(model, fixed, memory, image)[0], None)
    later, _ = jax.lax.scan(body, jax.lax.stop_gradient(memory), jnp.moveaxis(images, 1, 0))
    return later._replace(first_feature=memory.first_feature, first_mask=memory.first_mask)


def _step(model: MRNet, variables: Any, memory: Memory, image: jax.Array) -> Any:
    return model.apply(variables, memory, normalise(image, model.config.backbone), method="step")


def rollout(
    config: MRNetConfig, variables: Any, batch: Any
) -> tuple[Float[Array, "frames b height width n"], dict[str, Any]]:
    """Segments clips as training does, without a loss.

    Args:
        config: of the network.
        variables: of the network.
        batch: see `mrnet_loss`.

    Returns:
        Float32 probabilities of frames 1, 2, ..., and by name what was found in them, stacked alike: `frame`, the past
        frame that was chosen for each object (b, n), and `score`, the candidates' values (absent without the
        Mask-Ranking Module).
    """
    model, images = MRNet(config), batch["images"]

    def body(memory: Memory, image: jax.Array) -> tuple[Memory, Any]:
        memory, _, found = _step(model, variables, memory, image)
        chosen = {}
        if "selected" in found:
            chosen = {"frame": found["selected"].frame, "score": found["selected"].score}
        return memory, (memory.previous, chosen)

    memory = start(model, variables, images[:, 0], batch["labels"][:, 0], batch["valid"].shape[1])
    return jax.lax.scan(body, memory, jnp.moveaxis(images[:, 1:], 1, 0))[1]


def predict(config: MRNetConfig, variables: Any, batch: Any) -> jax.Array:
    """Probabilities (2, b, H, W, n), float32, of the clips' last two frames, for pictures of a training's progress."""
    return rollout(config, variables, batch)[0][-2:]


def temporary_bytes(
    config: MRNetConfig,
    objective: MRNetObjective,
    *,
    batch_size: int,
    clip_length: int,
    objects: int = 1,
    frozen: tuple[str, ...] = (),
) -> int:
    """Memory that the compiled gradient of a training step takes besides its inputs and outputs; nothing is run.

    Args:
        config: of the network.
        objective: of the training, with its `remat`.
        batch_size: clips of a batch.
        clip_length: frames of a clip.
        objects: slots of a clip.
        frozen: see `OptimizerConfig.frozen`.
    """
    variables = expected_variables(config)
    loss = mrnet_loss(config, objective, frozen=frozen)
    shape = (batch_size, clip_length, *config.input_size)
    batch = {
        "images": jax.ShapeDtypeStruct((*shape, 3), jnp.uint8),
        "labels": jax.ShapeDtypeStruct(shape, jnp.uint8),
        "valid": jax.ShapeDtypeStruct((batch_size, objects), jnp.bool_),
    }
    gradient = jax.jit(jax.grad(lambda params, statistics, batch: loss(params, statistics, batch)[0].total))
    compiled = gradient.lower(variables["params"], variables.get("batch_stats", {}), batch).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None, "this backend does not analyse memory"
    return int(analysis.temp_size_in_bytes)
