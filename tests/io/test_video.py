import itertools
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.video import TruncatedVideoError, open_frames, read_picture

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG"}


def moving_texture(count, height=96, width=128):
    texture = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    texture = cv2.GaussianBlur(texture, (9, 9), 3)
    return [np.roll(texture, 2 * step, axis=1) for step in range(count)]


def write_video(path, images, frames_per_second=12.5, codec=None):
    height, width = images[0].shape[:2]
    fourcc = cv2.VideoWriter.fourcc(*(codec or CODECS[path.suffix]))
    video = cv2.VideoWriter(str(path), fourcc, frames_per_second, (width, height))
    assert video.isOpened()
    for image in images:
        video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    video.release()
    return path


def index_first(path):
    """Moves the index (`moov`) of an mp4 before its data, as players like it, and drops the rest."""
    content = path.read_bytes()
    blocks, start = {}, 0
    while start < len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        blocks[content[start + 4 : start + 8]] = (start, content[start : start + length])
        start += length
    index = bytearray(blocks[b"moov"][1])
    table = index.find(b"stco") + 8
    (entries,) = struct.unpack(">I", index[table : table + 4])
    moved = len(blocks[b"ftyp"][1]) + len(index) - blocks[b"mdat"][0]
    for position in range(table + 4, table + 4 + 4 * entries, 4):
        (offset,) = struct.unpack(">I", index[position : position + 4])
        index[position : position + 4] = struct.pack(">I", offset + moved)
    path.write_bytes(blocks[b"ftyp"][1] + bytes(index) + blocks[b"mdat"][1])
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def decode_until_error(path):
    frames = []
    with open_frames(path) as reader, pytest.raises(TruncatedVideoError) as raised:
        frames.extend(reader)
    return frames, raised.value


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi"])
def test_a_video_file(tmp_path, suffix):
    images = moving_texture(12)
    with open_frames(write_video(tmp_path / f"a{suffix}", images)) as reader:
        assert reader.size == (96, 128)
        assert reader.frames_per_second == 12.5
        assert reader.count == 12
        frames = list(reader)
        assert list(reader) == []  # once
    assert [frame.name for frame in frames] == [f"{index:05d}" for index in range(12)]
    for frame, image in zip(frames, images, strict=True):
        assert frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - image).mean() < 6  # right frame, and RGB rather than BGR


@pytest.mark.parametrize("codec", ["mp4v", "MJPG"])
def test_an_mp4_cut_in_the_middle(tmp_path, codec):
    images = moving_texture(40)
    path = cut(index_first(write_video(tmp_path / "a.mp4", images, codec=codec)), 0.6)
    frames, error = decode_until_error(str(path))
    assert 5 < len(frames) < 40
    assert (error.decoded, error.announced) == (len(frames), 40)
    assert f"{len(frames)} of its 40 frames" in str(error)
    for frame, image in itertools.islice(zip(frames, images, strict=False), len(frames) - 1):
        assert np.abs(frame.image.astype(int) - image).mean() < 6


@pytest.mark.parametrize("codec", ["MJPG", "XVID"])
def test_an_avi_cut_in_the_middle(tmp_path, codec):
    path = cut(write_video(tmp_path / "a.avi", moving_texture(40), codec=codec), 0.6)
    frames, error = decode_until_error(path)
    assert 5 < len(frames) < 40
    assert (error.decoded, error.announced) == (len(frames), 40)


def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path):
    """A clip copied out of a video without re-encoding announces frames before its start."""
    path = write_video(tmp_path / "a.mp4", moving_texture(40), frames_per_second=10)
    content = bytearray(path.read_bytes())
    edits = content.find(b"elst")
    if edits < 0:
        pytest.skip("this FFmpeg writes no edit list")
    duration, first = struct.unpack(">Ii", content[edits + 12 : edits + 20])
    timescale = struct.unpack(">I", content[content.find(b"mdhd") + 16 : content.find(b"mdhd") + 20])[0]
    content[edits + 12 : edits + 20] = struct.pack(">Ii", duration - duration // 4, first + timescale)
    path.write_bytes(content)
    with open_frames(path) as reader:
        assert len(list(reader)) < reader.count


def test_a_file_that_lacks_only_what_follows_the_frames_is_whole(tmp_path):
    path = index_first(write_video(tmp_path / "a.mp4", moving_texture(12)))
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 1000, b"free") + b"little")
    with open_frames(path) as reader:
        assert len(list(reader)) == 12


def test_files_that_cannot_be_decoded(tmp_path):
    without_index = cut(write_video(tmp_path / "a.mp4", moving_texture(12)), 0.6)
    junk = tmp_path / "junk.avi"
    junk.write_bytes(b"no video" * 100)
    empty = tmp_path / "empty.mov"
    empty.touch()
    for path in (without_index, junk, empty):
        with pytest.raises(InputError, match=f"cannot decode .*{path.name}") as raised:
            open_frames(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="there is no video"):
        open_frames(tmp_path / "none.mp4")


def test_broken_files_and_absent_cameras_print_nothing(tmp_path):
    broken = cut(index_first(write_video(tmp_path / "a.mp4", moving_texture(40))), 0.6)
    without_index = cut(write_video(tmp_path / "b.mp4", moving_texture(40)), 0.5)
    avi = cut(write_video(tmp_path / "c.avi", moving_texture(40)), 0.6)
    program = (
        "import sys\n"
        "from ranet_jax.io.video import InputError, open_frames\n"
        "for source in sys.argv[1:]:\n"
        "    try:\n"
        "        list(open_frames(source))\n"
        "    except InputError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", program, str(broken), str(without_index), str(avi), "97"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    repository = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=repository)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4
    assert "camera 97" in done.stdout


def test_a_real_folder(shared):
    folder = shared("data/DAVIS/JPEGImages/480p/car-shadow")
    with open_frames(folder) as reader:
        assert (reader.size, reader.count, reader.frames_per_second) == ((480, 854), 40, 24.0)
        frames = list(itertools.islice(reader, 2))
    assert [frame.name for frame in frames] == ["00000", "00001"]
    decoded = cv2.cvtColor(cv2.imread(str(folder / "00001.jpg")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(frames[1].image, decoded)


def save_gray(path, value, size=(6, 4)):
    Image.new("L", size, value).save(path)


def test_a_folder_is_sorted_by_number_and_other_files_are_left_out(tmp_path):
    for number in (10, 9, 1, 100):
        save_gray(tmp_path / f"frame{number}.{'JPG' if number == 9 else 'png'}", number)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._frame1.png").touch()
    (tmp_path / "frame5").mkdir()
    with open_frames(str(tmp_path)) as reader:
        frames = list(reader)
    assert [frame.name for frame in frames] == ["frame1", "frame9", "frame10", "frame100"]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 9, 10, 100]
    assert all(frame.image.shape == (4, 6, 3) for frame in frames)


def test_folders_that_are_wrong(tmp_path):
    with pytest.raises(InputError, match="holds no"):
        open_frames(tmp_path)
    save_gray(tmp_path / "0.png", 0)
    with pytest.raises(InputError, match="single picture"):
        open_frames(tmp_path / "0.png")
    save_gray(tmp_path / "1.png", 0, size=(4, 6))
    with open_frames(tmp_path) as reader, pytest.raises(InputError, match=r"1\.png is 4x6 .* 6x4"):
        list(reader)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:45])
    reader = open_frames(tmp_path)
    assert next(reader).name == "0"
    with pytest.raises(InputError, match=r"cannot read the picture .*1\.png"):
        next(reader)
    save_gray(tmp_path / "0.jpg", 0)
    with pytest.raises(InputError, match=r"0\.jpg .*0\.png|0\.png .*0\.jpg"):
        open_frames(tmp_path)


def test_pictures_of_any_mode_become_upright_rgb(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(path)
    assert read_picture(path).tolist() == [[[0] * 3, [1] * 3, [255] * 3]]
    Image.new("RGBA", (1, 1), (10, 20, 30, 0)).save(path)
    assert read_picture(path).tolist() == [[[10, 20, 30]]]
    Image.new("P", (1, 1), 1).save(path)
    assert read_picture(path).shape == (1, 1, 3)
    gradient = Image.fromarray(np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[None], 20, axis=0))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: to be shown a quarter turn clockwise
    gradient.save(tmp_path / "a.jpg", exif=turned)
    upright = read_picture(tmp_path / "a.jpg")
    assert upright.shape == (30, 20, 3)
    assert upright[0].mean() < 20 < 200 < upright[-1].mean()


def test_a_cut_off_jpeg_is_refused(shared, tmp_path):
    content = shared("data/DAVIS/JPEGImages/480p/car-shadow/00000.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.jpg"):
        open_frames(tmp_path)


def test_stop_ends_the_frames(tmp_path):
    with open_frames(write_video(tmp_path / "a.mp4", moving_texture(12))) as reader:
        next(reader)
        reader.stop()
        assert list(reader) == []
