"""Where the time of a training step goes; `python -m eval.benchmarks --split DAVIS` prints it."""

import functools
import pathlib
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from eval.benchmarks.input_side import LoopTiming, davis_batches, time_loop
from eval.benchmarks.training_step import dtype_of, model_operations, noise, random_state, total_loss
from ranet_jax.data.pipeline import measure_pipeline
from ranet_jax.evaluation.speed import Yardstick, seconds_of
from ranet_jax.training.parallel import AXIS, DataParallel, data_parallel
from ranet_jax.training.recipe import RecipeStep, open_step
from ranet_jax.training.step import apply_gradient, train_step


class StepSplit(NamedTuple):
    """Seconds of a training step and of its parts, medians but for `loop`.

    Each part is a program of its own, and all are timed in turn with the whole.

    Attributes:
        size: height and width of the input.
        frames: of a sample.
        dtype: name of the dtype it computes in.
        batch_size: samples of one device.
        devices: of this process.
        input: making one batch of all devices, with nothing else running.
        forward: the loss, on one device.
        backward: its gradient, less `forward`, on one device.
        optimizer: update of the weights and their average, on one device.
        all_reduce: summing the gradient over the devices; 0 on one.
        whole: the training step on a batch that is on its devices.
        loop: the step fed by the input side, which works at the same time.
        operations: floating-point operations of a device's loss and gradient, recomputation not counted.
        yardstick: rate of a matrix product, operations a second.
    """

    size: tuple[int, int]
    frames: int
    dtype: str
    batch_size: int
    devices: int
    input: float
    forward: float
    backward: float
    optimizer: float
    all_reduce: float
    whole: float
    loop: LoopTiming
    operations: float
    yardstick: float

    @property
    def parts(self) -> float:
        """Seconds of all that the whole step consists of."""
        return self.forward + self.backward + self.optimizer + self.all_reduce

    @property
    def utilisation(self) -> float:
        """MFU: a device's operations in a whole step as a share of what the yardstick would do meanwhile."""
        return self.operations / self.whole / self.yardstick


def measure_split(
    config: ml_collections.ConfigDict, davis: pathlib.Path, batch_size: int, repeats: int, seconds: float
) -> StepSplit:
    """Times a recipe's training step and its parts, with random weights.

    Args:
        config: a recipe's.
        davis: a DAVIS folder, for the input side; the device's parts get noise.
        batch_size: samples of a step on each device, in place of the recipe's.
        repeats: timed rounds, and steps of the loop.
        seconds: how long the input side is timed.

    Raises:
        InputError: the folder is not DAVIS, or a field does not fit.
    """
    opened, devices = open_step(config), jax.local_device_count()
    batches = davis_batches(config, davis, batch_size=batch_size * devices)
    rate = measure_pipeline(batches, seconds)
    step = data_parallel(functools.partial(train_step, function=opened.function), config.backend)
    found = _time_in_turn(_parts(opened, batch_size) | {"whole": _whole(step, opened, batch_size)}, repeats)
    median = lambda name: statistics.median(found[name])
    return StepSplit(
        size=opened.model.input_size,
        frames=opened.frames,
        dtype=dtype_of(opened),
        batch_size=batch_size,
        devices=devices,
        input=batch_size * devices / rate,
        forward=median("forward"),
        # Of the same round, so that both saw the same machine.
        backward=float(np.median(np.subtract(found["gradient"], found["forward"]))),
        optimizer=median("optimizer"),
        all_reduce=median("all_reduce") if devices > 1 else 0.0,
        whole=median("whole"),
        loop=time_loop(step, step.place_state(random_state(opened)), batches, repeats),
        operations=model_operations(config, batch_size),
        yardstick=median("yardstick"),
    )


def _time_in_turn(programs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every program in every round, and under "yardstick" its rate; the first round compiles."""
    measure_rate = Yardstick()
    found: dict[str, list[float]] = {name: [] for name in (*programs, "yardstick")}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(repeats):
        found["yardstick"].append(measure_rate())
        for name, program in programs.items():
            found[name].append(seconds_of(program))
    return found


def _parts(opened: RecipeStep, batch_size: int) -> dict[str, Callable[[], Any]]:
    """Programs of the step's parts, on the first device."""
    state, batch = random_state(opened), jax.device_put(noise(opened, batch_size))
    forward, gradient = jax.jit(total_loss(opened)), jax.jit(jax.value_and_grad(total_loss(opened)))
    update = jax.jit(functools.partial(apply_gradient, function=opened.function), donate_argnums=0)
    moving = random_state(opened)

    def advance() -> Any:
        nonlocal moving
        moving = update(moving, state.params)
        return moving

    return {
        "forward": lambda: forward(state.params, state.batch_stats, batch),
        "gradient": lambda: gradient(state.params, state.batch_stats, batch),
        # The weights serve as their gradient: they are of its shapes.
        "optimizer": advance,
    } | _all_reduce(state.params)


def _all_reduce(gradient: Any) -> dict[str, Callable[[], Any]]:
    """The program of the sum over the devices; none on one device."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return {}
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))
    # One gradient a device: XLA need not send what it knows to be equal everywhere.
    apart = jax.tree.map(lambda x: jax.device_put(np.stack([x] * len(devices)), sharding), gradient)
    add = jax.pmap(lambda tree: jax.lax.psum(tree, AXIS), AXIS, out_axes=None)
    return {"all_reduce": lambda: add(apart)}


def _whole(step: DataParallel, opened: RecipeStep, batch_size: int) -> Callable[[], Any]:
    """The training step over all devices of this process, as training runs it."""
    state = step.place_state(random_state(opened))
    batch = step.place_batch(noise(opened, batch_size * jax.local_device_count()))

    def advance() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return state, metrics

    return advance
