"""Training is tracking: a clip is segmented by the tracker's own step, scanned over its frames, and its loss."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.nn.config import NetworkConfig
from ranet_jax.tracker.aggregation import decide
from ranet_jax.tracker.config import TrackerConfig
from ranet_jax.tracker.contract import Network
from ranet_jax.tracker.step import Knowledge, Prediction, begin, bound, learn_given, learn_predicted, predict
from ranet_jax.tracker.target import second_view
from ranet_jax.training.losses import Mean, intersection_over_union, mask_loss, masks_of_labels, mean_of_valid
from ranet_jax.training.optimizer import WHOLE_BACKBONE, frozen_backbone
from ranet_jax.training.step import LossFunction, Metrics


@dataclasses.dataclass(frozen=True)
class Objective:
    """What training minimises. The default is MRNet's: cross-entropy of every frame after the first, through time.

    Attributes:
        dice_weight: factor of a dice loss beside the cross-entropy.
        remat: compute a frame's activations again in the backward pass rather than keep those of all frames: memory
            then grows with the state from frame to frame only. Of a frozen encoder that sees no masks, the features
            are kept, as they need no gradient.
        encode_together: encode all frames of a clip in one pass, where the encoder sees no masks; not with `remat`.
        gradient_through_masks: whether a frame's loss reaches through the masks of the frames before it.
        gradient_frames: truncated back-propagation through time: the loss is that of a clip's last so many frames, and
            its gradient reaches these and frame 0; the frames between only bring the state, mistakes included, to
            where tracking has it. 0: all frames.
        presence: whether predictions are judged, as in tracking, before the next frame gets them.
        update: whether the target model learns from predictions, as in tracking.
    """

    dice_weight: float = 0.0
    remat: bool = True
    encode_together: bool = False
    gradient_through_masks: bool = True
    gradient_frames: int = 0
    presence: bool = False
    update: bool = False

    @classmethod
    def pairs(cls, **changes: Any) -> "Objective":
        """RANet's: two or three frames, encoded together, masks without a gradient."""
        return cls(**({"remat": False, "encode_together": True, "gradient_through_masks": False} | changes))

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a number of frames is negative, or both ways to encode are asked for.
        """
        if self.gradient_frames < 0:
            raise InputError(f"objective.gradient_frames is {self.gradient_frames}: give 0 (all frames) or more")
        if self.remat and self.encode_together:
            raise InputError("objective.remat computes frame by frame: set it or encode_together, not both")


class Clip(NamedTuple):
    """Frames to be segmented from the masks of the first, cut by the tracker's window.

    Two frames are a pair, of stills or of a video, far apart in time; twelve are MRNet's clips.

    Attributes:
        images: RGB, of the network's input size.
        labels: 0 background, objects 1..n.
        valid: which objects there are.
        previous: masks for the second frame, 0 background and objects 1..n; those of the first frame if None.
    """

    images: UInt8[Array, "b frames height width 3"]
    labels: UInt8[Array, "b frames height width"]
    valid: Bool[Array, "b n"]
    previous: UInt8[Array, "b height width"] | None = None

    @classmethod
    def of(cls, batch: Any) -> "Clip":
        """From the arrays of a batch by name: `images`, `labels`, `valid` and, where there are, `previous_labels`."""
        return cls(batch["images"], batch["labels"], batch["valid"], batch.get("previous_labels"))


class _Carry(NamedTuple):
    knowledge: Knowledge
    previous: Float[Array, "b height width n"]


def rollout(
    config: NetworkConfig,
    tracker: TrackerConfig,
    variables: Any,
    clip: Clip,
    objective: Objective = Objective(),
    *,
    keep: Any = None,
) -> tuple[Float[Array, "frames b height width n"], Float[Array, "frames b height width n"], dict[str, Any]]:
    """Segments clips by the step that tracks: as the tracker does, but that it sees all of every frame.

    Args:
        config: of the network.
        tracker: how it tracks; its window has been applied already.
        variables: of the network.
        clip: the frames.
        objective: for its ways through time; it has no part in the values.
        keep: checkpoint policy of what `remat` keeps.

    Returns:
        Float32 logits, before `presence` clears anything, and probabilities, of the last `gradient_frames` frames (all
        after the first if 0), and what the network found in them, by name.
    """
    net, length, n = bound(config, variables), clip.images.shape[1], clip.valid.shape[1]
    together = objective.encode_together and config.encodes_image_alone
    carry, encoded = _start(net, config, tracker, clip, together=together)
    frames = encoded if together else jnp.moveaxis(clip.images[:, 1:], 1, 0)

    def advance(net: Network, carry: _Carry, frame: Any) -> tuple[_Carry, Prediction]:
        seen = frame if together else net.encode(normalise(frame, config.backbone), carry.previous)
        prediction = predict(net, config, tracker, carry.knowledge, seen, carry.previous)
        remembered = prediction
        if not objective.gradient_through_masks:
            remembered = prediction._replace(probability=jax.lax.stop_gradient(prediction.probability))
        knowledge = learn_predicted(net, tracker, carry.knowledge, remembered)
        return _Carry(knowledge, _fed_back(tracker, remembered.probability, clip.valid)), prediction

    def body(carry: _Carry, frame: Any) -> tuple[_Carry, Any]:
        carry, prediction = advance(net, carry, frame)
        return carry, (prediction.logits, prediction.probability, prediction.found.get("selected", ()))

    early = max(0, length - 1 - objective.gradient_frames) if objective.gradient_frames else 0
    part = lambda start, stop: jax.tree.map(lambda x: x[start:stop], frames)
    if early:
        fixed = bound(config, jax.lax.stop_gradient(variables))
        silent = lambda carry, frame: (advance(fixed, carry, frame)[0], None)
        later, _ = jax.lax.scan(silent, jax.lax.stop_gradient(carry), part(0, early))
        memory = later.knowledge.memory.with_references_of(carry.knowledge.memory)
        carry = later._replace(knowledge=later.knowledge._replace(memory=memory))
    if objective.remat:
        # Inside a scan nothing can be merged with the forward pass: the barrier against it would only cost time.
        body = jax.checkpoint(body, prevent_cse=False, policy=keep)
    _, (logits, probability, selected) = jax.lax.scan(body, carry, part(early, length - 1))
    assert n == logits.shape[-1], "as many objects come out as there are"
    return logits, probability, {"selected": selected} if selected else {}


def _start(
    net: Network, config: NetworkConfig, tracker: TrackerConfig, clip: Clip, *, together: bool
) -> tuple[_Carry, Any]:
    """Everything after the first frame, and the encoded frames that follow, where they are encoded together."""
    b, length = clip.images.shape[:2]
    n = clip.valid.shape[1]
    masks = masks_of_labels(clip.labels[:, 0], n)
    first = normalise(clip.images[:, 0], config.backbone)
    images, views = [first], [masks]
    if tracker.target is not None:
        images.append(second_view(first, tracker.target.magnification))
        views.append(second_view(masks, tracker.target.magnification))
    if together:
        # In one pass of the network: no norm mixes the images of a batch, and this encoder looks at no mask.
        images += [normalise(clip.images[:, i], config.backbone) for i in range(1, length)]
        views += [masks] * (length - 1)
    seen = net.encode(jnp.concatenate(images), jnp.concatenate(views))
    pieces = (
        [seen]
        if len(images) == 1
        else [jax.tree.map(lambda x, i=i: x[i * b : (i + 1) * b], seen) for i in range(len(images))]
    )
    second = pieces[1] if tracker.target is not None else None
    encoded = None
    if together:
        encoded = jax.tree.map(lambda *frames: jnp.stack(frames), *pieces[-(length - 1) :])
    knowledge = begin(net, tracker, pieces[0], n, frames=length - 1)
    knowledge = learn_given(net, tracker, knowledge, pieces[0], second, masks, clip.valid, 0)
    previous = masks if clip.previous is None else masks_of_labels(clip.previous, n)
    return _Carry(knowledge, previous), encoded


def _fed_back(
    tracker: TrackerConfig, probability: Float[Array, "b height width n"], valid: Bool[Array, "b n"]
) -> Float[Array, "b height width n"]:
    """The next frame's previous masks."""
    if tracker.feedback == "probabilities":
        return probability
    _, indices = jax.vmap(lambda p, v: decide(p, v, tracker.aggregation))(probability, valid)
    return masks_of_labels(indices, valid.shape[1])


def clip_loss(
    config: NetworkConfig, tracker: TrackerConfig, objective: Objective, *, frozen: tuple[str, ...]
) -> LossFunction:
    """The loss function of either network.

    A batch holds the arrays of a `Clip`: frame 0 is given with its labels, every other frame is segmented from the
    predictions before it.

    Args:
        config: of the network.
        tracker: how it tracks; samples are cut by its window already.
        objective: what is minimised.
        frozen: see `OptimizerConfig.frozen`; what it names gets no gradient. A stem's mask channel always learns.

    Returns:
        The function; its metrics are `iou`, over all frames that the loss is of, and `last_iou`, of the clips' last.
    """
    tracker = tracker.for_training(presence=objective.presence, update=objective.update)
    fixed = frozen == WHOLE_BACKBONE and config.encodes_image_alone
    keep = jax.checkpoint_policies.save_only_these_names("pyramid") if fixed else None

    def loss(params: Any, batch_stats: Any, batch: Any) -> tuple[Mean, Metrics]:
        variables = {"params": frozen_backbone(params, frozen), "batch_stats": batch_stats}
        clip = Clip.of(batch)
        logits, _, _ = rollout(config, tracker, variables, clip, objective, keep=keep)
        losses, overlaps = [], []
        for i in range(logits.shape[0]):
            masks = masks_of_labels(clip.labels[:, i - logits.shape[0]], clip.valid.shape[1])
            losses.append(mask_loss(logits[i], masks, clip.valid, dice_weight=objective.dice_weight))
            overlaps.append(mean_of_valid(intersection_over_union(logits[i], masks), clip.valid))
        summed = lambda means: Mean(sum(m.total for m in means), sum(m.count for m in means))
        return summed(losses), {"iou": summed(overlaps), "last_iou": overlaps[-1]}

    return loss
