"""What fits the device's memory, and what recomputation saves (`--batch-sizes` and `--recomputation`)."""

import dataclasses
import functools
import pathlib
import re
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections

from eval.training_step import RecipeStep, compiled_bytes, open_step
from ranet_jax.errors import InputError
from ranet_jax.evaluation.speed import seconds_of

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
        config: of `train.ranet` or `train.mrnet`.
        budget: bytes that the step may take.
    """
    opened = open_step(config)
    return fit_batch_size(lambda size: compiled_bytes(opened.compile(size)), budget)


class Recomputation(NamedTuple):
    """A training step under one rule of what the backward pass finds kept and what it computes again.

    Attributes:
        seconds: median.
        compiled_bytes: memory of the compiled step.
    """

    seconds: float
    compiled_bytes: int


def measure_recomputation(config: ml_collections.ConfigDict, batch_size: int, repeats: int) -> dict[str, Recomputation]:
    """Times a recipe's training step under several rules, in turn.

    Args:
        config: of `train.ranet` or `train.mrnet`.
        batch_size: samples of a step, in place of the recipe's.
        repeats: timed steps of each.

    Returns:
        By rule: "kept" (`objective.remat=false`), "recomputed" (`objective.remat=true`), and "products", under which
        the results of products and convolutions are kept, what lies between them computed again.
    """
    opened = {"kept": open_step(config, remat=False), "recomputed": open_step(config, remat=True)}
    opened["products"] = _keeping_products(opened["kept"])
    batch = jax.device_put(opened["kept"].noise(batch_size))
    programs = {name: step.compile(batch_size) for name, step in opened.items()}
    state = opened["kept"].initial_state()
    found: dict[str, list[float]] = {name: [] for name in programs}

    def advance(program: Any) -> Any:
        nonlocal state
        state, metrics = program(state, batch)
        return state, metrics

    for repeat in range(repeats + 1):
        for name, program in programs.items():
            seconds = seconds_of(functools.partial(advance, program))
            # The first round is slower.
            found[name] += [seconds] if repeat else []
    return {name: Recomputation(statistics.median(found[name]), compiled_bytes(programs[name])) for name in programs}


def _keeping_products(step: RecipeStep) -> RecipeStep:
    loss: Any = jax.checkpoint(step.function.loss, policy=jax.checkpoint_policies.checkpoint_dots)
    return dataclasses.replace(step, function=step.function._replace(loss=loss))
