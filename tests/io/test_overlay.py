import time

import av
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io import encoder
from ranet_jax.io.masks import DAVIS_PALETTE
from ranet_jax.io.overlay import OverlayWriter, draw_overlay
from ranet_jax.io.video import TruncatedVideoError, open_frames
from tests.io.test_video import moving_texture


def two_squares():
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 10:30] = 1
    labels[10:30, 30:50] = 200
    return labels


def test_colours_outlines_and_edges():
    image = np.full((480, 854, 3), 100, np.uint8)
    labels = np.zeros((480, 854), np.uint8)
    labels[:40, :60] = two_squares()
    drawn = draw_overlay(image, labels, opacity=0.5)
    assert drawn.shape == image.shape
    np.testing.assert_array_equal(drawn[20, 20], (100 + DAVIS_PALETTE[1].astype(int)) // 2)
    np.testing.assert_allclose(drawn[20, 40], (100.0 + DAVIS_PALETTE[200]) / 2, atol=1)
    np.testing.assert_array_equal(drawn[20, 10:12], DAVIS_PALETTE[[1, 1]])  # outlines, inside
    np.testing.assert_array_equal(drawn[20, 28:32], DAVIS_PALETTE[[1, 1, 200, 200]])
    np.testing.assert_array_equal(drawn[20, 12], drawn[20, 20])
    np.testing.assert_array_equal(drawn[9, 20], [0, 0, 0])  # dark edge, outside
    np.testing.assert_array_equal(drawn[20, 50], [0, 0, 0])
    np.testing.assert_array_equal(drawn[8, 20], [100, 100, 100])
    assert (image == 100).all()
    np.testing.assert_array_equal(labels[:40, :60], two_squares())


@pytest.mark.parametrize(("height", "inside", "outside"), [(120, 1, 1), (480, 2, 1), (1080, 4, 2), (2160, 9, 4)])
def test_outlines_grow_with_the_resolution(height, inside, outside):
    labels = np.zeros((height, height + 100), np.uint8)
    labels[height // 4 :, height // 2 :] = 1
    row = draw_overlay(np.full((*labels.shape, 3), 100, np.uint8), labels, opacity=0.5)[-30]
    assert np.count_nonzero((row == DAVIS_PALETTE[1]).all(axis=-1)) == inside
    assert np.count_nonzero((row == 0).all(axis=-1)) == outside


def test_a_frame_without_objects_stays_as_it_is(rng):
    image = rng.integers(0, 256, (31, 17, 3)).astype(np.uint8)
    np.testing.assert_array_equal(draw_overlay(image, np.zeros((31, 17), np.uint8)), image)


def test_objects_at_the_border_and_read_only_inputs(rng):
    image = rng.integers(0, 256, (31, 17, 3)).astype(np.uint8)
    labels = np.full((31, 17), 3, np.uint8)
    labels.setflags(write=False)  # as arrays from the device are
    image.setflags(write=False)
    drawn = draw_overlay(image, labels, opacity=0.0)
    np.testing.assert_array_equal(drawn, image)  # the border of the picture is no outline
    np.testing.assert_array_equal(draw_overlay(image, labels, opacity=1.0), DAVIS_PALETTE[labels])


def test_drawing_is_fast(rng):
    image = rng.integers(0, 256, (480, 854, 3)).astype(np.uint8)
    labels = np.kron(rng.integers(0, 4, (48, 61)), np.ones((10, 14))).astype(np.uint8)
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        draw_overlay(image, labels)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 5e-3


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("size", [(96, 128), (97, 131), (1, 1)])
@pytest.mark.parametrize("frames_per_second", [12.5, 29.97])
def test_videos_of_any_size(tmp_path, suffix, size, frames_per_second):
    images = moving_texture(5, *size)
    path = tmp_path / "new" / f"overlay{suffix}"
    with OverlayWriter(path, size, frames_per_second) as writer:
        for image in images:
            writer.write(image)
        assert not path.exists()
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    even = size[0] + size[0] % 2, size[1] + size[1] % 2
    with open_frames(path) as reader:
        assert reader.size == (size if suffix == ".gif" else even)
        frames = list(reader)
    tolerance = 0.011 if suffix == ".gif" else 0.002
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(5) / frames_per_second, atol=tolerance)
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.image[: size[0], : size[1]].astype(int) - image).mean() < (8 if size > (1, 1) else 30)
        if size[0] % 2 and suffix != ".gif":
            assert np.abs(frame.image[-1].astype(int) - frame.image[-2]).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_the_time_of_the_frames_is_kept(tmp_path, suffix):
    """Also the last picture has its time, and times that do not rise give no error."""
    seconds = [0.0, 0.04, 0.08, 0.5, 0.54, 2.0, 2.04]
    images = moving_texture(len(seconds))
    path = tmp_path / f"a{suffix}"
    with OverlayWriter(path, (96, 128), 25) as writer:
        for image, second in zip(images, seconds, strict=True):
            writer.write(image, second)
    with open_frames(path) as reader:
        np.testing.assert_allclose([frame.seconds for frame in reader], seconds, atol=2e-3)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(2.08, abs=0.011)
    with OverlayWriter(path, (96, 128), 25) as writer:
        for image, second in zip(images, [0.0, 0.04, 0.04, 0.02, 0.08, 0.12, 0.16], strict=True):
            writer.write(image, second)
    with open_frames(path) as reader:
        shown = [frame.seconds for frame in reader]
    assert len(shown) == (5 if suffix == ".gif" else 7)
    assert (np.diff(shown) > 0).all()


def test_browsers_play_it(tmp_path):
    """H.264 of 4:2:0 with the index first, in the colours it says; VP9 in WebM."""
    path = tmp_path / "a.mp4"
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32], image[32:, :32], image[32:, 32:] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
    write_all(path, [image] * 3)
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frame = next(container.decode(stream))
        assert (frame.colorspace, frame.color_range) == (1, 1)
    with open_frames(path) as reader:
        shown = next(reader).image.astype(int)
    for place in ((16, 16), (48, 16), (48, 48)):
        np.testing.assert_allclose(shown[place], image[place], atol=6)
    write_all(tmp_path / "a.webm", [image] * 3)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.streams.video[0].codec_context.name == "vp9"


def write_one_picture_and_fail(path, error):
    with OverlayWriter(path, (32, 32), 24) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
        raise error


@pytest.mark.parametrize("error", [RuntimeError("fault"), KeyboardInterrupt()])
def test_an_error_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        write_one_picture_and_fail(tmp_path / "overlay.mp4", error)
    assert list(tmp_path.iterdir()) == []


def test_what_was_decoded_of_a_truncated_video_is_kept(tmp_path):
    path = tmp_path / "overlay.mp4"
    with pytest.raises(TruncatedVideoError):
        write_one_picture_and_fail(path, TruncatedVideoError("a.mp4", 1, 9))
    with open_frames(path) as reader:
        assert len(list(reader)) == 1


def test_no_pictures_no_file(tmp_path):
    with OverlayWriter(tmp_path / "overlay.mp4", (32, 32), 24):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"\.mp4, \.webm, \.gif: change its suffix"):
        OverlayWriter(tmp_path / "overlay.avi", (32, 32), 24)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file, not a folder"):
        OverlayWriter(tmp_path / "file" / "overlay.mp4", (32, 32), 24)
    monkeypatch.setattr(encoder, "_can_encode", lambda name: False)
    with pytest.raises(InputError, match=r"no encoder for \.mp4 \(libx264 or"):
        OverlayWriter(tmp_path / "overlay.mp4", (32, 32), 24)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def write_all(path, images):
    with OverlayWriter(path, images[0].shape[:2], 24) as writer:
        for image in images:
            writer.write(image)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_a_disk_that_fills_up(tmp_path, suffix):
    """A limit on the size of files stands for the full disk."""
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (20, 96, 128, 3)).astype(np.uint8)
    path = tmp_path / f"overlay{suffix}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*overlay.*room"):
            write_all(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_without_an_encoder_for_h264_another_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "_can_encode", lambda name: name == "libvpx-vp9")
    path = tmp_path / "a.mp4"
    write_all(path, moving_texture(4))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "vp9"


def test_a_picture_of_another_size_is_a_fault_of_the_caller(tmp_path):
    images = [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 34, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"\(32, 34\).*\(32, 32\)"):
        write_all(tmp_path / "overlay.mp4", images)
