"""Online learning ("RANet+", paper section 4.3): the network fitted to a video's first frame before it is tracked."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import UInt8

from ranet_jax.data.config import SampleConfig
from ranet_jax.data.samples import static_pair
from ranet_jax.data.sources import LabelledImage, MemorySource
from ranet_jax.errors import InputError
from ranet_jax.ranet import RANetConfig
from ranet_jax.tracker import AspectBox, TrackerConfig
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
from ranet_jax.training.rollout import Objective, clip_loss
from ranet_jax.training.step import StepFunction, TrainState, initial_state, train_step

_OBJECTIVE = Objective(remat=False, encode_together=True)


def adapt(
    config: RANetConfig,
    tracker: TrackerConfig,
    variables: Any,
    frame: UInt8[np.ndarray, "height width 3"],
    label_map: UInt8[np.ndarray, "height width"],
    *,
    steps: int,
    learning_rate: float,
    seed: int = 0,
) -> dict[str, Any]:
    """Fine-tunes a copy of the weights on one labelled frame.

    Every step trains on one static pair: two copies of the frame, transformed at random (spec section 7). One program
    is compiled for each configuration and number of objects, rounded up to a power of two: not for each video, frame
    size or learning rate.

    Args:
        config: of the network.
        tracker: how it is made to track.
        variables: of the network, arrays of NumPy or JAX; not changed.
        frame: the first frame, RGB.
        label_map: its objects: 0 background, any other value an object.
        steps: how many; 0 returns the weights as they are.
        learning_rate: Adam's, constant; the paper's is 1e-6.
        seed: of the transformations; equal seeds give equal weights.

    Returns:
        The adapted variables.

    Raises:
        InputError: the mask is empty, frame and mask differ in size, `steps` is negative, or `learning_rate` is not a
            positive number.
    """
    _check_amounts(steps, learning_rate)
    objects = len(np.unique(label_map[label_map > 0]))
    if not objects:
        raise InputError("the first frame's mask is empty: mark at least one object with a value other than 0")
    source = MemorySource([LabelledImage(frame, label_map, "the first frame")])
    sample_config = SampleConfig(
        size=config.input_size,
        crop="box" if isinstance(tracker.window, AspectBox) else "frame",
        max_objects=1 << (objects - 1).bit_length(),
        # However small an object is, it is what is to be tracked.
        minimum_pixels=1,
    )
    if not steps:
        return dict(variables)
    rate = jnp.float32(learning_rate)
    # Buffers of its own: the step donates its state, and these are the caller's.
    copied = jax.tree.map(lambda x: jnp.array(x, copy=True), dict(variables))
    state = initial_state(copied, _step_function(config, tracker, rate).optimizer)
    for number in range(steps):
        sample = static_pair(np.random.default_rng([seed, number]), source, 0, sample_config)
        if sample is not None:
            batch = {name: value[None] for name, value in sample.items() if name != "name"}
            state = _adapt_step(state, batch, rate, config=config, tracker=tracker)
    return {**variables, "params": state.params}


def _check_amounts(steps: int, learning_rate: float) -> None:
    if steps < 0:
        raise InputError(f"{steps} steps of online learning: give 0 or more")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"the online learning rate is {learning_rate}: give a positive number such as 1e-6")


def _step_function(config: RANetConfig, tracker: TrackerConfig, learning_rate: jax.Array) -> StepFunction:
    """Adam at the rate 1, its updates scaled: so the rate is an argument of the compiled step, not a part of it."""
    settings = OptimizerConfig(1.0, "constant", ema_decay=0.0)
    optimizer = optax.chain(build_optimizer(settings, 1), optax.scale(learning_rate))
    return StepFunction(clip_loss(config, tracker, _OBJECTIVE, frozen=()), optimizer, settings.ema_decay)


@functools.partial(jax.jit, static_argnames=("config", "tracker"), donate_argnames="state")
def _adapt_step(
    state: TrainState, batch: Any, learning_rate: jax.Array, *, config: RANetConfig, tracker: TrackerConfig
) -> TrainState:
    return train_step(state, batch, function=_step_function(config, tracker, learning_rate))[0]
