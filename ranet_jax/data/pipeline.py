"""From sources to batches: shuffled, mixed, sharded by process, made by threads, resumed exactly (grain).

One stream of samples is defined by the seed alone: sample i is made with a random generator of its own,
seeded by i. Process p of n takes the samples p, p + n, p + 2n, ..., so the same samples are made on any
number of processes, and an iterator that is restored continues with what would have come next. An epoch of a
source visits every image (every annotated frame of its videos) once, in a new order.
Results are equal to the last bit where the versions of NumPy and OpenCV are.

OpenCV's own threads would compete with the pipeline's: `training_batches` turns them off for the process.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import grain
import numpy as np

from ranet_jax.data.config import SampleConfig
from ranet_jax.data.samples import Sample
from ranet_jax.data.sources import Source, UnreadableError
from ranet_jax.errors import InputError

SampleFunction = Callable[[np.random.Generator, Source, int, SampleConfig], Sample | None]


@dataclasses.dataclass(frozen=True)
class Part:
    """One kind of sample in a mixture.

    Attributes:
        source: Where the samples come from.
        sample: `samples.static_pair`, `samples.video_pair` or `samples.clip`.
        config: How they are made; parts that are mixed must yield equal shapes.
        weight: Share of the samples, relative to the other parts' weights.
    """

    source: Source
    sample: SampleFunction
    config: SampleConfig
    weight: float = 1.0


_EPOCHS_ALONE, _EPOCHS_SHARED, _FEWEST_TRIES = 2, 20, 200
"""How many epochs without one sample are no accident. As every epoch has a new order, the only good image of a source
may come first in one and last in the next, but two whole epochs hold it for sure. One of n processes meets it in an
epoch with probability 1/n only: after 20 n epochs of its own share, as good as ever (but for e^-20). An image of which
a sample is made by luck only, as its object is tiny, gets a number of tries however small the source is."""


class SkipCounter:
    """What the pipeline has left out; counts may rise from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, int] = {}
        self._empty = 0

    @property
    def unreadable(self) -> int:
        """Samples left out because a file could not be read."""
        return sum(self._messages.values())

    @property
    def empty(self) -> int:
        """Samples left out because no object was in sight."""
        return self._empty

    @property
    def messages(self) -> dict[str, int]:
        """What could not be read, and how many samples were left out for it."""
        with self._lock:
            return dict(self._messages)

    def count_unreadable(self, message: str) -> None:
        """Notes a sample whose files could not be read."""
        with self._lock:
            self._messages[message] = self._messages.get(message, 0) + 1

    def count_empty(self) -> None:
        """Notes a sample without an object."""
        with self._lock:
            self._empty += 1


@dataclasses.dataclass(frozen=True)
class Batches:
    """An endless stream of batches.

    Attributes:
        dataset: Iterating it gives dictionaries of stacked arrays (`name`: an array of str). Its iterators
            have `get_state` and `set_state`, and `grain.checkpoint` saves them.
        skipped: What was left out so far.
        epoch_samples: Samples, of all processes together, until every image has been visited once.
    """

    dataset: grain.IterDataset
    skipped: SkipCounter
    epoch_samples: int


def training_batches(
    parts: Sequence[Part],
    *,
    batch_size: int,
    seed: int,
    process_index: int,
    process_count: int,
    threads: int = 2,
    prefetch: int = 16,
    on_error: str = "raise",
) -> Batches:
    """Batches of a mixture of sources, without end.

    Args:
        parts: What to mix.
        batch_size: Samples in a batch of this process.
        seed: Of the order and of every sample.
        process_index: Which process this is, from 0.
        process_count: How many there are.
        threads: Samples made at a time.
        prefetch: Samples made ahead, at most.
        on_error: "raise" stops at a missing or damaged file, "skip" counts it and leaves its sample out.

    Raises:
        InputError: A part is empty, or an argument is out of range.
        UnreadableError: While iterating, if a file is missing or damaged and `on_error` is "raise".

    While iterating, an `InputError` also names a part's source of which no sample has been made for epochs.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error {on_error!r} is unknown: choose 'raise' or 'skip'")
    if not 0 <= process_index < process_count:
        raise InputError(f"process {process_index} of {process_count}: count from 0")
    if not parts or any(not len(part.source) or part.weight <= 0 for part in parts):
        raise InputError("every part of a mixture needs at least one image and a weight above 0")
    cv2.setNumThreads(1)
    skipped = SkipCounter()
    epochs = _EPOCHS_ALONE if process_count == 1 else _EPOCHS_SHARED
    streams = [
        _stream(part, [seed, number], skipped, on_error, _Drought(part.source, epochs, max(prefetch, threads)))
        for number, part in enumerate(parts)
    ]
    stream = grain.MapDataset.mix(streams, weights=[part.weight for part in parts])
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads))
    # Sliced last: each sample's seed is its place in the whole stream, whichever process makes it.
    dataset = stream[process_index::process_count].to_iter_dataset(options)
    total = sum(part.weight for part in parts)
    epoch = max(round(len(part.source) * total / part.weight) for part in parts)
    return Batches(dataset.batch(batch_size, drop_remainder=True), skipped, epoch)


def measure_pipeline(dataset: Iterable[dict[str, Any]], seconds: float) -> float:
    """Samples a second of a dataset of batches, over about `seconds`, after two batches that do not count."""
    iterator = iter(dataset)
    for _ in range(2):
        next(iterator)
    samples, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        samples += len(next(iterator)["valid"])
    return samples / (time.perf_counter() - start)


class _Drought:
    """Notices that a source yields no sample at all, for which the stream would be read for ever."""

    def __init__(self, source: Source, epochs: int, ahead: int):
        self._source = source
        # Up to `ahead` samples are made at a time, so that a good one may be counted after bad ones that follow it.
        self._patience = max(_FEWEST_TRIES, epochs * len(source)) + ahead
        self._lock = threading.Lock()
        self._tries = 0

    def end(self) -> None:
        """Notes a sample."""
        with self._lock:
            self._tries = 0

    def go_on(self, reason: str) -> None:
        """Notes that a sample was left out.

        Raises:
            InputError: none has been made for too long.
        """
        with self._lock:
            self._tries += 1
            if self._tries < self._patience:
                return
        first, last = self._source.name(0), self._source.name(len(self._source) - 1)
        images = f"{len(self._source)} images ({first} to {last})"
        raise InputError(f"no training sample can be made of {images}: {reason}; mend the data or leave it out")


def _stream(
    part: Part, seed: Sequence[int], skipped: SkipCounter, on_error: str, drought: _Drought
) -> grain.MapDataset:
    """All samples of one part, epoch after epoch; None where a sample is left out."""

    def make(index: int, rng: np.random.Generator) -> Sample | None:
        try:
            sample = part.sample(rng, part.source, int(index), part.config)
        except UnreadableError as error:
            if on_error == "raise":
                raise
            skipped.count_unreadable(str(error))
            drought.go_on(f"the last tried has an unreadable file ({error})")
            return None
        if sample is None:
            skipped.count_empty()
            height, width = part.config.size
            drought.go_on(f"the last tried shows no object in its mask, or none that is left at {height}x{width}")
        else:
            drought.end()
        return sample

    # One seed for the order and one for the samples, of every part.
    numbers = np.random.SeedSequence(seed).generate_state(1)
    stream = grain.MapDataset.range(len(part.source)).seed(int(numbers[0]))
    return stream.shuffle().repeat().random_map(make)
