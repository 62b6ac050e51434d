"""Memory and speed of a recipe's training step on this machine; `python -m eval.benchmark --train` prints them."""

import dataclasses
import functools
import statistics
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from ranet_jax.evaluation.speed import Yardstick, peak_memory, reset_peak_memory, seconds_of
from ranet_jax.networks import MRNetConfig, NetworkConfig
from ranet_jax.nn import compute_dtype
from ranet_jax.training.mrnet import MRNetObjective, temporary_bytes
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
from ranet_jax.training.step import StepFunction, TrainState, initial_state, train_step
from ranet_jax.weights import expected_variables, initial_variables
from train import mrnet, ranet
from train.options import build


@dataclasses.dataclass(frozen=True)
class RecipeStep:
    """What a recipe makes of a training step.

    Attributes:
        model: the network's configuration.
        function: its loss and optimizer.
        objects: slots of a sample.
        clip_length: frames of a clip; 0 where samples are pairs.
    """

    model: NetworkConfig
    function: StepFunction
    objects: int
    clip_length: int

    @property
    def dtype(self) -> str:
        """Name of the dtype it computes in."""
        return np.dtype(compute_dtype(self.model.dtype)).name

    def initial_state(self) -> TrainState:
        """A state with random weights."""
        return initial_state(initial_variables(self.model), self.function.optimizer)

    def expected_state(self) -> Any:
        """Shapes and dtypes of such a state; nothing is computed."""
        expected = expected_variables(self.model)
        return jax.eval_shape(lambda variables: initial_state(variables, self.function.optimizer), expected)

    def noise(self, batch_size: int) -> dict[str, Any]:
        """A batch of noise."""
        if self.clip_length:
            return noise_clips(batch_size, self.clip_length, self.objects, self.model.input_size)
        return noise(batch_size, self.objects, self.model.input_size)

    def compile(self, batch_size: int) -> Any:
        """The whole step on one device, compiled for batches of a size; it takes over the state it is given."""
        step = functools.partial(train_step, function=self.function)
        shape_of = lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), x.dtype)
        batch = jax.tree.map(shape_of, self.noise(1))
        return jax.jit(step, donate_argnums=0).lower(self.expected_state(), batch).compile()


def open_step(config: ml_collections.ConfigDict, *, remat: bool | None = None) -> RecipeStep:
    """Reads the training step out of a recipe.

    Args:
        config: of `train.ranet` or `train.mrnet`.
        remat: in place of the objective's field.

    Raises:
        InputError: a field does not fit.
    """
    # A curriculum is what only MRNet's recipes have.
    program = mrnet.PROGRAM if "curriculum" in config else ranet.PROGRAM
    model, optimizer = program.model.from_dict(config.model.to_dict()), build(OptimizerConfig, config.optimizer)
    objective = build(program.objective, config.objective)
    if remat is not None:
        objective = dataclasses.replace(objective, remat=remat)
    loss = program.loss(model, objective, frozen=optimizer.frozen)
    function = StepFunction(loss, build_optimizer(optimizer, config.loop.steps), optimizer.ema_decay)
    sample = config.data.sample
    clip_length = sample.clip_length if program is mrnet.PROGRAM else 0
    return RecipeStep(model, function, sample.max_objects, clip_length)


def compiled_bytes(program: Any) -> int:
    """Memory of a compiled program: arguments, temporary and outputs, buffers used twice counted once."""
    memory = program.memory_analysis()
    compiled = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return int(compiled - memory.alias_size_in_bytes)


class StepReport(NamedTuple):
    """What a training step on one device takes.

    Attributes:
        size: height and width of the input.
        dtype: name of the dtype it computes in.
        seconds: median.
        operations: floating-point operations, from XLA's cost analysis of the step as it is written.
        yardstick: rate of a matrix product in turn with the steps, median, operations a second.
        compiled_bytes: memory of the compiled step: arguments, temporary and outputs, buffers used twice counted once.
        peak_bytes: resident (CPU) or allocated (accelerator) at most while it ran; None where the system does not tell.
    """

    size: tuple[int, int]
    dtype: str
    seconds: float
    operations: float
    yardstick: float
    compiled_bytes: int
    peak_bytes: int | None


def measure_training_step(config: ml_collections.ConfigDict, batch_size: int, repeats: int) -> StepReport:
    """Compiles and times the training step of a recipe, with random weights on samples of noise.

    Args:
        config: of `train.ranet`: of clips, XLA's cost analysis would count one frame.
        batch_size: samples of a step, in place of the recipe's.
        repeats: timed steps, after one that is not.
    """
    opened = open_step(config)
    state, batch = opened.initial_state(), jax.device_put(opened.noise(batch_size))
    step = functools.partial(train_step, function=opened.function)
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
    program = lowered.compile()
    reset_peak_memory()
    state, _ = jax.block_until_ready(program(state, batch))
    measure_rate, seconds, rates = Yardstick(), [], []

    def advance() -> Any:
        nonlocal state
        state, metrics = program(state, batch)
        return state, metrics

    for _ in range(repeats):
        rates.append(measure_rate())
        seconds.append(seconds_of(advance))
    return StepReport(
        size=opened.model.input_size,
        dtype=opened.dtype,
        seconds=statistics.median(seconds),
        operations=(lowered.cost_analysis() or {})["flops"],
        yardstick=statistics.median(rates),
        compiled_bytes=compiled_bytes(program),
        peak_bytes=peak_memory(),
    )


class ClipMemory(NamedTuple):
    """Temporary memory of the compiled gradient of a batch of clips; inputs and outputs are not in it.

    Attributes:
        size: height and width of the input.
        dtype: name of the dtype it computes in.
        clip_length: frames of a clip.
        recomputed_bytes: with activations computed again in the backward pass.
        kept_bytes: with those of all frames kept.
    """

    size: tuple[int, int]
    dtype: str
    clip_length: int
    recomputed_bytes: int
    kept_bytes: int


def measure_clip_memory(config: ml_collections.ConfigDict, batch_size: int) -> ClipMemory:
    """Compiles the gradient of a recipe of MRNet with and without recomputation; nothing is run.

    Args:
        config: of `train.mrnet`; its longest clips are measured.
        batch_size: clips of a step, in place of the recipe's.
    """
    model, objective = MRNetConfig.from_dict(config.model.to_dict()), build(MRNetObjective, config.objective)
    sample, optimizer = config.data.sample, build(OptimizerConfig, config.optimizer)
    recomputed, kept = (
        temporary_bytes(
            model,
            dataclasses.replace(objective, remat=remat),
            batch_size=batch_size,
            clip_length=sample.clip_length,
            objects=sample.max_objects,
            frozen=optimizer.frozen,
        )
        for remat in (True, False)
    )
    dtype = np.dtype(compute_dtype(model.dtype)).name
    return ClipMemory(model.input_size, dtype, sample.clip_length, recomputed, kept)


def noise(batch_size: int, objects: int, size: tuple[int, int]) -> dict[str, Any]:
    """A batch of training pairs of noise, each object a rectangle; see `ranet_jax.training.ranet.ranet_loss`."""
    rng = np.random.default_rng(0)
    (height, width), shape = size, (batch_size, *size)
    labels = np.zeros(shape, np.uint8)
    for i in range(objects):
        labels[:, height // 4 : 3 * height // 4, i * width // objects : (2 * i + 1) * width // (2 * objects)] = i + 1
    images = {name: rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for name in ("template_image", "image")}
    masks = dict.fromkeys(("template_labels", "labels", "previous_labels"), labels)
    return images | masks | {"valid": np.ones((batch_size, objects), bool)}


def noise_clips(batch_size: int, clip_length: int, objects: int, size: tuple[int, int]) -> dict[str, Any]:
    """A batch of training clips of noise, the objects where `noise` has them; see `ranet_jax.training.mrnet`."""
    pairs = noise(batch_size, objects, size)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, clip_length, *size, 3), dtype=np.uint8)
    labels = np.repeat(pairs["labels"][:, None], clip_length, axis=1)
    return {"images": images, "labels": labels, "valid": pairs["valid"]}
