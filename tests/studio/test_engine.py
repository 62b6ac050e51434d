"""Passes compute what tracking in one go computes, from wherever they start."""

import threading

import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map
from ranet_jax.runtime.stream import stream
from ranet_jax.studio.engine import Plan, load_network, plan_pass
from ranet_jax.studio.frames import FrameStore
from ranet_jax.studio.project import Project
from ranet_jax.tracker import Tracker
from ranet_jax.weights import load_checkpoint

from .conftest import FRAMES, SIZE, square


class Watch:
    """Notes what it is told; may stop the pass at a frame."""

    def __init__(self, engine=None, stop_at=None):
        self.frames, self.written, self.progress = [], [], []
        self._engine, self._stop_at = engine, stop_at

    def started(self, plan):
        self.plan = plan

    def frame_done(self, index, labels, progress):
        self.frames.append(index)
        self.progress.append(progress)
        if labels is not None:
            self.written.append(index)
        if index == self._stop_at:
            self._engine.stop()


@pytest.fixture(scope="module")
def engine(checkpoint):
    return load_network(checkpoint, SIZE)[0]


@pytest.fixture
def marked(project) -> Project:
    project.add_object()
    project.add_object()
    project.save_labels(0, square(0, 1))
    return project


def results(project: Project) -> dict[int, np.ndarray]:
    paths = {index: project.result_path(index) for index in range(len(project.frames))}
    return {index: read_label_map(path) for index, path in paths.items() if path.exists()}


def in_one_go(project: Project, checkpoint: str, frames=None) -> dict[int, np.ndarray]:
    """What the library's stream gives for the project's own files, forward."""
    opened = load_checkpoint(checkpoint)
    tracker = Tracker(opened.config, opened.tracker, SIZE)
    given = {index: read_label_map(project.folder / "given" / f"{index:05d}.png") for index in project.given}
    found = {}
    sink = lambda frame, labels: found.update({int(frame.name): labels.copy()})
    stream(tracker, opened.variables, project.frames.run(0, len(project.frames)), given, sink)
    return found


def forward(start: int, given: list[int], end: int = FRAMES - 1) -> Plan:
    return plan_pass(given, "forward", start, end)


def require_equal(found, wanted):
    assert found.keys() == wanted.keys()
    different = [index for index in wanted if (found[index] != wanted[index]).any()]
    assert not different


def test_a_pass_is_the_stream(marked, engine, checkpoint):
    watch = Watch()
    assert engine.track(marked, forward(0, [0]), watch)
    wanted = in_one_go(marked, checkpoint)
    assert any(wanted[index].any() for index in range(1, FRAMES)), "the micro network shows something"
    require_equal(results(marked), wanted)
    assert watch.frames == watch.written == list(range(FRAMES))
    last = watch.progress[-1]
    assert (last.done, last.total, last.seconds_left) == (FRAMES, FRAMES, 0.0)
    assert marked.record(10).direction == "forward"
    assert set(marked.record(10).scores) == {1}


def test_stopping_correcting_and_going_on(marked, engine, checkpoint):
    stopping = Watch(engine, stop_at=15)
    assert not engine.track(marked, forward(0, [0]), stopping)
    reached = stopping.frames[-1]
    assert 15 <= reached <= 23, "frames under way are finished, no others begun"
    more = marked.labels(12)
    more[20:44, 20:44] = 1
    marked.save_labels(12, more)
    second = marked.labels(30)
    second[50:60, 80:90] = 2
    marked.save_labels(30, second)
    watch = Watch()
    assert engine.track(marked, forward(12, marked.given), watch)
    assert watch.written[0] == 12
    assert watch.frames[0] >= 0
    require_equal(results(marked), in_one_go(marked, checkpoint))
    assert set(np.unique(results(marked)[30])) >= {2}


def test_going_on_after_the_process_ended(marked, engine, checkpoint):
    engine.track(marked, forward(0, [0], end=14), Watch())
    marked.close()
    fresh, again = load_network(checkpoint, SIZE)[0], Project(marked.folder)
    watch = Watch()
    fresh.track(again, forward(15, [0]), watch)
    assert watch.written == list(range(15, FRAMES)), "what is there is not written again"
    require_equal(results(again), in_one_go(again, checkpoint))
    again.close()


def test_going_on_starts_at_a_kept_state(marked, engine):
    engine.track(marked, forward(0, [0], end=20), Watch())
    watch = Watch()
    engine.track(marked, forward(21, [0], end=25), watch)
    assert watch.frames == [20, 21, 22, 23, 24, 25]
    assert watch.written == [21, 22, 23, 24, 25]


def test_backward_is_forward_over_reversed_frames(project, engine, checkpoint, tmp_path):
    project.add_object()
    project.save_labels(20, square(20))
    engine.track(project, plan_pass([20], "backward", 20, 5), Watch())
    found = results(project)
    assert sorted(found) == list(range(5, 21))
    opened = load_checkpoint(checkpoint)
    tracker = Tracker(opened.config, opened.tracker, SIZE)
    frames = FrameStore(project.frames.path)
    wanted = {}
    sink = lambda frame, labels: wanted.update({int(frame.name): labels.copy()})
    stream(tracker, opened.variables, frames.run(20, 4, -1), {0: square(20)}, sink)
    require_equal(found, wanted)
    assert project.record(5).direction == "backward"


def test_a_backward_pass_keeps_other_objects(marked, engine):
    engine.track(marked, forward(0, [0], end=12), Watch())
    before = results(marked)
    second = marked.labels(10)
    free = np.flatnonzero(second.reshape(-1) == 0)[:200]
    assert free.size == 200
    second.reshape(-1)[free] = 2
    marked.save_labels(10, second)
    engine.track(marked, plan_pass([10], "backward", 10, 2), Watch())
    after = results(marked)
    for index in range(2, 10):
        kept = (after[index] == 1) | (after[index] == 2)
        assert kept[before[index] == 1].all(), "object 1 lost pixels to nothing"


@pytest.mark.parametrize(
    ("given", "direction", "start", "end", "plan"),
    [
        ([0], "forward", 5, 9, Plan("forward", 0, 5, 9, (0,))),
        ([2, 7], "forward", 5, 9, Plan("forward", 2, 5, 9, (2, 7))),
        ([6], "forward", 0, 9, Plan("forward", 6, 6, 9, (6,))),
        ([2, 7], "backward", 7, 3, Plan("backward", 7, 7, 3, (7,))),
        ([2, 7], "backward", 5, 0, Plan("backward", 7, 5, 0, (7, 2))),
        ([2], "backward", 5, 0, Plan("backward", 2, 2, 0, (2,))),
    ],
)
def test_plans(given, direction, start, end, plan):
    assert plan_pass(given, direction, start, end) == plan


@pytest.mark.parametrize(("direction", "start", "end"), [("forward", 0, 4), ("backward", 9, 7)])
def test_nothing_to_track_from(direction, start, end):
    with pytest.raises(InputError, match="mark an object first"):
        plan_pass([5], direction, start, end)


def test_results_before_a_broken_frame_are_kept(marked, engine, monkeypatch):
    run = marked.frames.run

    def breaking(*arguments):
        for number, frame in enumerate(run(*arguments)):
            if number == 8:
                raise InputError("frame 8 is damaged")
            yield frame

    monkeypatch.setattr(marked.frames, "run", breaking)
    with pytest.raises(InputError, match="frame 8 is damaged"):
        engine.track(marked, forward(0, [0]), Watch())
    assert sorted(results(marked)) == list(range(8))


def test_stop_from_another_thread(marked, engine):
    watch = Watch()
    thread = threading.Thread(target=engine.track, args=(marked, forward(0, [0]), watch))
    thread.start()
    while not watch.frames and thread.is_alive():
        thread.join(0.005)
    engine.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert watch.frames
