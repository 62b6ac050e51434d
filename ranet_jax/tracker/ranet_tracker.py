"""RANet's tracker: state in, state out, everything between a frame and its label map on the device (spec section 6)."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, UInt8

from ranet_jax.backbones import normalise
from ranet_jax.networks import RANet, RANetConfig, Template
from ranet_jax.tracker.aggregation import merge_objects
from ranet_jax.tracker.canvas import Canvas
from ranet_jax.tracker.objects import (
    OBJECT_BUCKETS,
    labels_of_slots,
    masks_of_slots,
    object_ids,
    padded_ids,
    slots_of_labels,
)
from ranet_jax.tracker.presence import drop_unconnected
from ranet_jax.tracker.target import familiar_cells, recognised, update_target_model
from ranet_jax.tracker.window import box_of_mask, crop_frame, crop_labels, uncrop

__all__ = ["OBJECT_BUCKETS", "Canvas", "RANetTracker", "TrackerState", "compiled_steps", "object_ids"]


class TrackerState(NamedTuple):
    """Everything a video's past leaves behind; its size never grows.

    Attributes:
        template: of the first frame, batch of one, objects padded to their bucket; where the config says so, its
            target model is fitted to later frames, too.
        previous: label slots of the previous frame on the working canvas (0 background, i + 1 object i).
        box: the crop box of the next frame, on the working canvas.
        ids: label id of each object slot; 0 for padding.
    """

    template: Template
    previous: Int32[Array, "height width"]
    box: Float32[Array, "4"]
    ids: UInt8[Array, "n"]


@dataclasses.dataclass(frozen=True)
class RANetTracker:
    """Tracks the objects of a first frame's label map through frames of one size.

    One program is compiled for each (configuration, frame size, bucket of `OBJECT_BUCKETS`) in a process, however
    many trackers there are. `step` donates its state: use the one it returns.

    Attributes:
        config: the network's.
        frame_size: height and width of the frames, any.

    Example:
        >>> import numpy as np
        >>> from ranet_jax.networks import RANetConfig
        >>> from ranet_jax.weights import initial_variables
        >>> config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6))
        >>> variables = initial_variables(config)
        >>> tracker = RANetTracker(config, frame_size=(48, 80))
        >>> frame, labels = np.zeros((48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
        >>> labels[10:30, 20:50] = 7
        >>> state = tracker.init(variables, frame, labels)
        >>> state, label_map, probability = tracker.step(variables, state, frame)
        >>> label_map.shape, probability.shape
        ((48, 80), (48, 80, 1))
    """

    config: RANetConfig
    frame_size: tuple[int, int]

    def init(
        self,
        variables: Any,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> TrackerState:
        """State after the first frame.

        Args:
            variables: of the network.
            frame: the first frame, RGB.
            label_map: its objects: 0 background, 255 void (treated as background), any other value an object.

        Raises:
            InputError: the frame or the mask is not of `frame_size`, or it has no object or more than 16.
        """
        return self.start(variables, frame, label_map, padded_ids(frame, label_map, self.frame_size))

    def start(
        self,
        variables: Any,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "h w"],
        ids: UInt8[np.ndarray | Array, "n"],
    ) -> TrackerState:
        """`init` once the objects are known: it looks at no value, so it can be traced.

        Args:
            variables: of the network.
            frame: the first frame, RGB, of `frame_size`.
            label_map: its objects, of `frame_size`.
            ids: see `padded_ids`.
        """
        return _init(variables, frame, label_map, ids, config=self.config, frame_size=self.frame_size)

    def step(
        self, variables: Any, state: TrackerState, frame: UInt8[np.ndarray | Array, "h w 3"]
    ) -> tuple[TrackerState, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame.

        Args:
            variables: of the network.
            state: after the frame before; donated.
            frame: RGB, of `frame_size`.

        Returns:
            The new state, the label map in the ids of the first one, and the probability of each object slot.
        """
        return _step(variables, state, frame, config=self.config, frame_size=self.frame_size)


def compiled_steps() -> int:
    """How many programs `step` has been compiled to in this process: one for each config, frame size and bucket."""
    return _step._cache_size()  # type: ignore[attr-defined]


def _network_input(frame: jax.Array, canvas: Canvas, box: jax.Array, config: RANetConfig) -> jax.Array:
    placed = canvas.place(frame.astype(jnp.float32), "linear")
    return normalise(crop_frame(placed, box, config)[None], config.backbone)


@functools.partial(jax.jit, static_argnames=("config", "frame_size"))
def _init(
    variables: Any,
    frame: jax.Array,
    label_map: jax.Array,
    ids: jax.Array,
    *,
    config: RANetConfig,
    frame_size: tuple[int, int],
) -> TrackerState:
    canvas = Canvas.of(frame_size, config)
    slots = slots_of_labels(label_map, ids)
    slots = canvas.place(slots[..., None], "nearest")[..., 0]
    box = box_of_mask(slots > 0, config)
    image = _network_input(frame, canvas, box, config)
    masks = masks_of_slots(crop_labels(slots, box, config), ids.size)
    template = RANet(config).apply(variables, image, masks, method="encode_template")
    return TrackerState(cast(Template, template), slots, box, ids)


@functools.partial(jax.jit, static_argnames=("config", "frame_size"), donate_argnames=("state",))
def _step(
    variables: Any, state: TrackerState, frame: jax.Array, *, config: RANetConfig, frame_size: tuple[int, int]
) -> tuple[TrackerState, jax.Array, jax.Array]:
    n = state.ids.size
    canvas = Canvas.of(frame_size, config)
    image = _network_input(frame, canvas, state.box, config)
    previous = masks_of_slots(crop_labels(state.previous, state.box, config), n)
    logits, features = RANet(config).apply(variables, image, state.template, previous)
    cropped = jax.nn.sigmoid(logits[0])
    if config.parts == "connected":
        familiar = _familiar(state.template, features, cropped) if config.target_update else None
        cropped = drop_unconnected(cropped, previous[0], familiar)
    if config.target_update:
        cropped = _without_strangers(state.template, features, cropped, previous)
    probability = uncrop(cropped, state.box, canvas.size, config)
    valid = state.ids > 0
    merged, slots = merge_objects(probability, valid, config.merging)
    box = box_of_mask(slots > 0, config)
    template = state.template
    if config.target_update:
        template = _updated(template, features, jnp.where(valid, cropped, 0.0))
    new_state = TrackerState(template, slots, box, state.ids)
    # The output is cut from the probabilities, not from the canvas's labels: resizing is undone before the decision.
    if frame_size == canvas.scaled:
        output, labels = canvas.take(merged, frame_size), canvas.take(slots[..., None], frame_size)[..., 0]
    else:
        output, labels = merge_objects(canvas.take(probability, frame_size), valid, config.merging)
    return new_state, labels_of_slots(labels, state.ids), output


def _familiar(template: Template, features: Mapping[str, Any], probability: jax.Array) -> jax.Array:
    assert template.target is not None
    return familiar_cells(template.target, features["pyramid"], features["matching"], probability[None])[0]


def _without_strangers(
    template: Template, features: Mapping[str, Any], probability: jax.Array, previous: jax.Array
) -> jax.Array:
    """Nothing for objects whose prediction is something else: they are lost, and looked for anew in the next frame."""
    assert template.target is not None
    known = recognised(template.target, features["pyramid"], features["matching"], probability[None], previous)
    return jnp.where(known[0], probability, 0.0)


def _updated(template: Template, features: Mapping[str, Any], probability: jax.Array) -> Template:
    """The template with a target model that knows this frame, too; a pixel is the most probable object's alone."""
    assert template.target is not None
    alone = jnp.where(probability == jnp.max(probability, axis=-1, keepdims=True), probability, 0.0)
    target = update_target_model(template.target, features["pyramid"], features["matching"], alone[None])
    return template._replace(target=target)
