"""Tracking for the studio, and the only file here that knows the tracker.

A pass is a run over neighbouring frames, forward or backward, from a frame with a given mask. The first one starts the
tracker, later ones correct it on the way, so that a forward pass computes what `ranet-jax segment` does with the same
masks. States are kept every few frames, so that a pass can go on from any frame without starting over.
"""

import collections
import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from ranet_jax.clicks.features import Encoder
from ranet_jax.errors import InputError
from ranet_jax.io.video import Frame
from ranet_jax.runtime.stream import stream
from ranet_jax.studio.description import Labels, ids_of
from ranet_jax.studio.project import Project
from ranet_jax.tracker import Tracker
from ranet_jax.weights import Checkpoint, open_checkpoint

STATE_INTERVAL = 16
"""Frames between two kept states."""
STATE_BYTES = 512 * 1024**2
"""What kept states may hold; those used longest ago go first."""
QUEUE = 2
"""Frames that wait on either side of the tracker: what is still finished after a stop."""
SPEED_WINDOW = 12
"""Frames that the speed shown is measured over."""

Signature = tuple[tuple[int, str], ...]


@runtime_checkable
class Listener(Protocol):
    """Who is told of a pass; called from its threads."""

    def started(self, plan: "Plan") -> None:
        """Before the first frame."""

    def frame_done(self, index: int, labels: Labels | None, progress: "Progress") -> None:
        """After every frame; labels is None for one that was passed again only for the tracker's memory."""


@dataclass(frozen=True)
class Progress:
    """How far a pass is.

    Attributes:
        done: frames of it.
        total: likewise.
        frames_per_second: lately; None at its start.
        seconds_left: likewise.
    """

    done: int
    total: int
    frames_per_second: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class Plan:
    """One pass.

    Attributes:
        direction: "forward" or "backward".
        origin: the frame with a given mask at which the tracker starts.
        start: the first frame whose result is wanted.
        end: the last one, inclusive.
        given: frames with a given mask from origin to end, in the order of the pass.
    """

    direction: str
    origin: int
    start: int
    end: int
    given: tuple[int, ...]

    @property
    def step(self) -> int:
        """1 or -1."""
        return 1 if self.direction == "forward" else -1


def plan_pass(given: list[int], direction: str, start: int, end: int) -> Plan:
    """Finds where a pass has to start.

    A forward pass starts at the first given mask, as everything since then is part of the tracker's memory; a backward
    one at the nearest given mask at or after its first frame.

    Args:
        given: frames with a given mask, ascending.
        direction: "forward" or "backward".
        start: first frame that is wanted.
        end: last one, inclusive; at or after start in the direction.

    Raises:
        InputError: no mask is given that could be tracked there.
    """
    if direction == "forward":
        reachable = [index for index in given if index <= end]
        if not reachable:
            raise InputError("nothing is marked at or before these frames: mark an object first, then track forward")
        origin = reachable[0]
        return Plan(direction, origin, max(start, origin), end, tuple(reachable))
    after = [index for index in given if index >= start]
    inside = [index for index in given if end <= index < start]
    if not after and not inside:
        raise InputError("nothing is marked at or after these frames: mark an object first, then track backward")
    origin = after[0] if after else inside[-1]
    on_the_way = tuple(index for index in reversed(given) if end <= index <= origin)
    return Plan(direction, origin, min(start, origin), end, on_the_way or (origin,))


class Engine:
    """Runs passes over one project, one at a time.

    `track` belongs in a worker thread; `stop` may be called from any.
    """

    def __init__(self, checkpoint: Checkpoint, variables: Any, frame_size: tuple[int, int]):
        """Makes the tracker; nothing is compiled yet.

        Args:
            checkpoint: for its configuration.
            variables: the checkpoint's, on the device.
            frame_size: height and width of the frames.
        """
        self._tracker = Tracker(checkpoint.config, checkpoint.tracker, frame_size)
        self._variables = variables
        self._states = _States()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Makes the pass that runs end with the frames under way."""
        self._stop.set()

    def track(self, project: Project, plan: Plan, listener: Listener) -> bool:
        """Runs a pass and writes its results.

        Returns:
            Whether it came to its end; False after `stop`.

        Raises:
            InputError: a frame cannot be decoded, or a result not be written. Results before it are kept.
        """
        self._stop.clear()
        run = _Pass(project, plan, self._tracker, self._states, self._stop)
        listener.started(plan)
        first, label_map = run.first()
        speed = _Speed(abs(plan.end - first) + 1)

        def sink(frame: Frame, labels: np.ndarray) -> None:
            index = run.sunk_index()
            written = run.record(index, labels)
            listener.frame_done(index, written, speed.tick())

        # Both threads around the tracker are the ones of `segment`.
        stream(run, self._variables, run.frames(first), {0: label_map}, sink, queue_size=QUEUE)
        run.keep_last_state()
        return not self._stop.is_set()


class _Pass:
    """What `stream` takes for a tracker: starts, goes on from a kept state, and corrects at given masks."""

    def __init__(self, project: Project, plan: Plan, tracker: Tracker, states: "_States", stop: threading.Event):
        self._project, self._plan, self._tracker, self._states, self._stop = project, plan, tracker, states, stop
        self._given = {index: project.given_labels(index) for index in plan.given}
        digests = {index: hashlib.sha256(labels.tobytes()).hexdigest() for index, labels in self._given.items()}
        self._signatures = [(index, digests[index]) for index in plan.given]
        self._presences: collections.deque[tuple[jax.Array, jax.Array] | None] = collections.deque()
        self._position = self._sunk = plan.origin
        self._state: Any = None
        self._resumed = False

    def first(self) -> tuple[int, Labels]:
        """The frame to start the stream with, and its label map: the origin, or that of a kept state."""
        plan = self._plan
        for index in range(plan.start - plan.step, plan.origin - plan.step, -plan.step):
            state = self._states.get(self._key(index))
            if state is not None and self._project.result_path(index).exists():
                self._state, self._resumed = state, True
                self._position = self._sunk = index
                return index, self._project.labels(index)
        return plan.origin, self._given[plan.origin]

    def frames(self, first: int) -> Iterator[Frame]:
        """Frames of the pass, until it is stopped."""
        plan = self._plan
        for frame in self._project.frames.run(first, plan.end + plan.step, plan.step):
            yield frame
            if self._stop.is_set():
                return

    def init(self, variables: Any, frame: jax.Array, label_map: jax.Array) -> "_Pass":
        """The tracker's; the state stays here, so that it can be kept, and what `stream` hands around is this."""
        if not self._resumed:
            self._state = self._tracker.init(variables, frame, label_map)
        self._presences.append(None)
        return self

    def step(self, variables: Any, state: Any, frame: jax.Array) -> tuple["_Pass", jax.Array, None]:
        """Likewise; at a frame with a given mask it is the tracker's `annotate`."""
        self._position += self._plan.step
        given = self._given.get(self._position)
        if given is None:
            self._state, labels, _ = self._tracker.step(variables, self._state, frame)
        else:
            self._state, labels, _ = self._tracker.annotate(variables, self._state, frame, given)
        # Copies, made on the device, as the next step takes the state's memory.
        self._presences.append((jnp.copy(self._state.ids), jnp.copy(self._state.presence)))
        if self._position % STATE_INTERVAL == 0:
            self._states.put(self._key(self._position), jax.tree.map(jnp.copy, self._state))
        return self, labels, None

    def sunk_index(self) -> int:
        """Number of the next frame to leave the stream."""
        index = self._sunk
        self._sunk += self._plan.step
        return index

    def record(self, index: int, labels: np.ndarray) -> Labels | None:
        """Writes a result, unless the frame was passed only for the tracker's memory and is up to date."""
        presence = self._presences.popleft()
        plan, project = self._plan, self._project
        before = (index - plan.start) * plan.step < 0
        if (before and project.is_current(index)) or (presence is None and self._resumed):
            return None
        known = {id for i, given in self._given.items() if (i - index) * plan.step <= 0 for id in ids_of(given)}
        if presence is None:
            scores = {id: 1.0 for id in known}
        else:
            ids, values = (np.asarray(array) for array in presence)
            scores = {int(id): round(float(value), 4) for id, value in zip(ids, values, strict=True) if id}
        return project.record_result(index, labels, known, plan.direction, scores)

    def keep_last_state(self) -> None:
        """Keeps the state after the last frame, from which the next pass goes on."""
        if self._state is not None:
            self._states.put(self._key(self._position), self._state)

    def _key(self, index: int) -> tuple[str, int, Signature]:
        before = tuple(entry for entry in self._signatures if (entry[0] - index) * self._plan.step <= 0)
        return self._plan.direction, index, before


class _States:
    """Kept states of the tracker, by what they are the result of; bounded in size."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[tuple[str, int, Signature], Any] = collections.OrderedDict()

    def get(self, key: tuple[str, int, Signature]) -> Any:
        """A copy, as steps take their state's memory."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return jax.tree.map(jnp.copy, self._kept[key])

    def put(self, key: tuple[str, int, Signature], state: Any) -> None:
        self._kept[key] = state
        self._kept.move_to_end(key)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        while len(self._kept) > max(2, STATE_BYTES // max(1, size)):
            self._kept.popitem(last=False)


class _Speed:
    """Frames a second over the last few, and the time left at that speed."""

    def __init__(self, total: int):
        self._total, self._done = total, 0
        self._times: collections.deque[float] = collections.deque(maxlen=SPEED_WINDOW + 1)

    def tick(self) -> Progress:
        self._done += 1
        self._times.append(time.perf_counter())
        # The first interval waits for the compiler.
        if self._done < 4:
            return Progress(self._done, self._total, None, None)
        speed = (len(self._times) - 1) / (self._times[-1] - self._times[0])
        if self._done == 4:
            self._times.popleft()
        return Progress(self._done, self._total, speed, (self._total - self._done) / speed)


def load_network(checkpoint: str | None, frame_size: tuple[int, int]) -> tuple[Engine, Encoder]:
    """The tracker of a checkpoint, and its encoder for clicks.

    Args:
        checkpoint: embedded name or folder; None for the shipped network.
        frame_size: height and width of the frames.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """
    opened = open_checkpoint(checkpoint, None)
    variables = jax.device_put(opened.variables)
    return Engine(opened, variables, frame_size), Encoder(opened.config, variables)
