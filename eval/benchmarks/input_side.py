"""The input side of training as the loop sees it: how fast batches are made, and how long a step waits for one."""

import pathlib
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import grain
import jax
import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.pipeline import Part, training_batches
from ranet_jax.data.sources import davis_videos
from ranet_jax.training.mixture import SAMPLES
from ranet_jax.training.options import build
from ranet_jax.training.parallel import DataParallel
from ranet_jax.training.step import TrainState

UNTIMED_STEPS = 3
"""The first compiles, and those after it find batches that were made meanwhile."""


class LoopTiming(NamedTuple):
    """What a step of the training loop takes, on average.

    Attributes:
        seconds: from step to step.
        waiting: of which the loop waits for a batch.
    """

    seconds: float
    waiting: float


def davis_batches(
    config: ml_collections.ConfigDict,
    davis: pathlib.Path,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
) -> grain.IterDataset:
    """Batches of a recipe's samples from DAVIS16-train, every frame decoded anew, as in a run's first epoch.

    Args:
        config: the recipe; of its parts the first tells the kind of sample.
        davis: a DAVIS folder, in place of the recipe's data.
        batch_size: samples of a batch of this process.
        process_index: which process this is.
        process_count: of how many.
        threads: samples made at a time.

    Raises:
        InputError: the folder is not DAVIS, or a field does not fit.
    """
    tree = DavisTree(davis, 2016)
    source, first = davis_videos(tree, tree.sequences("train")), next(iter(config.data.parts.values()))
    part = Part(source, SAMPLES[first.sample], build(SampleConfig, config.data.sample))
    found = training_batches(
        [part],
        batch_size=batch_size,
        seed=config.seed,
        process_index=process_index,
        process_count=process_count,
        threads=threads,
        prefetch=config.data.prefetch,
    )
    return found.dataset


def time_loop(step: DataParallel, state: TrainState, batches: Iterable[dict[str, Any]], steps: int) -> LoopTiming:
    """Trains as the loop does, without its reports and checkpoints.

    Args:
        step: the compiled step.
        state: placed by it.
        batches: of this process.
        steps: timed ones, after `UNTIMED_STEPS`.
    """
    iterator, running = iter(batches), None
    start = waiting = 0.0
    for number in range(UNTIMED_STEPS + steps):
        if number == UNTIMED_STEPS:
            jax.block_until_ready(running)
            start, waiting = time.perf_counter(), 0.0
        asked = time.perf_counter()
        batch = next(iterator)
        waiting += time.perf_counter() - asked
        placed = step.place_batch({name: array for name, array in batch.items() if name != "name"})
        state, metrics = step(state, placed)
        # One step ahead, as in training: its batch is made while this one runs.
        jax.block_until_ready(running)
        running = metrics
    jax.block_until_ready(running)
    return LoopTiming((time.perf_counter() - start) / steps, waiting / steps)
