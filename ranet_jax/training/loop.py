"""The training loop: batches in, checkpoints and reports out; it knows no network and no data set."""

import collections
import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from ranet_jax.errors import InputError
from ranet_jax.processes import ending_together
from ranet_jax.training.checkpoint import Checkpoints, Position
from ranet_jax.training.parallel import DataParallel
from ranet_jax.training.reporting import Reporter
from ranet_jax.training.step import TrainState

LAG = 2
"""Metrics are read this many steps late, when they are ready: the host never waits for the running step."""


class NonFiniteLossError(InputError):
    """The loss or its gradient became infinite or NaN; the message names the step and its samples."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Length and rhythm of a run, all in steps; 0 means never.

    Attributes:
        steps: when the training ends.
        log_every: average metrics are reported.
        checkpoint_every: the state is saved, and the averaged weights exported; also at its end, by a signal too.
        evaluate_every: the averaged weights are evaluated; also at the end, unless 0.
        picture_every: a picture of the current batch is reported.
    """

    steps: int
    log_every: int = 20
    checkpoint_every: int = 500
    evaluate_every: int = 0
    picture_every: int = 500


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What a program does with the averaged weights; called in the first process only, with NumPy arrays.

    Attributes:
        export: `(variables, step)`: keeps them.
        evaluate: `(variables, step)` to values by name.
        picture: `(variables, batch)` to a picture, uint8 (height, width, 3).
        learning_rate: of a step, for the reports.
    """

    export: Callable[[Any, int], None] | None = None
    evaluate: Callable[[Any, int], Mapping[str, float]] | None = None
    picture: Callable[[Any, Mapping[str, np.ndarray]], np.ndarray] | None = None
    learning_rate: Callable[[int], Any] | None = None


BatchChange = Callable[[int, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""`(steps done, batch)` to the batch that the next step gets. A new shape compiles the step once more."""


class _StoppedError(Exception):
    """A signal arrived while nothing ran that had to be finished."""


class StopSignal:
    """Turns the first SIGTERM or SIGINT into a request to stop after the running step; a second one acts at once.

    Waiting for a batch is no running step: a signal ends it. Several processes have to stop after the same step,
    whichever of them was signalled. JAX agrees on one, but only if its own handler gets the SIGTERM; SIGINT then does
    what it always does.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}
        self._waiting = False

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ():
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, _: FrameType | None) -> None:
        self.number = number
        signal.signal(number, self._previous[number])
        if self._waiting:
            raise _StoppedError

    def next_batch(self, iterator: Iterator[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray] | None:
        """The iterator's next batch; None where a signal came first, after which the iterator is of no more use."""
        self._waiting = True
        try:
            # Asked after the line above: a signal before it has only left its number.
            return None if self.number is not None else next(iterator)
        except _StoppedError:
            return None
        finally:
            self._waiting = False

    def requested(self, step: int) -> bool:
        """Whether to stop after this step; all processes get the same answer."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.number = signal.SIGTERM
        return self.number is not None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: the last.
        stopped_by: number of the signal that stopped it early (all is saved), or None.
    """

    state: TrainState
    stopped_by: int | None


def run(
    step: DataParallel,
    state: TrainState,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    config: LoopConfig,
    checkpoints: Checkpoints,
    reporter: Callable[[int], Reporter],
    hooks: Hooks | None = None,
    change: BatchChange | None = None,
) -> Outcome:
    """Trains to the end, or until a signal: from the newest checkpoint, if there is one.

    Args:
        step: compiled step.
        state: the initial state.
        batches: a grain dataset of this process's batches; `name` tells where its samples come from.
        config: length and rhythm.
        checkpoints: of this run.
        reporter: makes a reporter, given the steps done already.
        hooks: what else happens.
        change: of every batch, on the host; it decides losses, so it must depend on its arguments alone.

    Raises:
        NonFiniteLossError: the loss or its gradient is not finite; nothing is saved after that step.
        InputError: the checkpoint in the folder belongs to another configuration or all are damaged, a sample cannot
            be read, no sample can be made, or a checkpoint cannot be written.
    """
    with ending_together():
        return _run(step, state, iter(batches), config, checkpoints, reporter, hooks or Hooks(), change)


def _run(
    step: DataParallel,
    state: TrainState,
    iterator: Any,
    config: LoopConfig,
    checkpoints: Checkpoints,
    reporter: Callable[[int], Reporter],
    hooks: Hooks,
    change: BatchChange | None,
) -> Outcome:
    restored = checkpoints.restore(step.shared_state(step.place_state(state)), iterator)
    state = step.place_state(restored.state)
    number = int(state.step)
    with reporter(number) as reports, StopSignal() as stop:
        if number:
            reports.message(f"continuing after step {number}")
        if number == config.steps:
            # The last process may have been killed between its last checkpoint and its export.
            _export(number, state, hooks)
        meter = _Meter(config, reports, hooks, restored.sums)
        # Of the last step, whatever an iterator that a signal interrupted has fetched since.
        position = Position(iterator.get_state())
        while number < config.steps:
            batch = stop.next_batch(iterator)
            if batch is not None:
                arrays, names = _without_names(batch)
                if change is not None:
                    arrays = change(number, arrays)
                placed = step.place_batch(arrays)
                # Everything is on its devices: an implicit transfer here would be one in every step.
                with jax.transfer_guard("disallow"):
                    state, metrics = step(state, placed)
                number += 1
                meter.add(number, metrics, names, len(arrays["valid"]))
                position = Position(iterator.get_state())
            stopping = stop.requested(number)
            if number and (stopping or number == config.steps or _due(number, config.checkpoint_every)):
                meter.flush()
                checkpoints.save(step.shared_state(state), position, meter.sums)
            if stopping:
                break
            with meter.paused():
                _call_hooks(number, state, arrays, config, hooks, reports, meter)
        checkpoints.wait()
        if 0 < number < config.steps:
            # Whoever stops a run early may want to use what it has learned; the checkpoint comes first.
            _export(number, state, hooks)
    return Outcome(state, stop.number if number < config.steps else None)


def _without_names(batch: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """What goes to the devices, and where each sample comes from."""
    names = [str(name) for name in batch.get("name", ())]
    return {key: value for key, value in batch.items() if key != "name"}, names


class _Waiting(NamedTuple):
    """A step whose metrics are not read yet, and when it was started."""

    number: int
    metrics: Any
    names: list[str]
    samples: int
    time: float


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _export(number: int, state: TrainState, hooks: Hooks) -> None:
    if hooks.export is not None and not jax.process_index():
        hooks.export(jax.tree.map(np.asarray, state.variables), number)


def _call_hooks(
    number: int,
    state: TrainState,
    arrays: Mapping[str, np.ndarray],
    config: LoopConfig,
    hooks: Hooks,
    reports: Reporter,
    meter: "_Meter",
) -> None:
    last = number == config.steps
    export = hooks.export is not None and (last or _due(number, config.checkpoint_every))
    evaluate = hooks.evaluate is not None and (
        (last and config.evaluate_every > 0) or _due(number, config.evaluate_every)
    )
    picture = hooks.picture is not None and _due(number, config.picture_every)
    if jax.process_index() or not (export or evaluate or picture):
        return
    meter.flush()
    variables = jax.tree.map(np.asarray, state.variables)
    if export and hooks.export:
        hooks.export(variables, number)
    if evaluate and hooks.evaluate:
        values = hooks.evaluate(variables, number)
        reports.scalars(number, {f"evaluation/{name}": float(value) for name, value in values.items()})
    if picture and hooks.picture:
        reports.picture(number, hooks.picture(variables, arrays))


class _Meter:
    """Reads metrics `LAG` steps late, stops at a loss that is not finite, and reports averages and speed."""

    def __init__(self, config: LoopConfig, reports: Reporter, hooks: Hooks, sums: Mapping[str, Sequence[float]]):
        self._config, self._reports, self._hooks = config, reports, hooks
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._sums = {name: np.array(values, np.float64) for name, values in sums.items()}
        self._samples = 0
        self._steps_timed = 0
        # Seconds spent on other things than training.
        self._paused = 0.0
        # The clock starts with the second step: the first is mostly compilation.
        self._start: float | None = None

    def add(self, number: int, metrics: Any, names: list[str], samples: int) -> None:
        """Takes over the metrics of a step that is still running."""
        self._waiting.append(_Waiting(number, metrics, names, samples, time.perf_counter() - self._paused))
        while len(self._waiting) > LAG:
            self._read()

    @property
    def sums(self) -> dict[str, list[float]]:
        """Total and count of each metric over the steps read since the last report."""
        return {name: values.tolist() for name, values in self._sums.items()}

    def flush(self) -> None:
        """Reads all that is waiting: blocks until the last step is done."""
        while self._waiting:
            self._read()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keeps what happens within out of the speed."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def _read(self) -> None:
        step = self._waiting.popleft()
        values = {name: np.array(jax.device_get(tuple(mean)), np.float64) for name, mean in step.metrics.items()}
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(values[name][0]):
                what = f"the {name.replace('_', ' ')} is {values[name][0]} at step {step.number}"
                samples = ", ".join(step.names)
                raise NonFiniteLossError(f"{what}, samples {samples}: lower the learning rate or look at them")
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, np.zeros(2)) + value
        if self._start is None:
            self._start = step.time
        else:
            self._samples += step.samples * jax.process_count()
            self._steps_timed += 1
        if _due(step.number, self._config.log_every):
            self._report(step.number, step.time - self._start)
            self._sums, self._samples, self._steps_timed, self._start = {}, 0, 0, step.time

    def _report(self, number: int, seconds: float) -> None:
        values = {name: float(total / max(count, 1)) for name, (total, count) in self._sums.items()}
        if self._hooks.learning_rate is not None:
            values["learning_rate"] = float(self._hooks.learning_rate(number - 1))
        left = 0.0
        if seconds > 0:
            values["samples_per_second"] = self._samples / seconds
            left = (self._config.steps - number) * seconds / self._steps_timed
        self._reports.scalars(number, values, seconds_left=left)
