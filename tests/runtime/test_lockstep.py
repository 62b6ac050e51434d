"""Videos of different lengths through one stream: every frame to its own sink, errors with the video's name."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.video import Frame
from ranet_jax.runtime.lockstep import Video, track_in_lockstep

SIZE = (6, 8)


class AddingTracker:
    """Labels are each video's first ones plus the frame's red channel."""

    def __init__(self):
        self.shapes = set()

    def init(self, variables, frames, label_maps):
        return jnp.array(label_maps)

    def step(self, variables, state, frames):
        self.shapes.add(frames.shape)
        assert frames.devices() == {jax.local_devices()[1]}
        return state, state + frames[..., 0], None


@pytest.fixture(autouse=True)
def no_thread_outlives_the_batch():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def video(number, count, got, *, size=SIZE, last_size=SIZE):
    sizes = [size] * (count - 1) + [last_size] * (count > 0)
    frames = (Frame(f"{i:05d}", np.full((*s, 3), i, np.uint8)) for i, s in enumerate(sizes))
    sink = lambda frame, labels: got.append((number, frame.name, np.unique(labels).tolist()))
    return Video(f"video {number}", frames, np.full(SIZE, 10 * number, np.uint8), sink)


def run(videos, **options):
    tracker = AddingTracker()
    return tracker, track_in_lockstep(tracker, jnp.ones(()), videos, device=jax.local_devices()[1], **options)


def test_every_video_gets_its_own_frames_and_labels_to_its_own_end():
    counts, got, done = (5, 2, 7), ([], [], []), []
    tracker, reports = run([video(i, count, got[i]) for i, count in enumerate(counts)], progress=done.append)
    for i, count in enumerate(counts):
        assert got[i] == [(i, f"{t:05d}", [10 * i + t]) for t in range(count)]
    assert tracker.shapes == {(3, *SIZE, 3)}, "the batch keeps its shape as videos end"
    assert [report.frames for report in reports] == list(counts)
    assert done == list(range(1, 8))
    assert 0 < 3 * reports[0].median_milliseconds_per_frame / 1e3 < reports[0].seconds


def test_errors_begin_with_the_name_of_the_video():
    with pytest.raises(InputError, match="video 1: frame 00002 is 8x5 and the first mask 8x6: all frames"):
        run([video(0, 4, []), video(1, 3, [], last_size=(5, 8))])
    with pytest.raises(InputError, match="video 1: the video has no frames"):
        run([video(0, 4, []), video(1, 0, [])])

    def full(frame, labels):
        raise InputError("no space left")

    with pytest.raises(InputError, match="video 1: no space left"):
        run([video(0, 1000, []), video(1, 3, [])._replace(sink=full)])
