"""Tracking with weights of the video's own, fitted to its first frame: online learning, whatever does the fitting."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from ranet_jax.runtime.stream import Tracker

Adaptation = Callable[[Any, np.ndarray, np.ndarray], Any]
"""From a network's variables, the first frame and its label map to variables for this video; changes none of them."""


class AdaptedState(NamedTuple):
    """The video's own variables beside the state of the tracker that uses them."""

    variables: Any
    state: Any


@dataclasses.dataclass(frozen=True)
class AdaptingTracker:
    """A tracker that adapts the weights to every video's first frame and tracks the rest with them.

    The adapted weights are part of the state: the given ones stay as they are, so every video starts from them, and
    both sets have the same shapes, so the tracker inside is not compiled again.

    Attributes:
        tracker: what tracks.
        adapt: makes the video's weights; called by `init`.
    """

    tracker: Tracker
    adapt: Adaptation

    def init(
        self, variables: Any, frame: UInt8[jax.Array, "h w 3"], label_map: UInt8[jax.Array, "h w"]
    ) -> AdaptedState:
        """Adapts the variables, and starts the tracker with the result; see `Tracker`.

        Raises:
            Exception: whatever `adapt` and the tracker raise.
        """
        adapted = jax.device_put(self.adapt(variables, np.asarray(frame), np.asarray(label_map)))
        return AdaptedState(adapted, self.tracker.init(adapted, frame, label_map))

    def step(
        self, variables: Any, state: AdaptedState, frame: UInt8[jax.Array, "h w 3"]
    ) -> tuple[AdaptedState, jax.Array, Any]:
        """Segments the next frame with the video's weights; `variables` are not looked at."""
        new_state, label_map, probability = self.tracker.step(state.variables, state.state, frame)
        return AdaptedState(state.variables, new_state), label_map, probability

    def annotate(
        self,
        variables: Any,
        state: AdaptedState,
        frame: UInt8[jax.Array, "h w 3"],
        label_map: UInt8[jax.Array, "h w"],
    ) -> tuple[AdaptedState, jax.Array, Any]:
        """Segments the next frame, for which masks are given, with the weights fitted to the first one."""
        annotate = self.tracker.annotate  # type: ignore[attr-defined]
        new_state, label_map, probability = annotate(state.variables, state.state, frame, label_map)
        return AdaptedState(state.variables, new_state), label_map, probability
