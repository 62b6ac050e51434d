"""Which batch fits the device's memory (`--batch-sizes`)."""

import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections

from eval.benchmarks.training_step import compile_step, compiled_bytes
from ranet_jax.errors import InputError
from ranet_jax.training.recipe import open_step

MOST_SAMPLES = 4096
"""No larger batch is tried: where memory hardly grows with the batch, something else decides."""


class BatchFit(NamedTuple):
    """Memory of a training step by batch size.

    Attributes:
        sizes: bytes of the compiled step by samples, those that were compiled.
        largest: the largest batch within the budget; 0 if not even one sample is.
        budget: bytes.
    """

    sizes: dict[int, int]
    largest: int
    budget: int


def device_memory() -> int:
    """Bytes that a program may take: an accelerator's limit, on a CPU what the system has available.

    Raises:
        InputError: the system does not tell.
    """
    device, meminfo = jax.devices()[0], pathlib.Path("/proc/meminfo")
    limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    if limit is None and meminfo.exists() and device.platform == "cpu":
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        limit = int(found[1]) * 1024 if found else None
    if limit is None:
        raise InputError("the device does not tell its memory: give --memory in GiB")
    return limit


def fit_batch_size(bytes_of: Callable[[int], int], budget: int) -> BatchFit:
    """Finds the largest batch within a budget, in few trials, as memory is nearly a straight line in the batch.

    Args:
        bytes_of: memory of a batch of so many samples; grows with them.
        budget: bytes.

    Returns:
        What was found; `largest` itself was tried, and the line through the two trials next to it, or a trial, says
        that one more sample is too much.

    Example:
        >>> fit_batch_size(lambda samples: 100 + 10 * samples, 175)
        BatchFit(sizes={1: 110, 2: 120, 7: 170}, largest=7, budget=175)
    """
    sizes = {size: bytes_of(size) for size in (1, 2)}
    while True:
        fitting = [size for size in sorted(sizes) if sizes[size] <= budget]
        largest = fitting[-1] if fitting else 0
        above = min((size for size in sizes if size > largest), default=MOST_SAMPLES + 1)
        if above == largest + 1:
            return BatchFit(sizes, largest, budget)
        first, last = (largest, above) if above in sizes else sorted(sizes)[-2:]
        slope = (sizes[last] - sizes[first]) / (last - first)
        reach = first + int((budget - sizes[first]) / slope) if slope > 0 else MOST_SAMPLES
        trial = min(reach, above - 1)
        if trial <= largest:
            return BatchFit(sizes, largest, budget)
        sizes[trial] = bytes_of(trial)


def measure_batch_sizes(config: ml_collections.ConfigDict, budget: int) -> BatchFit:
    """Compiles a recipe's training step for several batch sizes; nothing is run.

    Args:
        config: a recipe's.
        budget: bytes that the step may take.
    """
    opened = open_step(config)
    return fit_batch_size(lambda size: compiled_bytes(compile_step(opened, size)), budget)
