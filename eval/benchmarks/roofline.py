"""What bounds a tracker's step: the machine's matrix products, or its memory; and what an accelerator makes of it."""

import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ranet_jax.evaluation.speed import Yardstick, seconds_of
from ranet_jax.evaluation.tracking_speed import FRAME_SIZE, labelled_noise, step_cost
from ranet_jax.runtime.batched import BatchedTracker
from ranet_jax.weights import Checkpoint

PASSED_FLOATS = 2**26
"""So many float32 are read and written: 512 MiB, more than any cache holds."""


class Bound(NamedTuple):
    """A step of some videos in lockstep against what bounds it.

    Attributes:
        seconds: median of a step.
        operations: floating-point operations of a step, as XLA counts them.
        traffic: bytes that a step reads and writes, as XLA counts them: what every fused operation takes and gives,
            whether it comes from memory or a cache.
        product_rate: operations a second of a matrix product, median, in turn with the steps.
        memory_rate: bytes a second of an array that is read and written in place, likewise.
    """

    seconds: float
    operations: float
    traffic: float
    product_rate: float
    memory_rate: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / self.traffic

    @property
    def roof(self) -> float:
        """The operations a second that products or memory allow, whichever are fewer."""
        return min(self.product_rate, self.intensity * self.memory_rate)


class MemoryYardstick:
    """The rate at which this machine's memory is read and written, measured again with every call."""

    def __init__(self) -> None:
        self._values = jnp.zeros(PASSED_FLOATS, jnp.float32)
        # Written over what it reads: newly allocated pages would be timed, not memory.
        self._increase = jax.jit(lambda x: x + 1.0, donate_argnums=0)
        self._run()

    def __call__(self) -> float:
        """Bytes a second, now."""
        return 2 * self._values.nbytes / seconds_of(self._run)

    def _run(self) -> jax.Array:
        self._values = jax.block_until_ready(self._increase(self._values))
        return self._values


def bound_step(checkpoint: Checkpoint, *, videos: int = 1, repeats: int = 7) -> Bound:
    """Times steps of videos of noise, one object each, beside both yardsticks, after a first compiling step.

    Args:
        checkpoint: the network.
        videos: how many go in lockstep.
        repeats: timed steps.
    """
    pictures, labels = labelled_noise(1)
    tracker, variables = BatchedTracker(checkpoint.tracker_for(FRAME_SIZE)), jax.device_put(checkpoint.variables)
    frames = jax.device_put(np.stack([pictures[i % 2] for i in range(videos)]))
    state = tracker.init(variables, np.asarray(frames), np.stack([labels] * videos))
    cost = step_cost(tracker, variables, state, frames)
    state, *_ = jax.block_until_ready(tracker.step(variables, state, frames))
    yardsticks = Yardstick(), MemoryYardstick()
    seconds, rates = [], []
    for _ in range(repeats):
        rates.append([measure() for measure in yardsticks])
        start = time.perf_counter()
        state, *_ = jax.block_until_ready(tracker.step(variables, state, frames))
        seconds.append(time.perf_counter() - start)
    product_rate, memory_rate = np.median(rates, axis=0)
    return Bound(statistics.median(seconds), cost["flops"], cost["bytes accessed"], product_rate, memory_rate)


def print_roofline(checkpoint: Checkpoint, repeats: int) -> None:
    """Prints where a network's step lies under the roof."""
    bound = bound_step(checkpoint, repeats=repeats)
    rate = bound.operations / bound.seconds
    print(f"{checkpoint.name}: one video, one object, {jax.devices()[0].device_kind}, median of {repeats} steps")
    print("GFLOP   GB  FLOP/byte  matrix product GFLOP/s  memory GB/s  roof GFLOP/s  step GFLOP/s  of the roof")
    print(
        f"{bound.operations / 1e9:5.1f}  {bound.traffic / 1e9:3.1f}  {bound.intensity:9.1f}"
        f"  {bound.product_rate / 1e9:22.1f}  {bound.memory_rate / 1e9:11.1f}  {bound.roof / 1e9:12.1f}"
        f"  {rate / 1e9:12.1f}  {rate / bound.roof:11.0%}"
    )


def print_lockstep(checkpoint: Checkpoint, videos: tuple[int, ...], repeats: int) -> None:
    """Prints what an accelerator makes of one video and of several in lockstep, in bfloat16; a line where none is."""
    name, config = checkpoint.name, checkpoint.config
    if jax.default_backend() == "cpu":
        print(f"{name} in bfloat16, videos in lockstep: skipped, as this machine has no accelerator")
        return
    checkpoint = checkpoint._replace(config=type(config).from_dict({**config.to_dict(), "dtype": "bfloat16"}))
    print(f"{name} in bfloat16: one object, {jax.devices()[0].device_kind}, median of {repeats} steps")
    print("videos  ms/step  frames/s  share of the matrix product")
    for count in videos:
        bound = bound_step(checkpoint, videos=count, repeats=repeats)
        share = bound.operations / bound.seconds / bound.product_rate
        print(f"{count:6d}  {1e3 * bound.seconds:7.1f}  {count / bound.seconds:8.1f}  {share:27.0%}")
