"""A tracker as three functions of plain arrays, and what tracks with them once they are compiled.

The functions take and return dictionaries of arrays; h w is the frames' size, n the most objects there may be:

    init(weights float32, frame uint8 (h, w, 3), label_map uint8 (h, w), ids uint8 (n,)) -> state
    step(weights, state, frame) -> (state, label_map uint8 (h, w), probability float32 (h, w, n))
    annotate(weights, state, frame, label_map) -> as step, for a frame with masks; state["ids"] names all of them

So nothing that only this library's classes could hold has to be registered, or imported, where they run.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from ranet_jax.tracker.objects import check_frame, check_labels, object_ids, padded_ids

if TYPE_CHECKING:  # what runs the functions needs no network
    from ranet_jax.tracker import Tracker

FUNCTIONS = ("init", "step", "annotate")
DONATED = {"init": (), "step": (1,), "annotate": (1,)}
"""Arguments that a function takes over: a state, once another one follows it."""

State = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class FunctionTracker:
    """Tracks with compiled functions; see `ranet_jax.runtime.stream.Tracker`.

    Attributes:
        frame_size: height and width of the frames.
        objects: the most there may be.
        start: the compiled `init`.
        advance: the compiled `step`; donates the state.
        correct: the compiled `annotate`; donates the state.
    """

    frame_size: tuple[int, int]
    objects: int
    start: Callable[..., State]
    advance: Callable[..., tuple[State, jax.Array, jax.Array]]
    correct: Callable[..., tuple[State, jax.Array, jax.Array]]

    def init(
        self,
        variables: dict[str, Any],
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> State:
        """State after the first frame; see `ranet_jax.tracker.Tracker.init`."""
        return self.start(variables, frame, label_map, padded_ids(self._given(frame, label_map), self.objects))

    def annotate(
        self,
        variables: dict[str, Any],
        state: State,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame, for which masks are given; see `ranet_jax.tracker.Tracker.annotate`."""
        given = self._given(frame, label_map)
        known = [int(value) for value in np.asarray(state["ids"]) if value]
        ids = padded_ids([*known, *(value for value in given if value not in known)], self.objects)
        return self.correct(variables, state | {"ids": jax.numpy.asarray(ids)}, frame, label_map)

    def _given(self, frame: Any, label_map: Any) -> list[int]:
        check_frame(frame, self.frame_size)
        check_labels(label_map, self.frame_size)
        return object_ids(np.asarray(label_map))

    def step(
        self, variables: dict[str, Any], state: State, frame: UInt8[np.ndarray | Array, "h w 3"]
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame; see `ranet_jax.tracker.Tracker.step`. The state is donated."""
        return self.advance(variables, state, frame)


class PlainFunction(NamedTuple):
    """One of a tracker's functions, not compiled.

    Attributes:
        function: to be jitted.
        arguments: shapes and dtypes of what it takes.
        donated: numbers of the arguments that it takes over.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    donated: tuple[int, ...]


def plain_functions(tracker: "Tracker", variables: Any, objects: int, references: int) -> dict[str, PlainFunction]:
    """The functions of a tracker, by name; nothing is computed.

    Args:
        tracker: whose.
        variables: arrays, or shapes and dtypes, as a tree.
        objects: padded number of objects there is room for.
        references: padded number of frames with masks that are remembered.
    """
    frame_size = tracker.frame_size
    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    label_map, ids = jax.ShapeDtypeStruct(frame_size, np.uint8), jax.ShapeDtypeStruct((objects,), np.uint8)
    frame = jax.ShapeDtypeStruct((*frame_size, 3), np.uint8)
    start = functools.partial(tracker.start, references=references)
    state = jax.eval_shape(start, weights, frame, label_map, ids)
    weight_layout, state_layout = _Layout(weights), _Layout(state)

    def init(weights: Any, frame: jax.Array, label_map: jax.Array, ids: jax.Array) -> dict[str, jax.Array]:
        return state_layout.flatten(start(weight_layout.unflatten(weights), frame, label_map, ids))

    def advancing(function: Any) -> Any:
        def advance(weights: Any, state: Any, *inputs: jax.Array) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
            trees = weight_layout.unflatten(weights), state_layout.unflatten(state)
            new_state, label_map, probability = function(*trees, *inputs)
            return state_layout.flatten(new_state), label_map, probability

        return advance

    named_weights, named_state = weight_layout.flatten(weights), state_layout.flatten(state)
    functions = {
        "init": (init, (named_weights, frame, label_map, ids)),
        "step": (advancing(tracker.step), (named_weights, named_state, frame)),
        "annotate": (advancing(tracker.correct), (named_weights, named_state, frame, label_map)),
    }
    return {name: PlainFunction(*found, DONATED[name]) for name, found in functions.items()}


class _Layout:
    """A tree as a dictionary of its leaves by path, such as "params/decoder/kernel", and back."""

    def __init__(self, tree: Any):
        self._structure = jax.tree.structure(tree)
        self._names = [
            jax.tree_util.keystr(path, simple=True, separator="/")
            for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        ]

    def flatten(self, tree: Any) -> dict[str, Any]:
        return dict(zip(self._names, jax.tree.leaves(tree), strict=True))

    def unflatten(self, named: dict[str, Any]) -> Any:
        return jax.tree.unflatten(self._structure, [named[name] for name in self._names])
