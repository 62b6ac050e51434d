"""The tracker of either network: state in, state out, everything between a frame and its label map on the device."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ranet_jax.backbones import normalise
from ranet_jax.nn import adaptive_average_pool
from ranet_jax.nn.config import NetworkConfig
from ranet_jax.tracker.aggregation import decide
from ranet_jax.tracker.config import TrackerConfig
from ranet_jax.tracker.objects import (
    check_frame,
    check_frame_size,
    check_labels,
    grown,
    indices_of_labels,
    labels_of_indices,
    masks_of_indices,
    object_bucket,
    object_ids,
    padded_ids,
)
from ranet_jax.tracker.references import orphans, place_for, reference_bucket
from ranet_jax.tracker.state import State, check_fresh
from ranet_jax.tracker.step import (
    Prediction,
    begin,
    bound,
    check_hints,
    learn_given,
    learn_predicted,
    predict,
)
from ranet_jax.tracker.target import second_view
from ranet_jax.tracker.window import MEAN_COLOUR, Letterbox


@dataclasses.dataclass(frozen=True)
class Tracker:
    """Tracks objects, whose masks are given for some frames, through frames of one size.

    One program is compiled for each (configurations, frame size, padded object count, padded reference count) in a
    process, however many trackers there are. `step` and `annotate` donate their state: use the one they return.

    Attributes:
        config: the network's.
        tracker: how it tracks.
        frame_size: height and width of the frames, any.

    Examples:
        >>> import numpy as np
        >>> from ranet_jax.ranet import RANetConfig
        >>> from ranet_jax.weights import initial_variables
        >>> config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), hints=0)
        >>> variables = initial_variables(config)
        >>> tracker = Tracker(config, TrackerConfig(), frame_size=(48, 80))
        >>> frame, labels = np.zeros((48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
        >>> labels[10:30, 20:50] = 7
        >>> state = tracker.init(variables, frame, labels)
        >>> state, label_map, probability = tracker.step(variables, state, frame)
        >>> label_map.shape, probability.shape
        ((48, 80), (48, 80, 1))
        >>> labels[30:40, 60:70] = 9
        >>> state, label_map, _ = tracker.annotate(variables, state, frame, labels)
        >>> bool((np.asarray(label_map)[labels > 0] == labels[labels > 0]).all()), state.ids.tolist()
        (True, [7, 9])
    """

    config: NetworkConfig
    tracker: TrackerConfig
    frame_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Raises InputError where the size is none."""
        check_frame_size(self.frame_size)

    def init(
        self,
        variables: Any,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
        *,
        objects: Iterable[int] = (),
        references: int = 1,
    ) -> State:
        """State after the first frame.

        Args:
            variables: of the network.
            frame: the first frame, RGB.
            label_map: its objects: 0 background, any other value an object.
            objects: ids that are given later: there is room for them from the start, and nothing is compiled anew then.
            references: frames whose masks are given, this one included.

        Raises:
            InputError: the frame or the mask is not of `frame_size`, it has no object, or there are more than 16.
        """
        check_frame(frame, self.frame_size)
        check_labels(label_map, self.frame_size)
        given = object_ids(np.asarray(label_map))
        ids = padded_ids([*given, *(value for value in dict.fromkeys(objects) if value not in given)])
        return self.start(variables, frame, label_map, ids, references=reference_bucket(references))

    def start(
        self,
        variables: Any,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "h w"],
        ids: UInt8[np.ndarray | Array, "n"],
        *,
        references: int = 1,
    ) -> State:
        """`init` once the objects are known: it looks at no value, so it can be traced.

        Args:
            variables: of the network.
            frame: the first frame, RGB, of `frame_size`.
            label_map: its objects, of `frame_size`.
            ids: see `ranet_jax.tracker.objects.padded_ids`.
            references: padded number of reference frames.
        """
        check_hints(self.config, self.tracker)
        return _init(variables, frame, label_map, ids, tracker=self, references=references)

    def step(
        self, variables: Any, state: State, frame: UInt8[np.ndarray | Array, "h w 3"]
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame.

        Args:
            variables: of the network.
            state: after the frame before; donated.
            frame: RGB, of `frame_size`.

        Returns:
            The new state, the label map in the given masks' ids, and the probability of each object.

        Raises:
            InputError: the frame is not a uint8 array of `frame_size`, or the state was used before.
        """
        check_frame(frame, self.frame_size)
        check_fresh(state)
        return _step(variables, state, frame, tracker=self)

    def annotate(
        self,
        variables: Any,
        state: State,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame, for which masks are given: in place of `step`.

        Marked pixels come out as they are. Ids that the state does not know are new objects; objects that it knows are
        corrected, all their other pixels taken away; objects that the mask does not have go on. The frame is a further
        reference of what is given.

        Args:
            variables: of the network.
            state: after the frame before; donated. Where it has no room, a larger one is made, and compiled for.
            frame: RGB, of `frame_size`.
            label_map: 0 nothing given, any other value an object.

        Returns:
            As `step`.

        Raises:
            InputError: the frame or the mask is not of `frame_size`, it has no object, or there are more than 16.
        """
        check_frame(frame, self.frame_size)
        check_labels(label_map, self.frame_size)
        check_fresh(state)
        given = object_ids(np.asarray(label_map))
        state = with_room(self, variables, state, frame, label_map, given)
        return self.correct(variables, state, frame, label_map)

    def correct(
        self,
        variables: Any,
        state: State,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "h w"],
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """`annotate` of a state that has room: it looks at no value, so it can be traced."""
        return _annotate(variables, state, frame, label_map, tracker=self)


def compiled_steps() -> int:
    """How many programs `Tracker.step` has been compiled to in this process, see `Tracker`."""
    return _step._cache_size()  # type: ignore[attr-defined]


def with_room(tracker: Tracker, variables: Any, state: State, frame: Any, label_map: Any, ids: Iterable[int]) -> State:
    """A state with room for further objects and one more reference: the same where there is room.

    Looks at the state's ids and ages, on the host.

    Raises:
        InputError: there would be more than 16 objects.
    """
    known = [int(value) for value in np.asarray(state.ids) if value]
    everyone = [*known, *(value for value in ids if value not in known)]
    if everyone != known:
        state = state._replace(ids=jnp.asarray(padded_ids(everyone, max(state.ids.size, object_bucket(len(everyone))))))
    references = reference_bucket(int(np.sum(np.asarray(state.ages) > 0)) + 1)
    start = functools.partial(_init, tracker=tracker, references=max(references, state.ages.size))
    wanted = jax.eval_shape(start, variables, frame, label_map, state.ids)
    shapes = lambda tree: [leaf.shape for leaf in jax.tree.leaves(tree)]
    return state if shapes(wanted) == shapes(state) else grown(state, shapes=tuple(shapes(wanted)))


class _Geometry(NamedTuple):
    """What of a tracker depends on the frame's size alone."""

    tracker: Tracker
    letterbox: Letterbox
    input_size: tuple[int, int]

    @classmethod
    def of(cls, tracker: Tracker) -> "_Geometry":
        window, size = tracker.tracker.window, tracker.config.input_size
        input_size = window.input_size(tracker.frame_size, size)
        return cls(tracker, window.letterbox(tracker.frame_size, input_size), input_size)

    def image(self, frame: jax.Array, box: jax.Array) -> jax.Array:
        """The network's input (1, height, width, 3), normalised."""
        window = self.tracker.tracker.window
        placed = self.letterbox.place(frame.astype(jnp.float32), "linear")
        cut = window.cut(placed, box, self.input_size, MEAN_COLOUR)
        return normalise(cut[None], self.tracker.config.backbone)

    def masks(self, previous: jax.Array, box: jax.Array, objects: int) -> jax.Array:
        """Masks on the working frame, as a state has them, in the box (1, height, width, n)."""
        window = self.tracker.tracker.window
        if self.tracker.tracker.feedback == "probabilities":
            return window.cut(previous, box, self.input_size, np.zeros(1, np.float32))[None]
        return masks_of_indices(window.cut_labels(previous, box, self.input_size), objects)

    def placed(self, indices: jax.Array, objects: int) -> tuple[jax.Array, jax.Array]:
        """Given object indices as a state has previous masks, and where any object is, both on the working frame."""
        nearest = self.letterbox.place(indices[..., None], "nearest")[..., 0]
        if self.tracker.tracker.feedback == "labels":
            return nearest, nearest > 0
        # Averaged where the frame shrinks: an object of few pixels leaves something in the mask.
        masks = self.letterbox.place(masks_of_indices(indices, objects)[0], "linear")
        return jnp.clip(masks, 0.0, 1.0), nearest > 0


def _refer(
    geometry: _Geometry,
    variables: Any,
    state: State | None,
    frame: jax.Array,
    indices: jax.Array,
    ids: jax.Array,
    known: jax.Array,
    references: int,
) -> State:
    """The state with a frame as its newest reference; `indices` are of all objects in it, given or not."""
    tracker, n = geometry.tracker, ids.size
    net = bound(tracker.config, variables)
    previous, anything = geometry.placed(indices, n)
    box = tracker.tracker.window.box(anything, geometry.input_size)
    image, masks = geometry.image(frame, box), geometry.masks(previous, box, n)
    target = tracker.tracker.target
    both = image if target is None else jnp.concatenate([image, second_view(image, target.magnification)])
    views = masks if target is None else jnp.concatenate([masks, second_view(masks, target.magnification)])
    seen, second = net.encode(both, views), None
    if target is not None:
        seen, second = (jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], seen) for i in (0, 1))
    if state is None:
        knowledge, ages = begin(net, tracker.tracker, seen, n, references=references), jnp.zeros(references, jnp.int32)
    else:
        knowledge, ages = state.knowledge, state.ages
    slot = place_for(knowledge.memory.known[0], ages)
    if state is not None:
        # What only the reference that makes room had given is given by the tracker's own mask from now on.
        known = known | (orphans(knowledge.memory.known[0], slot) & jnp.any(masks[0] > 0, axis=(0, 1)))
    knowledge = learn_given(net, tracker.tracker, knowledge, seen, second, masks, known[None], slot)
    ages = jnp.where(jnp.arange(references) == slot, jnp.max(ages) + 1, ages)
    return State(knowledge, previous, box, ids, ages, known.astype(jnp.float32))


@functools.partial(jax.jit, static_argnames=("tracker", "references"))
def _init(
    variables: Any, frame: jax.Array, label_map: jax.Array, ids: jax.Array, *, tracker: Tracker, references: int
) -> State:
    indices = indices_of_labels(label_map, ids)
    known = jnp.any(masks_of_indices(indices, ids.size)[0] > 0, axis=(0, 1))
    return _refer(_Geometry.of(tracker), variables, None, frame, indices, ids, known, references)


def _segmented(
    geometry: _Geometry, variables: Any, state: State, frame: jax.Array
) -> tuple[State, jax.Array, jax.Array]:
    """The state after the next frame, its object indices and probabilities."""
    tracker, n = geometry.tracker, state.ids.size
    config, window, size = tracker.tracker, tracker.tracker.window, tracker.frame_size
    net = bound(tracker.config, variables)
    previous = geometry.masks(state.previous, state.box, n)
    seen = net.encode(geometry.image(frame, state.box), previous)
    prediction = predict(net, tracker.config, config, state.knowledge, seen, previous)
    blank = _shows_nothing(tracker, frame)
    if blank is not None:
        # Of an object that is nowhere, nothing is learned.
        prediction = prediction._replace(probability=jnp.where(blank, 0.0, prediction.probability))
    valid = state.knowledge.valid[0]
    knowledge = learn_predicted(net, config, state.knowledge, prediction)
    working = window.back(prediction.probability[0], state.box, geometry.letterbox.size)
    merged, indices = decide(working, valid, config.aggregation)
    fed_back = indices if config.feedback == "labels" else working
    box = window.box(indices > 0, geometry.input_size)
    if blank is not None:
        # Objects are looked for where they were before it.
        fed_back, box = jnp.where(blank, state.previous, fed_back), jnp.where(blank, state.box, box)
    new = State(knowledge, fed_back, box, state.ids, state.ages, _presence(prediction))
    # The output is cut from the probabilities, not from the working frame: resizing is undone before the decision.
    if size == geometry.letterbox.scaled:
        take = lambda x: geometry.letterbox.take(x, size)
        return new, take(indices[..., None])[..., 0], take(merged)
    probability, indices = decide(geometry.letterbox.take(working, size), valid, config.aggregation)
    return new, indices, probability


def _presence(prediction: Prediction) -> jax.Array:
    """See `State.presence`."""
    inside = (prediction.probability > 0.5).astype(jnp.float32)
    values = prediction.probability
    if prediction.likeness is not None:
        values = prediction.likeness
        inside = adaptive_average_pool(inside, (values.shape[1], values.shape[2]))
    return (jnp.sum(values * inside, axis=(1, 2)) / jnp.maximum(jnp.sum(inside, axis=(1, 2)), 1e-6))[0]


def _shows_nothing(tracker: Tracker, frame: jax.Array) -> jax.Array | None:
    """Whether a frame is of one colour, so that it can show no object; None where nobody asks."""
    presence = tracker.tracker.presence
    if presence is None:
        return None
    values = frame.astype(jnp.float32)
    return jnp.std(values, axis=(0, 1)).max() < presence.blank_deviation


@functools.partial(jax.jit, static_argnames=("tracker",), donate_argnames=("state",))
def _step(variables: Any, state: State, frame: jax.Array, *, tracker: Tracker) -> tuple[State, jax.Array, jax.Array]:
    new, indices, probability = _segmented(_Geometry.of(tracker), variables, state, frame)
    return new, labels_of_indices(indices, state.ids), probability


@functools.partial(jax.jit, static_argnames=("tracker",), donate_argnames=("state",))
def _annotate(
    variables: Any, state: State, frame: jax.Array, label_map: jax.Array, *, tracker: Tracker
) -> tuple[State, jax.Array, jax.Array]:
    geometry, n = _Geometry.of(tracker), state.ids.size
    given = indices_of_labels(label_map, state.ids)
    known = jnp.any(masks_of_indices(given, n)[0] > 0, axis=(0, 1))
    segmented, indices, probability = _segmented(geometry, variables, state, frame)
    corrected = jnp.concatenate([jnp.zeros(1, jnp.bool_), known])[indices]
    indices = jnp.where(given > 0, given, jnp.where(corrected, 0, indices))
    exact = masks_of_indices(indices, n)[0]
    probability = jnp.where((given > 0)[..., None] | known[None, None], exact, probability)
    # The frame is learned once, as a reference.
    state = segmented._replace(knowledge=state.knowledge)
    state = _refer(geometry, variables, state, frame, indices, state.ids, known, state.ages.size)
    presence = jnp.where(known, 1.0, segmented.presence)
    return state._replace(presence=presence), labels_of_indices(indices, state.ids), probability
