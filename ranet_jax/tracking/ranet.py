"""RANet's tracker: state in, state out, everything between a frame and its label map on the device (spec section 6)."""

import dataclasses
import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, UInt8

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.models import RANet, RANetConfig, Template
from ranet_jax.tracking.crop import box_of_mask, crop_frame, crop_labels, uncrop
from ranet_jax.tracking.merge import merge_objects

OBJECT_BUCKETS = (1, 2, 4, 8, 16)
VOID = 255


class TrackerState(NamedTuple):
    """Everything a video's past leaves behind; its size never grows.

    Attributes:
        template: of the first frame, batch of one, objects padded to their bucket.
        previous: label slots of the previous frame on the working canvas (0 background, i + 1 object i).
        box: the crop box of the next frame, on the working canvas.
        ids: label id of each object slot; 0 for padding.
    """

    template: Template
    previous: Int32[Array, "height width"]
    box: Float32[Array, "4"]
    ids: UInt8[Array, "n"]


def object_ids(label_map: np.ndarray) -> list[int]:
    """Ids of the objects in a label map, ascending; 0 is background and 255 is void.

    Raises:
        InputError: there is no object, or there are more than 16.
    """
    ids = [int(value) for value in np.unique(label_map) if value not in (0, VOID)]
    if not ids:
        raise InputError("the first frame's mask is empty: mark at least one object with a value other than 0")
    if len(ids) > OBJECT_BUCKETS[-1]:
        raise InputError(f"the mask has {len(ids)} objects and {OBJECT_BUCKETS[-1]} is the most: leave some out")
    return ids


@dataclasses.dataclass(frozen=True)
class RANetTracker:
    """Tracks the objects of a first frame's label map through frames of one size.

    One program is compiled for each (configuration, frame size, object bucket 1, 2, 4, 8, 16) in a process, however
    many trackers there are. `step` donates its state: use the one it returns.

    Attributes:
        config: the network's.
        frame_size: height and width of the frames, any.

    Example:
        >>> import numpy as np
        >>> from ranet_jax.models import RANetConfig
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
        for name, array in (("frame", frame), ("mask", label_map)):
            if array.shape[:2] != self.frame_size:
                size, expected = ("x".join(map(str, s)) for s in (array.shape[1::-1], self.frame_size[::-1]))
                raise InputError(f"the {name} is {size} pixels and the video {expected}: both must be of one size")
        ids = object_ids(np.asarray(label_map))
        bucket = next(size for size in OBJECT_BUCKETS if size >= len(ids))
        padded = np.zeros(bucket, np.uint8)
        padded[: len(ids)] = ids
        return _init(variables, frame, label_map, padded, config=self.config, frame_size=self.frame_size)

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


class Canvas(NamedTuple):
    """Where a frame lies on the working canvas: its size there, the canvas's size, and the margin above and left."""

    scaled: tuple[int, int]
    size: tuple[int, int]
    margin: tuple[int, int]

    @classmethod
    def of(cls, frame_size: tuple[int, int], config: RANetConfig) -> "Canvas":
        """The released geometry works on frames fitted into the input size, centre padded; "pad" on the frame itself.

        A frame that needs only padding is not resampled: 480x854 lies in 480x864 as it is.
        """
        if config.crop == "pad":
            return cls(frame_size, frame_size, (0, 0))
        (h, w), (height, width) = frame_size, config.input_size
        fits = h <= height and w <= width and (h == height or w == width)
        scale = 1.0 if fits else min(height / h, width / w)
        scaled = (min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale))))
        return cls(scaled, config.input_size, ((height - scaled[0]) // 2, (width - scaled[1]) // 2))

    def place(self, x: jax.Array, method: str) -> jax.Array:
        """Fits an array (h, w, c) of the frame's size onto the canvas; the margins are 0."""
        if x.shape[:2] != self.scaled:
            x = jax.image.resize(x, (*self.scaled, x.shape[2]), method)
        (top, left), (h, w), (height, width) = self.margin, self.scaled, self.size
        return jnp.pad(x, ((top, height - h - top), (left, width - w - left), (0, 0)))

    def take(self, x: jax.Array, frame_size: tuple[int, int]) -> jax.Array:
        """The inverse of `place` for probabilities (height, width, n): margins cut off, bilinear resize undone."""
        (top, left), (h, w) = self.margin, self.scaled
        x = x[top : top + h, left : left + w]
        return x if frame_size == self.scaled else jax.image.resize(x, (*frame_size, x.shape[2]), "linear")


def compiled_steps() -> int:
    """How many programs `step` has been compiled to in this process: one for each config, frame size and bucket."""
    return _step._cache_size()  # type: ignore[attr-defined]


def _masks(slots: jax.Array, n: int) -> jax.Array:
    """Label slots (h, w) to float masks (1, h, w, n)."""
    return (slots[None, ..., None] == jnp.arange(1, n + 1, dtype=slots.dtype)[None, None, None]).astype(jnp.float32)


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
    matches = (label_map[..., None] == ids[None, None]) & (ids > 0)[None, None]
    slots = jnp.sum(jnp.where(matches, jnp.arange(1, ids.size + 1, dtype=jnp.int32)[None, None], 0), axis=-1)
    slots = canvas.place(slots[..., None], "nearest")[..., 0]
    box = box_of_mask(slots > 0, config)
    image = _network_input(frame, canvas, box, config)
    masks = _masks(crop_labels(slots, box, config), ids.size)
    template = RANet(config).apply(variables, image, masks, method="encode_template")
    return TrackerState(cast(Template, template), slots, box, ids)


@functools.partial(jax.jit, static_argnames=("config", "frame_size"), donate_argnames=("state",))
def _step(
    variables: Any, state: TrackerState, frame: jax.Array, *, config: RANetConfig, frame_size: tuple[int, int]
) -> tuple[TrackerState, jax.Array, jax.Array]:
    n = state.ids.size
    canvas = Canvas.of(frame_size, config)
    image = _network_input(frame, canvas, state.box, config)
    previous = _masks(crop_labels(state.previous, state.box, config), n)
    logits, _ = RANet(config).apply(variables, image, state.template, previous)
    probability = uncrop(jax.nn.sigmoid(logits[0]), state.box, canvas.size, config)
    valid = state.ids > 0
    merged, slots = merge_objects(probability, valid, config.merging)
    box = box_of_mask(slots > 0, config)
    new_state = TrackerState(state.template, slots, box, state.ids)
    # The output is cut from the probabilities, not from the canvas's labels: resizing is undone before the decision.
    if frame_size == canvas.scaled:
        output, labels = canvas.take(merged, frame_size), canvas.take(slots[..., None], frame_size)[..., 0]
    else:
        output, labels = merge_objects(canvas.take(probability, frame_size), valid, config.merging)
    table = jnp.concatenate([jnp.zeros(1, jnp.uint8), state.ids])
    return new_state, table[labels], output
