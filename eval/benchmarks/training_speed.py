"""Time and memory of a recipe's training step, for one object and several (`--train`)."""

import statistics
from typing import NamedTuple

import jax
import ml_collections

from eval.benchmarks.training_step import compile_step, compiled_bytes, model_operations, noise, random_state
from ranet_jax.evaluation.speed import Yardstick, peak_memory, reset_peak_memory, seconds_of
from ranet_jax.training.recipe import open_step


class StepReport(NamedTuple):
    """What a training step on one device takes.

    Attributes:
        seconds: median.
        operations: floating-point operations of loss and gradient.
        yardstick: rate of a matrix product in turn with the steps, median, operations a second.
        compiled_bytes: memory of the compiled step: arguments, temporary and outputs, buffers used twice counted once.
        peak_bytes: resident (CPU) or allocated (accelerator) at most while it ran; None where the system does not tell.
    """

    seconds: float
    operations: float
    yardstick: float
    compiled_bytes: int
    peak_bytes: int | None


def measure_training_step(config: ml_collections.ConfigDict, batch_size: int, objects: int, repeats: int) -> StepReport:
    """Compiles and times the training step of a recipe, with random weights on samples of noise.

    Args:
        config: the recipe's.
        batch_size: samples of a step, in place of the recipe's.
        objects: of a sample, in place of the recipe's.
        repeats: timed steps, after one that is not.

    Raises:
        InputError: a field does not fit.
    """
    config = ml_collections.ConfigDict(config)
    config.data.sample.max_objects = objects
    step = open_step(config)
    state, batch = random_state(step), jax.device_put(noise(step, batch_size))
    program = compile_step(step, batch_size)
    reset_peak_memory()
    state, _ = jax.block_until_ready(program(state, batch))
    measure_rate, seconds, rates = Yardstick(), [], []

    def advance() -> object:
        nonlocal state
        state, metrics = program(state, batch)
        return state, metrics

    for _ in range(repeats):
        rates.append(measure_rate())
        seconds.append(seconds_of(advance))
    return StepReport(
        seconds=statistics.median(seconds),
        operations=model_operations(config, batch_size),
        yardstick=statistics.median(rates),
        compiled_bytes=compiled_bytes(program),
        peak_bytes=peak_memory(),
    )
