"""Online learning ("RANet+", paper section 4.3): the network fitted to a video's first frame before it is tracked."""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.config import SampleConfig
from ranet_jax.data.samples import static_pair
from ranet_jax.data.sources import LabelledImage, MemorySource
from ranet_jax.errors import InputError
from ranet_jax.models import RANetConfig
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
from ranet_jax.training.ranet import RANetObjective, ranet_loss
from ranet_jax.training.step import StepFunction, TrainState, initial_state, train_step

LEARNING_RATE = 1e-6
"""The paper's."""
_VOID_LABEL = 255


def adapt(
    config: RANetConfig,
    variables: Any,
    frame: UInt8[np.ndarray, "height width 3"],
    label_map: UInt8[np.ndarray, "height width"],
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
) -> dict[str, Any]:
    """Fine-tunes a copy of the weights on one labelled frame.

    Every step trains on one static pair: two copies of the frame, transformed at random (spec section 7). One program
    is compiled for each configuration, learning rate and number of objects, rounded up to a power of two.

    Args:
        config: of the network.
        variables: of the network; not changed.
        frame: the first frame, RGB.
        label_map: its objects: 0 background, 255 void, any other value an object.
        steps: how many; 0 returns the weights as they are.
        learning_rate: Adam's, constant.
        seed: of the transformations; equal seeds give equal weights.

    Returns:
        The adapted variables.

    Raises:
        InputError: the mask is empty, or frame and mask differ in size.
    """
    labels = np.where(label_map == _VOID_LABEL, 0, label_map).astype(np.uint8)
    objects = len(np.unique(labels[labels > 0]))
    if not objects:
        raise InputError("the first frame's mask is empty: mark at least one object with a value other than 0")
    source = MemorySource([LabelledImage(frame, labels, "the first frame")])
    sample_config = SampleConfig(
        size=config.input_size,
        crop="box" if config.crop == "pad" else "frame",
        max_objects=1 << (objects - 1).bit_length(),
        # However small an object is, it is what is to be tracked.
        minimum_pixels=1,
    )
    function = _step_function(config, learning_rate)
    state = initial_state(variables, function.optimizer)
    for number in range(steps):
        sample = static_pair(np.random.default_rng([seed, number]), source, 0, sample_config)
        if sample is not None:
            batch = {name: value[None] for name, value in sample.items() if name != "name"}
            state = _adapt_step(state, batch, config=config, learning_rate=learning_rate)
    return {**variables, "params": state.params}


def _step_function(config: RANetConfig, learning_rate: float) -> StepFunction:
    optimizer = OptimizerConfig(learning_rate, "constant", ema_decay=0.0)
    loss = ranet_loss(config, RANetObjective(), backbone_frozen=False)
    return StepFunction(loss, build_optimizer(optimizer, 1), optimizer.ema_decay)


@functools.partial(jax.jit, static_argnames=("config", "learning_rate"), donate_argnames="state")
def _adapt_step(state: TrainState, batch: Any, *, config: RANetConfig, learning_rate: float) -> TrainState:
    return train_step(state, batch, function=_step_function(config, learning_rate))[0]
