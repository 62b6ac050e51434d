"""Video files as people have them. Right is what FFmpeg's own program shows, where it is there to be asked."""

import fractions
import itertools
import os
import random
import subprocess
import sys

import av
import av.logging
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.levels import Levels
from ranet_jax.io.video import DamagedVideoError, IncompleteVideoError, TruncatedVideoError, open_frames, read_frame

CLOCK = fractions.Fraction(1, 12800)


def card(index, size=(96, 128)):
    """A picture that shows how it is turned, and which one it is."""
    image = np.full((*size, 3), 90, np.uint8)
    height, width = size
    image[: height // 3, : width // 3] = (220, 30, 30)
    image[: height // 3, -width // 3 :] = (30, 220, 30)
    image[-height // 3 :, : width // 3] = (30, 30, 220)
    image[40:56, 4 + 4 * index : 20 + 4 * index] = (250, 250, 20)
    return image


def write_video(
    path,
    count=24,
    *,
    codec="libx264",
    pixels="yuv420p",
    seconds=None,
    options=None,
    form=None,
    images=None,
    clock=CLOCK,
):
    """Writes cards with PyAV, at 25 frames a second or at the given times."""
    seconds = seconds or [index / 25 for index in range(count)]
    images = images or [card(index) for index in range(count)]
    with av.open(str(path), "w", format=form, options=(options or {}).get("container", {})) as container:
        stream = container.add_stream(codec, rate=25, options=(options or {}).get("codec", {}))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = clock
        if options and "rotation" in options:
            stream.set_display_matrix(options["rotation"])
        for image, second in zip(images, seconds, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="gray16le" if image.dtype == np.uint16 else "rgb24")
            frame.pts, frame.time_base = round(second / clock), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path):
    """Frames, and the error with which they ended."""
    frames = []
    try:
        with open_frames(path) as reader:
            frames.extend(reader)
    except InputError as error:
        return frames, error
    return frames, None


FORMS = {
    "h264.mp4": {"options": {"container": {"movflags": "+faststart"}}},
    "h264.mkv": {},
    "h264.ts": {"options": {"codec": {"g": "8"}}},
    "h264.m2ts": {"options": {"container": {"mpegts_m2ts_mode": "1"}}},
    "h264.avi": {},
    "h264.flv": {},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"codec": {"g": "6"}}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"container": {"movflags": "+faststart"}}},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"codec": {"bf": "2"}}},
    "mpeg2.mpg": {"codec": "mpeg2video", "clock": fractions.Fraction(1, 25)},
    "whole.mkv": {"codec": "ffv1", "pixels": "bgr0"},
    "moving.gif": {"codec": "gif", "pixels": "rgb8"},
    "moving.png": {"codec": "apng", "pixels": "rgb24", "form": "apng"},
}


@pytest.fixture(scope="module", params=FORMS)
def video(request, tmp_path_factory):
    form = dict(FORMS[request.param])
    if form.get("codec", "libx264") not in av.codecs_available:
        pytest.skip(f"this PyAV does not write {form['codec']}")
    return write_video(tmp_path_factory.mktemp("forms") / request.param, **form)


def test_frames_of_every_form_come_in_order_and_in_time(video):
    frames, error = read(video)
    assert error is None
    assert [frame.name for frame in frames] == [f"{index:05d}" for index in range(24)]
    assert frames[0].seconds == 0
    steps = np.diff([frame.seconds for frame in frames])
    np.testing.assert_allclose(steps.sum(), 23 / 25, atol=0.05)
    assert (steps > 0).all()
    for index, frame in enumerate(frames):
        tolerance = 35 if video.suffix == ".gif" else 6  # a GIF of 256 colours
        assert np.abs(frame.image.astype(int) - card(index)).mean() < tolerance


def test_a_cut_ends_with_a_word_and_without_a_wrong_frame(video):
    """Wherever a file is cut, its frames are the first ones of the whole file, and it is said that some are missing."""
    whole, _ = read(video)
    content = video.read_bytes()
    path = video.with_name(f"cut{video.suffix}")
    generator = random.Random(0)
    most = 0
    for _ in range(12):
        path.write_bytes(content[: generator.randrange(len(content) // 10, len(content) - 20)])
        frames, error = read(path)
        for frame, expected in zip(frames, whole, strict=False):
            np.testing.assert_array_equal(frame.image, expected.image)
        # FLV and MPEG program streams announce no length: a cut just behind a frame does not show.
        if len(frames) < len(whole) and video.suffix not in (".flv", ".mpg"):
            assert isinstance(error, InputError)
            assert "\n" not in str(error)
        if frames and error:
            assert isinstance(error, TruncatedVideoError)
            assert error.decoded == len(frames)
            assert "cut off" in str(error)
        most = max(most, len(frames))
    assert most > 0


def flipped(matrix):
    return {
        "none": lambda image: image,
        "mirrored": lambda image: image[:, ::-1],
        "upside down": lambda image: image[::-1],
        "turned": lambda image: image[::-1, ::-1],
        "quarter": lambda image: np.rot90(image),
        "three quarters": lambda image: np.rot90(image, 3),
        "transposed": lambda image: image.swapaxes(0, 1),
        "anti-transposed": lambda image: np.rot90(image, 2).swapaxes(0, 1),
    }[matrix]


ONE = 1 << 16
MATRICES = {
    "none": (ONE, 0, 0, ONE),
    "mirrored": (-ONE, 0, 0, ONE),
    "upside down": (ONE, 0, 0, -ONE),
    "turned": (-ONE, 0, 0, -ONE),
    "quarter": (0, -ONE, ONE, 0),
    "three quarters": (0, ONE, -ONE, 0),
    "transposed": (0, ONE, ONE, 0),
    "anti-transposed": (0, -ONE, -ONE, 0),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("plain") / "plain.mp4")


def with_matrix(path, target, matrix):
    """Writes other numbers into the display matrix of an mp4's track header, as cameras do."""
    a, b, c, d = matrix
    content = bytearray(path.read_bytes())
    start = content.find(b"tkhd") + 4 + 40
    numbers = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4")
    content[start : start + 36] = numbers.tobytes()
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("name", MATRICES)
def test_turned_and_mirrored_videos_are_upright(plain, tmp_path, name):
    stored = read_frame(plain, 0).image
    path = with_matrix(plain, tmp_path / "a.mp4", MATRICES[name])
    expected = flipped(name)(stored)
    with open_frames(path) as reader:
        assert reader.size == expected.shape[:2]
        np.testing.assert_array_equal(next(reader).image, expected)
    asked = shown_by_ffmpeg(path, expected.shape[:2])
    np.testing.assert_allclose(expected, asked[0], atol=1)


def shown_by_ffmpeg(path, size):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        path,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, *size, 3)


def test_colours_order_and_number_are_those_of_ffmpeg(video):
    frames, _ = read(video)
    shown = shown_by_ffmpeg(video, frames[0].image.shape[:2])
    assert len(shown) == len(frames)
    np.testing.assert_allclose(np.stack([frame.image for frame in frames]).astype(int), shown, atol=2)


@pytest.mark.parametrize(
    ("matrix", "span"), [("bt709", "tv"), ("bt709", "pc"), ("smpte170m", "tv"), ("smpte170m", "pc")]
)
def test_colours_follow_the_matrix_and_the_range_that_the_file_names(tmp_path, matrix, span):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    path = tmp_path / "a.mp4"
    raw = np.stack([card(index) for index in range(4)]).tobytes()
    command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x96", "-i", "-"]
    command += ["-vf", f"scale=out_color_matrix={matrix}:out_range={span},format=yuv444p", "-crf", "4"]
    subprocess.run([*command, "-colorspace", matrix, "-color_range", span, path], input=raw, check=True)
    frames, _ = read(path)
    assert np.abs(frames[0].image.astype(int) - card(0)).mean() < 2


def test_a_file_whose_clock_is_no_frame_rate_keeps_its_time(tmp_path, rng):
    """A WebM of irregular time stamps, whose default duration is one tick: its rate is announced as 1000."""
    seconds = np.cumsum(rng.uniform(0.02, 0.055, 90))
    seconds = list(np.round(seconds - seconds[0], 3))
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=1000, options={"deadline": "realtime", "cpu-used": "8"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, 1000)
        for index, second in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(card(index % 24), format="rgb24")
            frame.pts, frame.time_base = round(1000 * second), fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_frames(path) as reader:
        assert reader.frames_per_second <= 480
        np.testing.assert_allclose([frame.seconds for frame in reader], seconds, atol=2e-3)


def test_variable_rates(tmp_path):
    seconds = [0, 0.04, 0.08, 0.5, 0.54, 2.0, 2.04]
    frames, _ = read(write_video(tmp_path / "a.mp4", 7, seconds=seconds))
    np.testing.assert_allclose([frame.seconds for frame in frames], seconds, atol=1e-3)


def test_no_decoder_is_told_from_no_video(plain, tmp_path):
    content = plain.read_bytes()
    (tmp_path / "a.mp4").write_bytes(content.replace(b"avc1", b"XYZ7"))
    level = av.logging.get_level()
    with pytest.raises(InputError, match=r"a\.mp4: there is no decoder here for its codec XYZ7: convert it"):
        open_frames(tmp_path / "a.mp4")
    assert av.logging.get_level() == level
    webm = write_video(tmp_path / "a.webm", 3, codec="libvpx-vp9").read_bytes()
    (tmp_path / "b.webm").write_bytes(webm.replace(b"V_VP9", b"V_VQ9"))
    with pytest.raises(InputError, match=r"no decoder here for its codec V_VQ9: convert"):
        open_frames(tmp_path / "b.webm")
    (tmp_path / "text.mp4").write_text("hello, this is no video\n" * 40)
    with pytest.raises(InputError, match="it is not a video"):
        open_frames(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="is empty"):
        open_frames(tmp_path / "empty.mp4")
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut off before its index"):
        open_frames(tmp_path / "cut.mp4")


def test_sound_alone_and_sound_with_a_cover_are_no_video(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no moving pictures"):
        open_frames(path)


def test_damage_in_the_middle_is_said_at_the_end(tmp_path):
    path = write_video(tmp_path / "a.mkv", codec="ffv1", pixels="bgr0", options={"codec": {"slicecrc": "1", "g": "1"}})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    position, size = packets[10]
    payload = content.find(b"\0", position) if size > 40 else position
    content[payload : payload + size - 8] = bytes(generator_bytes(size - 8))
    path.write_bytes(content)
    frames, error = read(path)
    assert isinstance(error, IncompleteVideoError) or len(frames) == 24
    if isinstance(error, DamagedVideoError):
        assert error.decoded == len(frames) == 24 - error.lost
        assert "damaged" in str(error)


def generator_bytes(count):
    return random.Random(1).randbytes(count)


def test_a_video_that_changes_its_size(tmp_path):
    first = write_video(tmp_path / "a.ts", 3)
    second = write_video(tmp_path / "b.ts", 3, images=[card(index, (64, 96)) for index in range(3)])
    both = tmp_path / "c.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    frames, error = read(both)
    assert len(frames) == 3
    assert "changes from 128x96 to 96x64 at frame 3" in str(error)


def test_gray_of_16_bits_is_scaled_like_pictures(tmp_path):
    counts = [np.linspace(51000 + 100 * i, 52020, 96 * 128).reshape(96, 128).astype(np.uint16) for i in range(3)]
    path = write_video(tmp_path / "a.mkv", 3, codec="ffv1", pixels="gray16le", images=counts)
    with open_frames(path) as reader:
        assert "51001 to 52019" in reader.notes[0] or "values from 5100" in reader.notes[0]
        images = [frame.image for frame in reader]
    assert (images[0].min(), images[0].max()) == (0, 255)
    assert images[2].min() > 40
    with open_frames(path, levels=Levels(0, 104040)) as reader:
        assert reader.notes == ()
        assert abs(int(next(reader).image.max()) - 127) <= 1


def test_only_as_much_as_is_asked_for_is_decoded(tmp_path):
    path = write_video(tmp_path / "a.mp4", 24)
    with open_frames(path) as reader:
        assert len(list(itertools.islice(reader, 3))) == 3
        reader.stop()
        assert list(reader) == []
    path.unlink()


def test_the_shared_videos_are_what_ffmpeg_shows(shared, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    environment = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}
    script = shared("cases/videos.sh")
    subprocess.run(["bash", script, tmp_path, ffmpeg], check=True, capture_output=True, env=environment)
    names = ("base.mp4", "mirrored.mp4", "rotated90.mp4", "rotated180.mp4", "rotated270.mp4", "av1.mp4", "whole.mkv")
    for name in (*names, "variable_rate.mp4", "trimmed.mp4"):
        frames, error = read(tmp_path / name)
        assert error is None
        shown = shown_by_ffmpeg(tmp_path / name, frames[0].image.shape[:2])
        assert len(frames) == len(shown) == (24 if name in names else 19)
        difference = np.abs(np.stack([frame.image for frame in frames]).astype(int) - shown)
        assert difference.mean() < 0.5, name
    (tmp_path / "cut.mkv").write_bytes((tmp_path / "whole.mkv").read_bytes()[:8500])
    frames, error = read(tmp_path / "cut.mkv")
    assert len(frames) == 11
    assert "cut off: 11 frames could be decoded" in str(error)
