"""Whole videos from the library's side: masks at any frame, backwards, parts, cameras, and disks that are full."""

import contextlib
import itertools
import resource
import signal
import threading

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.frames import Frame, FrameReader
from ranet_jax.io.masks import read_label_map, write_label_map
from ranet_jax.networks import RANetConfig
from ranet_jax.runtime import segment
from ranet_jax.runtime.segment import Outputs, Span, segment_video
from ranet_jax.tracker import Tracker, TrackerConfig
from ranet_jax.weights import initial_variables

SIZE = (48, 80)


class Repeating:
    """A tracker that shows again what was given last, each object by itself; in black frames nothing."""

    def init(self, variables, frame, label_map):
        return jnp.asarray(label_map)

    def step(self, variables, state, frame):
        return state, jnp.where(jnp.any(frame > 0), state, jnp.zeros_like(state)), None

    def annotate(self, variables, state, frame, label_map):
        state = jnp.where(jnp.isin(state, label_map), 0, state)
        state = jnp.where(label_map > 0, label_map, state)
        return state, state, None


def run(folder, masks, *, out="out", tracker=None, **options):
    """Label maps by the names of frames, and the report."""
    outputs = Outputs(folder.parent / out, overwrite=options.pop("overwrite", False))
    report = segment_video(
        str(folder),
        masks,
        outputs,
        lambda size, objects: tracker or Repeating(),
        options.pop("variables", {}),
        **options,
    )
    return {path.stem: read_label_map(path) for path in sorted(outputs.folder.glob("*.png"))}, report


@pytest.fixture
def video(tmp_path, rng):
    folder = tmp_path / "video"
    folder.mkdir()
    for i in range(7):
        Image.fromarray(rng.integers(1, 255, (*SIZE, 3), dtype=np.uint8)).save(folder / f"{i:05d}.png")
    return folder


def mask(video, name, **places):
    """The value of `--mask`: object 7 in 12x12 pixels from column 3 on is `_7=3`."""
    labels = np.zeros(SIZE, np.uint8)
    for value, column in places.items():
        labels[10:22, column : column + 12] = int(value[1:])
    write_label_map(video.parent / name, labels)
    return str(video.parent / name), labels


def shown(label_map):
    return sorted({int(value) for value in np.unique(label_map)} - {0})


def test_masks_at_any_frame_are_exact_and_bring_their_objects(video):
    (first, one), (second, two) = mask(video, "a.png", _1=3), mask(video, "b.png", _1=20, _200=50)
    found, report = run(video, [first, f"4={second}"])
    assert [shown(found[f"{i:05d}"]) for i in range(7)] == [[1]] * 4 + [[1, 200]] * 3
    np.testing.assert_array_equal(found["00000"], one)
    np.testing.assert_array_equal(found["00004"], two)
    assert (report.frames, report.before, report.removed) == (7, 0, 0)
    assert report.absences == {1: [], 200: []}, "an object is not missed before it is given"


def test_frames_before_the_first_mask_are_empty_and_that_is_said(video):
    (path, _), notes = mask(video, "a.png", _1=3), []
    found, report = run(video, [f"3={path}"], note=notes.append)
    assert notes == ["the first mask is of frame 3: frames before it show nothing (see --backward)"]
    assert [shown(found[f"{i:05d}"]) for i in range(7)] == [[]] * 3 + [[1]] * 4
    assert (report.frames, report.before, report.stream.frames) == (7, 3, 7)
    assert report.absences == {1: []}


def test_backward_fills_them_and_goes_on_from_the_mask(video):
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(video / "00001.png")
    (first, one), (second, _) = mask(video, "a.png", _1=3), mask(video, "b.png", _9=40)
    notes, done = [], []
    found, report = run(
        video,
        [f"3={first}", f"5={second}"],
        span=Span(backward=True),
        note=notes.append,
        progress=lambda count, total: done.append((count, total)),
    )
    assert notes == []
    assert [shown(found[f"{i:05d}"]) for i in range(7)] == [[1], [], [1], [1], [1], [1, 9], [1, 9]]
    np.testing.assert_array_equal(found["00000"], one)
    assert report.absences == {1: [("00001", "00001")], 9: []}
    assert (report.frames, report.before, report.stream.frames) == (7, 3, 4)
    assert done == [(i, 7) for i in range(1, 8)]


def test_backward_from_the_last_frame_equals_forward_through_the_reversed_video(video, rng):
    config = RANetConfig.lite(
        backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
    )
    tracker, variables = Tracker(config, TrackerConfig.lite(), SIZE), initial_variables(config, seed=1)
    reversed_video = video.parent / "reversed"
    reversed_video.mkdir()
    for i, path in enumerate(sorted(video.iterdir(), reverse=True)):
        (reversed_video / f"{i:05d}.png").write_bytes(path.read_bytes())
    path, labels = mask(video, "a.png", _1=3, _5=40)
    backward, _ = run(video, [f"6={path}"], tracker=tracker, variables=variables, span=Span(backward=True))
    forward, _ = run(reversed_video, [path], out="out2", tracker=tracker, variables=variables)
    assert list(backward) == list(forward)
    for i in range(7):
        np.testing.assert_array_equal(backward[f"{i:05d}"], forward[f"{6 - i:05d}"])
    np.testing.assert_array_equal(backward["00006"], labels)
    assert np.any(backward["00003"] != labels), "the comparison is of something"


def test_a_part_keeps_its_names(video):
    path, labels = mask(video, "a.png", _1=3)
    found, report = run(video, [path], span=Span(2, 4))
    assert list(found) == ["00002", "00003", "00004"]
    np.testing.assert_array_equal(found["00002"], labels)
    found, report = run(video, [f"4={path}"], span=Span(2, 5, backward=True), out="out2")
    assert list(found) == ["00002", "00003", "00004", "00005"]
    assert (report.before, [shown(labels) for labels in found.values()]) == (2, [[1]] * 4)


@pytest.mark.parametrize(
    ("masks", "span", "message"),
    [
        (["1={}", "6={}"], Span(2), r"is the mask of frame 1, which is not segmented: change --start or --end"),
        (["5={}"], Span(0, 4), r"is the mask of frame 5, which is not segmented: change --start or --end"),
        (["{}"], Span(5, 4), r"--end 4 lies before --start 5: exchange them"),
        (["{}"], Span(7), r"the video has 7 frames, from 0, and no frame 7: choose an earlier --start"),
        (["3={}", "7={}"], Span(2), r"is the mask of frame 7 and the video has 7 frames, from 0"),
        ([], Span(), r"there is no mask"),
    ],
)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("count_is_known", [True, False])
def test_what_does_not_fit_the_video_is_said_in_its_own_numbers(
    video, monkeypatch, masks, span, message, backward, count_is_known
):
    if not count_is_known:  # as of Matroska files, whose end only reading them tells
        opened = segment.open_frames

        def open_frames(*arguments, **options):
            reader = opened(*arguments, **options)
            reader.count = None
            return reader

        monkeypatch.setattr(segment, "open_frames", open_frames)
    path, _ = mask(video, "a.png", _1=3)
    span = Span(span.start, span.end, backward)
    with pytest.raises(InputError, match=message):
        run(video, [value.format(path) for value in masks], span=span)
    out = video.parent / "out"
    if count_is_known:
        assert not out.exists()


def test_a_mask_among_the_frames_is_no_frame(video):
    path, _ = mask(video, "video/first.png", _1=3)
    notes = []
    found, _ = run(video, [path], note=notes.append)
    assert list(found) == [f"{i:05d}" for i in range(7)]
    assert notes == [f"{video}: first.png left out (given as something else)"]


@contextlib.contextmanager
def files_end_at(size):
    """No file may grow larger: to a program a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_without_room_for_results(video):
    path, _ = mask(video, "a.png", _1=3)
    with files_end_at(100), pytest.raises(InputError, match=r"cannot write .*00000\.png: the file would be larger"):
        run(video, [path])
    assert list((video.parent / "out").iterdir()) == []


def test_a_disk_without_room_for_what_lies_before_the_first_mask(video, tmp_path, monkeypatch):
    path, _ = mask(video, "a.png", _1=3)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    message = r"cannot keep what lies before the first mask \(TMPDIR says where\) in .*: the file would be larger"
    with files_end_at(5000), pytest.raises(InputError, match=message):
        run(video, [f"3={path}"], span=Span(backward=True))
    assert not list(tmp_path.glob("ranet-jax-*"))
    assert list((video.parent / "out").iterdir()) == []


def test_a_camera_ends_at_ctrl_c_and_keeps_what_was_done(tmp_path, rng, monkeypatch):
    image = rng.integers(1, 255, (*SIZE, 3), dtype=np.uint8)
    released = threading.Event()
    endless = (Frame(f"{i:05d}", image, i / 30) for i in itertools.count())
    reader = FrameReader(endless, size=SIZE, frames_per_second=30.0, count=None, release=released.set, live=True)
    monkeypatch.setattr(segment, "open_frames", lambda *arguments, **options: reader)
    (tmp_path / "video").mkdir()
    path, _ = mask(tmp_path / "video", "a.png", _1=3)
    before = signal.getsignal(signal.SIGINT)

    def interrupt(done, total):
        assert total is None
        if done == 5:
            signal.raise_signal(signal.SIGINT)

    outputs = Outputs(tmp_path / "out", overlay=tmp_path / "overlay.mp4")
    report = segment_video("camera:0", [path], outputs, lambda size, objects: Repeating(), {}, progress=interrupt)
    assert 5 <= report.frames < 100
    assert len(list((tmp_path / "out").iterdir())) == report.frames
    assert (tmp_path / "overlay.mp4").stat().st_size > 0
    assert released.is_set()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_is_not_held_up_where_the_source_ends_by_itself(video):
    path, _ = mask(video, "a.png", _1=3)

    class Interrupted(Repeating):
        def step(self, variables, state, frame):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(video, [path], tracker=Interrupted())
