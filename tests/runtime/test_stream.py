import functools
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.results import ResultWriter
from ranet_jax.io.video import Frame, TruncatedVideoError, open_frames
from ranet_jax.runtime.stream import Tracker, stream

SIZE = (6, 8)
FIRST = np.arange(48, dtype=np.uint8).reshape(SIZE)


class CountingTracker:
    """Labels are the frame's red channel plus the number of steps: order and pairing show in the values."""

    def __init__(self):
        self.steps = 0
        self._step = jax.jit(self._next, donate_argnums=0)

    @staticmethod
    def _next(state, increment, frame):
        state = state + increment
        return state, frame[..., 0] + state, frame.astype(jnp.float32)

    def init(self, variables, frame, label_map):
        assert frame.shape == (*label_map.shape, 3)
        return jnp.zeros((), jnp.uint8)

    def step(self, variables, state, frame):
        self.steps += 1
        return self._step(state, variables, frame)


class Recorder:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.results = []

    def __call__(self, frame, label_map):
        self.results.append((frame.name, label_map))

    @property
    def names(self):
        return [name for name, _ in self.results]


@pytest.fixture(autouse=True)
def no_thread_outlives_the_stream():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def make_frames(count, *, size=SIZE, error=None):
    for index in range(count):
        yield Frame(f"{index:05d}", np.full((*size, 3), 2 * index % 256, np.uint8))
    if error is not None:
        raise error


def run(frames, sink, tracker=None, **options):
    return stream(tracker or CountingTracker(), jnp.ones((), jnp.uint8), frames, {0: FIRST}, sink, **options)


def test_every_frame_arrives_once_in_order_with_its_own_labels():
    recorder, done = Recorder(), []
    report = run(make_frames(50), recorder, progress=done.append)
    assert recorder.names == [f"{index:05d}" for index in range(50)]
    assert recorder.results[0][1] is FIRST
    for index, (_, label_map) in enumerate(recorder.results[1:], start=1):
        assert label_map.dtype == np.uint8
        np.testing.assert_array_equal(label_map, np.full(SIZE, 3 * index, np.uint8))
    assert done == list(range(1, 51))
    assert report.frames == 50
    assert 0 < report.median_milliseconds_per_frame / 1e3 < report.seconds


@pytest.mark.parametrize(("count", "has_median"), [(1, False), (2, False), (3, True)])
def test_short_videos(count, has_median):
    recorder = Recorder()
    report = run(make_frames(count), recorder)
    assert report.frames == len(recorder.results) == count
    assert (report.median_milliseconds_per_frame is not None) == has_median


def test_the_median_leaves_out_the_compiling_step():
    class SlowToCompile(CountingTracker):
        def step(self, variables, state, frame):
            time.sleep(0.005 if self.steps else 0.3)
            return super().step(variables, state, frame)

    # Enough frames for a median that one late thread does not move.
    report = run(make_frames(12), Recorder(), SlowToCompile())
    assert 0 < report.median_milliseconds_per_frame < 150
    assert report.seconds > 0.3


def test_a_slow_sink_holds_everything_back():
    """Memory is bounded: no more frames are read than the sink has taken and the queues hold."""
    read, tracker, taken = [], CountingTracker(), []
    ahead = []

    def frames():
        for frame in make_frames(40):
            read.append(frame)
            yield frame

    def sink(frame, label_map):
        time.sleep(0.005)
        taken.append(frame)
        ahead.append((len(read) - len(taken), tracker.steps + 1 - len(taken)))

    run(frames(), sink, tracker, queue_size=3)
    assert len(taken) == 40
    # Each queue holds 3, and the reader and the tracker have one more in hand each.
    assert 3 < max(frames for frames, _ in ahead) <= 3 + 1 + 3 + 1
    assert 3 <= max(steps for _, steps in ahead) <= 3 + 1


def test_the_device_does_not_wait_for_a_sink_that_is_fast_enough():
    """Reading, tracking and writing overlap: together they take hardly longer than the slowest of them."""

    class SlowTracker(CountingTracker):
        def step(self, variables, state, frame):
            time.sleep(0.02)
            return super().step(variables, state, frame)

    def frames():
        for frame in make_frames(30):
            time.sleep(0.015)
            yield frame

    report = run(frames(), lambda frame, label_map: time.sleep(0.015), SlowTracker())
    assert report.median_milliseconds_per_frame < 35  # one after the other: 50


def test_frames_before_a_reader_error_are_written():
    error = TruncatedVideoError("a.mp4", 20, 40)
    recorder = Recorder()
    with pytest.raises(TruncatedVideoError) as raised:
        run(make_frames(20, error=error), recorder)
    assert raised.value is error
    assert len(recorder.results) == 20


@pytest.mark.parametrize("error", [ValueError("reader"), KeyboardInterrupt(), SystemExit(3)])
def test_errors_of_the_reader_are_raised(error):
    recorder = Recorder()
    with pytest.raises(type(error)):
        run(make_frames(0, error=error), recorder)
    with pytest.raises(type(error)):
        run(make_frames(7, error=error), recorder)
    assert len(recorder.results) == 7


@pytest.mark.parametrize("at", [0, 1, 20])
@pytest.mark.parametrize("error", [InputError("the disk is full"), KeyboardInterrupt()])
def test_an_error_of_the_sink_ends_the_stream(at, error):
    recorder, tracker = Recorder(), CountingTracker()

    def sink(frame, label_map):
        if len(recorder.results) == at:
            raise error
        recorder(frame, label_map)

    with pytest.raises(type(error)) as raised:
        run(make_frames(10_000), sink, tracker)
    assert raised.value is error
    assert len(recorder.results) == at
    assert tracker.steps < at + 10


def test_an_error_of_the_sink_comes_before_one_of_the_reader():
    def sink(frame, label_map):
        raise InputError("the disk is full")

    with pytest.raises(InputError, match="disk"):
        run(make_frames(3, error=ValueError("reader")), sink)


def test_an_error_of_progress_is_raised():
    def progress(done):
        raise ValueError("progress")

    with pytest.raises(ValueError, match="progress"):
        run(make_frames(1000), Recorder(), progress=progress)


@pytest.mark.parametrize("error", [RuntimeError("device"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["init", "step"])
def test_an_error_of_the_tracker_ends_the_stream(error, place):
    """Whether the threads wait for room, for frames or not at all: nothing hangs, nothing more is read."""

    class FailingTracker(CountingTracker):
        def init(self, variables, frame, label_map):
            if place == "init":
                raise error
            return super().init(variables, frame, label_map)

        def step(self, variables, state, frame):
            if self.steps == 5:
                time.sleep(0.02)  # the reader waits for room meanwhile
                raise error
            return super().step(variables, state, frame)

    read = []

    def frames():
        for frame in make_frames(10_000):
            read.append(frame)
            yield frame

    with pytest.raises(type(error)) as raised:
        run(frames(), Recorder(), FailingTracker())
    assert raised.value is error
    assert len(read) < 20


def test_an_error_on_the_device_is_raised():
    """The value arrives in the writer thread, and so does the error of an asynchronous computation."""

    class BreakingTracker(CountingTracker):
        @staticmethod
        def _fail(value):
            if value > 4:
                raise ValueError("on the device")
            return value

        @staticmethod
        def _next(state, increment, frame):
            check = functools.partial(jax.pure_callback, BreakingTracker._fail, state, vmap_method="sequential")
            state = check(state) + increment
            return state, frame[..., 0] + state, None

    with pytest.raises(Exception, match="on the device"):
        run(make_frames(1000), Recorder(), BreakingTracker())


def test_control_c_while_all_queues_are_full():
    """With a slow sink the calling thread waits for room when the key is pressed."""
    main = threading.get_ident()
    seen = []

    def sink(frame, label_map):
        seen.append(frame.name)
        if frame.name == "00001":
            time.sleep(0.1)
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.1)

    # A process started in the background ignores the signal.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(make_frames(10_000), sink, queue_size=2)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert seen == ["00000", "00001"]


def test_input_mistakes():
    with pytest.raises(InputError, match="no frames"):
        run(make_frames(0), Recorder())
    recorder = Recorder()
    with pytest.raises(InputError, match="mask is 8x6 but the video is 7x5"):
        run(make_frames(100, size=(5, 7)), recorder)
    assert recorder.results == []


class AnnotatedTracker(CountingTracker):
    """Steps add to what was given last. It cannot be told of later masks: what precedes them stays as it was."""

    def init(self, variables, frame, label_map):
        return jnp.array(label_map)

    def annotate(self, variables, state, frame, label_map):
        return self.init(variables, frame, label_map), jnp.array(label_map), None

    @staticmethod
    def _next(state, increment, frame):
        return state + increment, state + increment, None


def test_masks_of_later_frames_are_given_when_these_come():
    first, later = np.full(SIZE, 10, np.uint8), np.full(SIZE, 40, np.uint8)
    later[0, :2] = 200, 0
    recorder = Recorder()
    report = stream(AnnotatedTracker(), jnp.ones((), jnp.uint8), make_frames(6), {0: first, 3: later}, recorder)
    assert report.frames == 6
    for number, expected in enumerate((first, first + 1, first + 2, later, later + 1, later + 2)):
        np.testing.assert_array_equal(recorder.results[number][1], expected)


def test_frames_before_the_first_mask_show_nothing():
    tracker, recorder = CountingTracker(), Recorder()
    stream(tracker, jnp.ones((), jnp.uint8), make_frames(5), {2: FIRST}, recorder)
    assert recorder.names == [f"{index:05d}" for index in range(5)]
    for _, label_map in recorder.results[:2]:
        np.testing.assert_array_equal(label_map, np.zeros(SIZE, np.uint8))
    assert recorder.results[2][1] is FIRST
    assert tracker.steps == 2
    np.testing.assert_array_equal(recorder.results[3][1], np.full(SIZE, 6 + 1, np.uint8))


def test_masks_that_no_frame_came_for_are_named():
    recorder = Recorder()
    with pytest.raises(InputError, match="a mask is given for frame 9 and the video has 4, from 0"):
        stream(AnnotatedTracker(), jnp.ones((), jnp.uint8), make_frames(4), {0: FIRST, 9: FIRST}, recorder)
    assert len(recorder.results) == 4, "what there is, is written"


def test_a_later_mask_of_another_size_is_named():
    recorder = Recorder()
    with pytest.raises(InputError, match="mask is 7x5 but the video is 8x6"):
        stream(AnnotatedTracker(), jnp.ones((), jnp.uint8), make_frames(9), {0: FIRST, 2: FIRST[:5, :7]}, recorder)
    assert len(recorder.results) <= 2


def test_trackers_are_recognised():
    assert isinstance(CountingTracker(), Tracker)


def test_files_in_files_out(shared, tmp_path):
    """A real folder of frames, PNGs and an overlay, and no recompilation on the way."""

    class MovingTracker(CountingTracker):
        traces = 0

        def init(self, variables, frame, label_map):
            return jnp.array(label_map)

        @staticmethod
        def _next(state, increment, frame):
            MovingTracker.traces += 1
            state = jnp.roll(state, 1, axis=1)
            return state, state, None

    first = read_label_map(shared("data/DAVIS17-sample/Annotations/480p/longboard/00000.png"))
    overlay_path = tmp_path / "overlay.mp4"
    with (
        open_frames(shared("data/DAVIS17-sample/JPEGImages/480p/longboard")) as reader,
        OverlayWriter(overlay_path, reader.size, reader.frames_per_second) as overlay,
    ):
        sink = ResultWriter(tmp_path / "results", overlay)
        report = stream(MovingTracker(), jnp.ones((), jnp.uint8), reader, {0: first}, sink)
    assert report.frames == 52
    assert MovingTracker.traces == 1
    for index in (0, 1, 51):
        written = read_label_map(tmp_path / f"results/{index:05d}.png")
        np.testing.assert_array_equal(written, np.roll(first, index, axis=1))
    with open_frames(overlay_path) as reader:
        assert reader.count == 52
