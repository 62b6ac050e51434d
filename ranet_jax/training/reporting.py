"""What a training run tells: a progress line, TensorBoard, and `metrics.jsonl`, from which curves are drawn."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorboardX
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file, make_folder

_MASK_COLOUR = np.array((255, 60, 40), np.float32)
_GAP = 4


class Reporter:
    """Reports of one run; those of a process other than the first go nowhere.

    Use it as a context manager.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with Reporter(folder, steps=10, first_step=0, console=Console(quiet=True)) as reporter:
        ...     reporter.scalars(1, {"loss": 0.5}, seconds_left=9.0)
        >>> print(pathlib.Path(folder, "metrics.jsonl").read_text().strip())
        {"step": 1, "loss": 0.5}
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        *,
        steps: int,
        first_step: int,
        console: Console | None = None,
        active: bool = True,
    ):
        """Opens the run's files.

        Args:
            folder: where they lie.
            steps: length of the training.
            first_step: steps done already: what an interrupted run reported beyond them is dropped.
            console: for progress; by default standard output. Plain lines unless it is a terminal.
            active: False reports nothing.

        Raises:
            InputError: the folder cannot be written.
        """
        self._active, self._steps = active, steps
        self._console = console or Console()
        self._progress: Progress | None = None
        self._task = TaskID(0)
        if not active:
            return
        self._file = make_folder(folder) / "metrics.jsonl"
        with self._writing():
            _drop_after(self._file, first_step)
            self._board = _Board(make_folder(pathlib.Path(folder) / "tensorboard"), first_step)
        if self._console.is_terminal:
            columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
            self._progress = Progress(*columns, console=self._console)
            self._task = self._progress.add_task("compiling the training step", total=steps, completed=first_step)
            self._progress.start()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._active:
            with self._writing():
                self._board.close()

    def scalars(self, step: int, values: Mapping[str, float], *, seconds_left: float | None = None) -> None:
        """Reports values by name, such as "loss"; those of an evaluation are called "evaluation/...".

        Raises:
            InputError: the files cannot be written.
        """
        if not self._active:
            return
        with self._writing():
            _append(self._file, json.dumps({"step": step, **values}) + "\n")
            for name, value in values.items():
                self._board.add(tensorboardX.summary.scalar(name if "/" in name else f"train/{name}", value), step)
            self._board.flush()
        line = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if seconds_left is not None:
            line += f"  {_duration(seconds_left)} left"
        if self._progress is None:
            self.message(f"step {step}/{self._steps}  {line}")
        elif seconds_left is None:
            self._progress.console.print(f"step {step}: {line}", highlight=False)
        else:
            self._progress.update(self._task, completed=step, description=line)

    def picture(self, step: int, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Puts a picture (see `progress_picture`) into TensorBoard.

        Raises:
            InputError: the file cannot be written.
        """
        if self._active:
            with self._writing():
                self._board.add(tensorboardX.summary.image("samples", picture, dataformats="HWC"), step)
                self._board.flush()

    def message(self, text: str) -> None:
        """Prints a line."""
        if self._active:
            self._console.print(text, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._file.parent}: the reports cannot be written ({error.strerror or error}): make room or give "
                "permission, then the same command continues"
            ) from error


class _Board:
    """A file of TensorBoard's, written at once: `SummaryWriter` has a thread that a full disk ends, and then waits."""

    def __init__(self, folder: pathlib.Path, first_step: int):
        self._writer = EventsWriter(str(folder / "events"))
        # What an interrupted run reported beyond its last checkpoint is hidden.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(event_pb2.Event(step=first_step + 1, session_log=start))

    def add(self, summary: Any, step: int) -> None:
        self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def progress_picture(
    batch: Mapping[str, np.ndarray], probability: Float[np.ndarray, "frames b height width n"], rows: int = 4
) -> UInt8[np.ndarray, "rows columns 3"]:
    """First frame, last one with the truth, the masks that came before it, and prediction; a row for each sample.

    Args:
        batch: of clips, see `ranet_jax.training.rollout.Clip`.
        probability: predicted for the frames after the first.
        rows: samples shown at most.
    """
    images, labels = batch["images"], batch["labels"]
    before = probability[-2].max(axis=-1) > 0.5 if len(probability) > 1 else batch["previous_labels"] > 0
    black = np.zeros_like(images[:, 0])
    columns = [
        _overlay(images[:, 0], labels[:, 0] > 0),
        _overlay(images[:, -1], labels[:, -1] > 0),
        _overlay(black, before),
        _overlay(images[:, -1], probability[-1].max(axis=-1)),
    ]
    gap = lambda x, axis: np.pad(x, [(0, _GAP if i == axis else 0) for i in range(3)], constant_values=255)
    shown = [gap(np.concatenate([gap(c[i], 1) for c in columns], axis=1), 0) for i in range(min(rows, len(black)))]
    return np.concatenate(shown)


def _overlay(images: np.ndarray, weight: Any) -> np.ndarray:
    share = 0.6 * np.asarray(weight, np.float32)[..., None]
    return (images * (1 - share) + _MASK_COLOUR * share).round().astype(np.uint8)


def _append(file: pathlib.Path, line: str) -> None:
    """Adds a line, whole or not at all."""
    # Without a buffer, which would keep the rest of a line and add it once there is room.
    with file.open("ab", buffering=0) as stream:
        before, rest = stream.tell(), line.encode()
        try:
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError:
            os.ftruncate(stream.fileno(), before)
            raise


def _drop_after(file: pathlib.Path, step: int) -> None:
    """Removes the lines of a metrics file that a resumed run will write again, and a line cut off by a kill."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            continue
    with atomic_file(file) as temporary:
        temporary.write_text("".join(kept))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
