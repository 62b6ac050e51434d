"""Memory and speed of a recipe's training step on this machine; `python -m eval.benchmark --train` prints them."""

import dataclasses
import functools
import statistics
import time
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from ranet_jax.evaluation.speed import Yardstick, peak_memory, reset_peak_memory
from ranet_jax.layers import compute_dtype
from ranet_jax.models import MRNetConfig, RANetConfig
from ranet_jax.training.mrnet import MRNetObjective, temporary_bytes
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
from ranet_jax.training.ranet import RANetObjective, ranet_loss
from ranet_jax.training.step import StepFunction, initial_state, train_step
from ranet_jax.weights import initial_variables
from train.options import build


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
        config: of `train.ranet`.
        batch_size: samples of a step, in place of the recipe's.
        repeats: timed steps, after one that is not.
    """
    model, optimizer_config = RANetConfig.from_dict(config.model.to_dict()), build(OptimizerConfig, config.optimizer)
    optimizer = build_optimizer(optimizer_config, config.loop.steps)
    loss = ranet_loss(model, build(RANetObjective, config.objective), backbone_frozen=optimizer_config.backbone_frozen)
    function = StepFunction(loss, optimizer, optimizer_config.ema_decay)
    state = initial_state(initial_variables(model), optimizer)
    batch = jax.device_put(noise(batch_size, config.data.sample.max_objects, model.input_size))
    lowered = jax.jit(functools.partial(train_step, function=function), donate_argnums=0).lower(state, batch)
    program = lowered.compile()
    reset_peak_memory()
    state, _ = jax.block_until_ready(program(state, batch))
    measure_rate, seconds, rates = Yardstick(), [], []
    for _ in range(repeats):
        rates.append(measure_rate())
        start = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, batch))
        seconds.append(time.perf_counter() - start)
    memory: Any = program.memory_analysis()
    compiled = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return StepReport(
        size=model.input_size,
        dtype=np.dtype(compute_dtype(model.dtype)).name,
        seconds=statistics.median(seconds),
        operations=(lowered.cost_analysis() or {})["flops"],
        yardstick=statistics.median(rates),
        compiled_bytes=compiled - memory.alias_size_in_bytes,
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
            backbone_frozen=optimizer.backbone_frozen,
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
