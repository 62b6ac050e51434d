"""MRNet's tracker: the step that training scans over, between frames of any size and label maps of the same."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from ranet_jax.backbones import normalise
from ranet_jax.networks import Memory, MRNet, MRNetConfig
from ranet_jax.tracker.aggregation import label_slots, merge_objects
from ranet_jax.tracker.canvas import Canvas
from ranet_jax.tracker.objects import labels_of_slots, masks_of_slots, padded_ids, slots_of_labels


class TrackerState(NamedTuple):
    """Everything a video's past leaves behind; its size never grows.

    Attributes:
        memory: of the network, batch of one, objects padded to their bucket.
        ids: label id of each object slot; 0 for padding.
        chosen: the past frame that the Mask-Ranking Module chose for each object slot in the frame before; 0 after the
            first frame, and always 0 without the module.
    """

    memory: Memory
    ids: UInt8[Array, "n"]
    chosen: Int32[Array, "n"]


@dataclasses.dataclass(frozen=True)
class MRNetTracker:
    """Tracks the objects of a first frame's label map through frames of one size.

    The network sees the whole frame, as in the paper and in training: fitted into its input size, centred, black around
    it. Masks are fed back as they are there; label maps are decided from probabilities brought to the frame's own size.
    One program is compiled for each (configuration, frame size, bucket of `OBJECT_BUCKETS`) in a process, however
    many trackers there are. `step` donates its state: use the one it returns.

    Attributes:
        config: the network's.
        frame_size: height and width of the frames, any.

    Example:
        >>> import numpy as np
        >>> from ranet_jax.weights import initial_variables
        >>> config = MRNetConfig.lite(backbone="resnet_micro", input_size=(64, 96))
        >>> variables = initial_variables(config)
        >>> tracker = MRNetTracker(config, frame_size=(48, 80))
        >>> frame, labels = np.zeros((48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
        >>> labels[10:30, 20:50] = 7
        >>> state = tracker.init(variables, frame, labels)
        >>> state, label_map, probability = tracker.step(variables, state, frame)
        >>> label_map.shape, probability.shape
        ((48, 80), (48, 80, 1))
    """

    config: MRNetConfig
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


def _network_input(frame: jax.Array, canvas: Canvas, config: MRNetConfig) -> jax.Array:
    return normalise(canvas.place(frame.astype(jnp.float32), "linear")[None], config.backbone)


@functools.partial(jax.jit, static_argnames=("config", "frame_size"))
def _init(
    variables: Any,
    frame: jax.Array,
    label_map: jax.Array,
    ids: jax.Array,
    *,
    config: MRNetConfig,
    frame_size: tuple[int, int],
) -> TrackerState:
    canvas = Canvas.of(frame_size, config)
    masks = masks_of_slots(slots_of_labels(label_map, ids), ids.size)[0]
    # Averaged where the frame shrinks: an object of few pixels leaves something in the mask.
    masks = jnp.clip(canvas.place(masks, "linear"), 0.0, 1.0)[None]
    image = _network_input(frame, canvas, config)
    memory: Any = MRNet(config).apply(variables, image, masks, method="start")
    return TrackerState(memory, ids, jnp.zeros(ids.shape, jnp.int32))


@functools.partial(jax.jit, static_argnames=("config", "frame_size"), donate_argnames=("state",))
def _step(
    variables: Any, state: TrackerState, frame: jax.Array, *, config: MRNetConfig, frame_size: tuple[int, int]
) -> tuple[TrackerState, jax.Array, jax.Array]:
    canvas = Canvas.of(frame_size, config)
    image = _network_input(frame, canvas, config)
    stepped: Any = MRNet(config).apply(variables, state.memory, image, method="step")
    memory: Memory = stepped[0]
    found: dict[str, Any] = stepped[2]
    chosen = found["selected"].frame[0] if config.mask_ranking else state.chosen
    probability = canvas.take(memory.previous[0], frame_size)
    if config.merging == "softmax":
        labels = label_slots(probability)
    else:
        probability, labels = merge_objects(probability, state.ids > 0, config.merging)
    return TrackerState(memory, state.ids, chosen), labels_of_slots(labels, state.ids), probability
