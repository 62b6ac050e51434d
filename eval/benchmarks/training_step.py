"""A recipe's training step on noise, on this machine: its state, a batch, its compiled program and memory."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np

from eval.benchmarks.operations import matrix_operations
from ranet_jax.nn import compute_dtype
from ranet_jax.training.recipe import RecipeStep, open_step
from ranet_jax.training.step import TrainState, initial_state, train_step
from ranet_jax.weights import expected_variables, initial_variables


def dtype_of(step: RecipeStep) -> str:
    """Name of the dtype it computes in."""
    return np.dtype(compute_dtype(step.model.dtype)).name


def random_state(step: RecipeStep) -> TrainState:
    """A state with random weights."""
    return initial_state(initial_variables(step.model), step.function.optimizer)


def expected_state(step: RecipeStep) -> Any:
    """Shapes and dtypes of such a state; nothing is computed."""
    return jax.eval_shape(
        lambda variables: initial_state(variables, step.function.optimizer), expected_variables(step.model)
    )


def noise(step: RecipeStep, batch_size: int) -> dict[str, Any]:
    """A batch of noise."""
    return noise_clips(batch_size, step.frames, step.objects, step.model.input_size)


def compile_step(step: RecipeStep, batch_size: int) -> Any:
    """The whole step on one device, compiled for batches of a size; it takes over the state it is given."""
    program = functools.partial(train_step, function=step.function)
    shape_of = lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), x.dtype)
    batch = jax.tree.map(shape_of, noise(step, 1))
    return jax.jit(program, donate_argnums=0).lower(expected_state(step), batch).compile()


def total_loss(step: RecipeStep) -> Callable[..., jax.Array]:
    """`(params, batch_stats, batch)` to the loss summed over the batch."""
    return lambda params, statistics, batch: step.function.loss(params, statistics, batch)[0].total


def model_operations(config: ml_collections.ConfigDict, batch_size: int) -> float:
    """Floating-point operations of a recipe's loss and gradient, loops multiplied out, recomputation not counted."""
    plain = open_step(config, remat=False)
    state, gradient = expected_state(plain), jax.value_and_grad(total_loss(plain))
    return matrix_operations(gradient, state.params, state.batch_stats, noise(plain, batch_size))


def compiled_bytes(program: Any) -> int:
    """Memory of a compiled program: arguments, temporary and outputs, buffers used twice counted once."""
    memory = program.memory_analysis()
    compiled = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return int(compiled - memory.alias_size_in_bytes)


def noise_clips(batch_size: int, frames: int, objects: int, size: tuple[int, int]) -> dict[str, Any]:
    """A batch of clips of noise, each object a rectangle; see `ranet_jax.training.rollout.Clip`."""
    (height, width), shape = size, (batch_size, frames, *size)
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    labels = np.zeros(shape, np.uint8)
    for i in range(objects):
        columns = slice(i * width // objects, (2 * i + 1) * width // (2 * objects))
        labels[:, :, height // 4 : 3 * height // 4, columns] = i + 1
    return {"images": images, "labels": labels, "valid": np.ones((batch_size, objects), bool)}
