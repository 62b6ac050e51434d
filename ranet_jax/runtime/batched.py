"""Several videos in lockstep: one program a frame for all of them, from the tracker of one video."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ranet_jax.errors import InputError
from ranet_jax.tracker import Tracker


@dataclasses.dataclass(frozen=True)
class BatchedTracker:
    """Tracks b videos of one frame size and one object bucket, each as `tracker` would alone.

    Its state is the tracker's own with a leading axis of b on every array; a scalar (MRNet's frame number) is shared.
    So all videos of a batch start together, and a slot whose video has ended is not given to another one: it goes on
    with any frames, and what comes out of it means nothing. One program is compiled for each (configuration, frame
    size, object bucket, b) in a process, and none as videos end. `step` donates its state: use the one it returns.

    Label maps are those of each video alone but for rounding: a batched convolution may add in another order, which
    changes the last bits of a probability, and a label only where two were as good as equal.

    Attributes:
        tracker: of one video.

    Examples:
        >>> from ranet_jax.ranet import RANetConfig
        >>> from ranet_jax.tracker import TrackerConfig
        >>> from ranet_jax.weights import initial_variables
        >>> config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), hints=0)
        >>> variables = initial_variables(config)
        >>> tracker = BatchedTracker(Tracker(config, TrackerConfig(), frame_size=(48, 80)))
        >>> frames, labels = np.zeros((3, 48, 80, 3), np.uint8), np.zeros((3, 48, 80), np.uint8)
        >>> labels[:, 10:30, 20:50] = 7
        >>> state = tracker.init(variables, frames, labels)
        >>> state, label_maps, probability = tracker.step(variables, state, frames)
        >>> label_maps.shape, probability.shape
        ((3, 48, 80), (3, 48, 80, 1))
    """

    tracker: Tracker

    def init(
        self,
        variables: Any,
        frames: UInt8[np.ndarray | Array, "b h w 3"],
        label_maps: UInt8[np.ndarray | Array, "b mask_h mask_w"],
    ) -> Any:
        """State after the first frames.

        Args:
            variables: of the network.
            frames: the first frame of every video, RGB.
            label_maps: their objects: 0 background, 255 void (treated as background), any other value an object. Ids
                and numbers of objects may differ between videos, but not the bucket.

        Raises:
            InputError: the frames or the masks are not of the tracker's size, a mask has no object or more than 16, or
                the videos' buckets differ.
        """
        states = [self.tracker.init(variables, frame, labels) for frame, labels in zip(frames, label_maps, strict=True)]
        if len(buckets := {state.ids.size for state in states}) > 1:
            raise InputError(
                f"the videos of a batch have objects for buckets of {', '.join(map(str, sorted(buckets)))}:"
                " batch those of one bucket"
            )
        return _stack(states)

    def step(
        self, variables: Any, state: Any, frames: UInt8[np.ndarray | Array, "b h w 3"]
    ) -> tuple[Any, UInt8[Array, "b h w"], Float[Array, "b h w n"]]:
        """Segments the next frame of every video.

        Args:
            variables: of the network.
            state: after the frames before; donated.
            frames: RGB, of the tracker's size.

        Returns:
            The new state, each video's label map in the ids of its first one, and the probability of each object slot.
        """
        return _step(variables, state, frames, tracker=self.tracker)


def compiled_steps() -> int:
    """How many programs `step` has been compiled to in this process: see `BatchedTracker`; one more for each device."""
    return _step._cache_size()  # type: ignore[attr-defined]


@jax.jit
def _stack(states: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves) if leaves[0].ndim else leaves[0], *states)


@functools.partial(jax.jit, static_argnames=("tracker",), donate_argnames=("state",))
def _step(variables: Any, state: Any, frames: jax.Array, *, tracker: Tracker) -> tuple[Any, jax.Array, jax.Array]:
    # A scalar stays one for all: MRNet then reads its ring buffer by one slice, where a frame number for each video
    # would make a gather of it.
    axes = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, state)
    step = lambda state, frame: tracker.step(variables, state, frame)
    return jax.vmap(step, in_axes=(axes, 0), out_axes=(axes, 0, 0))(state, frames)
