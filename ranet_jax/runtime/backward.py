"""Frames before the first mask: kept on disk until it comes, then tracked back from it."""

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import explain
from ranet_jax.io.frames import Frame
from ranet_jax.io.masks import encode_label_map, read_label_map
from ranet_jax.runtime.stream import Tracker, stream


class _Shelf:
    """Frames, and label maps beside them, in a folder: memory stays flat however many there are."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._kept: list[tuple[str, tuple[int, ...], float | None]] = []

    def add(self, frame: Frame) -> None:
        # Not by `np.save`: of a full disk it says no more than how many values it wrote.
        self._write(f"{len(self._kept)}.rgb", frame.image.tobytes())
        self._kept.append((frame.name, frame.image.shape, frame.seconds))

    def frames(self, numbers: Iterable[int]) -> Iterator[Frame]:
        for number in numbers:
            name, shape, seconds = self._kept[number]
            content = (self._folder / f"{number}.rgb").read_bytes()
            yield Frame(name, np.frombuffer(content, np.uint8).reshape(shape), seconds)

    def keep_labels(self, number: int, labels: np.ndarray) -> None:
        self._write(f"{number}.png", encode_label_map(labels))

    def keep_probability(self, number: int, probability: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, probability.astype(np.float16))
        self._write(f"{number}.npy", content.getvalue())

    def _write(self, name: str, content: bytes) -> None:
        try:
            (self._folder / name).write_bytes(content)
        except OSError as error:
            what = "cannot keep what lies before the first mask (TMPDIR says where) in"
            raise InputError(explain(what, self._folder, error)) from error

    def labels(self, number: int) -> np.ndarray:
        return read_label_map(self._folder / f"{number}.png")

    def probability(self, number: int) -> np.ndarray | None:
        """What was kept, if anything."""
        path = self._folder / f"{number}.npy"
        return np.load(path).astype(np.float32) if path.exists() else None


@contextlib.contextmanager
def tracked_back(
    tracker: Tracker,
    variables: Any,
    frames: Iterator[Frame],
    first: int,
    labels: UInt8[np.ndarray, "height width"],
    *,
    with_probabilities: bool = False,
) -> Iterator[tuple[Iterator[tuple[Frame, np.ndarray, np.ndarray | None]], Iterator[Frame]]]:
    """Tracks from the first frame that has a mask back to the video's beginning.

    Args:
        tracker: see `ranet_jax.runtime.stream.Tracker`.
        variables: the tracker's, on the device.
        frames: of the video, from its beginning; read up to and including frame `first` here.
        first: number of the first frame that has a mask.
        labels: that mask.
        with_probabilities: whether probabilities are kept, too.

    Yields:
        The frames before it with their label maps and probabilities (float32, or None), in order; and the frames from
        it on, as if nothing had been read.

    Raises:
        InputError: the video ends before, or there is no room on disk for the frames before the mask.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix="ranet-jax-")
    except OSError as error:
        raise InputError(explain("cannot make a folder in", Path(tempfile.gettempdir()), error)) from error
    with temporary as folder:
        shelf = _Shelf(Path(folder))
        for number in range(first + 1):
            frame = next(frames, None)
            if frame is None:
                raise InputError(f"a mask is given for frame {first} and the video has {number}, from 0")
            shelf.add(frame)
        order, certain = iter(range(first, -1, -1)), iter(range(first, -1, -1))

        def keep_probability(frame: Frame, found: np.ndarray, probability: np.ndarray | None) -> None:
            number = next(certain)
            if probability is not None:
                shelf.keep_probability(number, probability)

        stream(
            tracker,
            variables,
            shelf.frames(range(first, -1, -1)),
            {0: labels},
            lambda frame, found: shelf.keep_labels(next(order), found),
            probabilities=keep_probability if with_probabilities else None,
        )
        before = ((frame, shelf.labels(i), shelf.probability(i)) for i, frame in enumerate(shelf.frames(range(first))))
        yield before, _chained(shelf.frames((first,)), frames)


def _chained(*parts: Iterator[Frame]) -> Iterator[Frame]:
    for part in parts:
        yield from part
