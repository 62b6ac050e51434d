import itertools
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ranet_jax.errors import InputError
from ranet_jax.io.levels import EightBits, Levels, parse_levels
from ranet_jax.io.video import TruncatedVideoError, open_frames, read_frame, read_picture

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
    save_gray(tmp_path / "0.bmp", 0)
    with pytest.raises(InputError, match="single picture"):
        open_frames(tmp_path / "0.bmp")
    (tmp_path / "0.bmp").unlink()
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


def test_what_is_on_disk_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "97").mkdir()
    save_gray(tmp_path / "97" / "a.png", 7)
    with open_frames("97") as reader:
        assert not reader.live
        assert [frame.name for frame in reader] == ["a"]
    for source in ("camera:97", "98"):
        with pytest.raises(InputError, match=r"camera 9[78] gives no picture"):
            open_frames(source)


def test_addresses_are_refused_with_the_right_words():
    for source in ("https://example.org/a.mp4", "rtsp://camera.example/1"):
        with pytest.raises(InputError, match="download the video"):
            open_frames(source)


def test_the_mask_among_the_frames_is_left_out_and_said(tmp_path):
    for name in ("00000.png", "00001.png", "00000_mask.png", "first.png"):
        save_gray(tmp_path / name, 0)
    with open_frames(tmp_path, without=[tmp_path / "first.png"]) as reader:
        assert [frame.name for frame in reader] == ["00000", "00001"]
    assert len(reader.notes) == 2
    assert "first.png" in reader.notes[0]
    assert "00000_mask.png" in reader.notes[1]


def test_one_frame_to_draw_on(tmp_path):
    for index in range(3):
        save_gray(tmp_path / f"{index}.png", 10 * index)
    assert read_frame(tmp_path, 2).image[0, 0, 0] == 20
    with pytest.raises(InputError, match="has 3 frames, numbered from 0: there is no frame 3"):
        read_frame(tmp_path, 3)


def test_deep_frames_are_scaled_alike_and_said_once(tmp_path, rng):
    counts = rng.integers(51000, 52020, (2, 40, 50))
    counts[1] += 300
    for index, values in enumerate(counts):
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"{index}.png")
    with open_frames(tmp_path) as reader:
        (note,) = reader.notes
        first, second = (frame.image for frame in reader)
    assert "51000 to 52019" in note or "51001 to" in note
    assert first.min() == 0
    assert first.max() == 255
    assert second.mean() > first.mean() + 50
    with open_frames(tmp_path, levels=Levels(0, 104040)) as reader:
        assert reader.notes == ()
        assert abs(int(next(reader).image.mean()) - 126) <= 1


def test_every_form_of_deep_pictures(tmp_path, rng):
    """A ramp over a twelfth of the range is a ramp of 8 bits, whatever file it lies in."""
    ramp = np.linspace(0, 4095, 60)[None].repeat(4, axis=0)
    colours = np.stack([ramp, ramp[:, ::-1], ramp], axis=-1)
    files = {
        "gray.png": ramp.astype(np.uint16),
        "colours.png": colours.astype(np.uint16),
        "gray.tif": ramp.astype(np.uint16),
        "colours.tif": colours.astype(np.uint16),
        "float.tif": (ramp / 10).astype(np.float32),
        "colour_floats.tif": colours.astype(np.float32),
        "gray.pgm": ramp.astype(np.uint16),
        "colours.ppm": colours.astype(np.uint16),
        "floats.pfm": colours.astype(np.float32),
    }
    for name, values in files.items():
        assert cv2.imwrite(str(tmp_path / name), values[..., ::-1] if values.ndim == 3 else values)
        to_eight_bits = EightBits()
        image = read_picture(tmp_path / name, to_eight_bits)
        assert image.shape == (4, 60, 3)
        np.testing.assert_allclose(image[0, :, 0], np.linspace(0, 255, 60), atol=1.5, err_msg=name)
        if values.ndim == 3:
            np.testing.assert_allclose(image[0, :, 1], np.linspace(255, 0, 60), atol=1.5, err_msg=name)
        assert "scaled to 8 bits" in to_eight_bits.note


def test_a_turned_picture_of_deep_colours(tmp_path):
    values = np.zeros((20, 30, 3), np.uint16)
    values[:, -1] = 65535
    values[:10, :15, 0] = 40000
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        encoded = (tmp_path / "a.png").read_bytes()
        body = exif.tobytes()[6:]
        chunk = struct.pack(">I", len(body)) + b"eXIf" + body
        chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
        (tmp_path / "b.png").write_bytes(encoded[:33] + chunk + encoded[33:])
        with Image.open(tmp_path / "b.png") as image:  # Pillow's own turning, of the upper 8 bits
            expected = np.array(ImageOps.exif_transpose(image))
        np.testing.assert_allclose(read_picture(tmp_path / "b.png"), expected, atol=1, err_msg=str(orientation))


@pytest.mark.parametrize(("values", "black", "white"), [([0, 65535], 0, 65535), ([7, 7], 0, 65535), ([0, 0], 0, 65535)])
def test_frames_that_fill_their_range_or_are_blank_keep_it(values, black, white):
    to_eight_bits = EightBits()
    values = np.array([values], np.uint16)
    np.testing.assert_array_equal(to_eight_bits(values, "a"), Levels(black, white).apply(values))
    assert to_eight_bits.note is None


def test_floats_that_are_no_numbers():
    to_eight_bits = EightBits()
    assert to_eight_bits(np.array([[0.0, 1.0, np.nan]], np.float32), "a").tolist() == [[0, 255, 0]]
    with pytest.raises(InputError, match="holds no number"):
        EightBits()(np.full((2, 2), np.nan, np.float32), "a")


def test_ranges_are_parsed_and_not_for_8_bits(tmp_path):
    assert parse_levels("51000:52020") == Levels(51000, 52020)
    assert parse_levels("-0.5:1e3") == Levels(-0.5, 1000)
    for text in ("", "5", "5:", "5:5", "6:5", "a:b", "0:nan", "0:inf"):
        with pytest.raises(InputError, match="LOW:HIGH"):
            parse_levels(text)
    save_gray(tmp_path / "0.png", 0)
    with pytest.raises(InputError, match="8 bits"):
        open_frames(tmp_path, levels=Levels(0, 1))


def test_the_shared_folders_of_frames(shared, tmp_path):
    script = shared("cases/folders.py")
    shared("data/DAVIS/JPEGImages/480p/bear")
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path], check=True, capture_output=True)
    with open_frames(tmp_path / "tif") as reader:
        bear = [frame.image for frame in reader]
    for name in ("webp", "bmp", "tiff", "jp2", "ppm", "jfif", "avif", "RGBA", "rgb16", "CMYK", "exif_mixed"):
        with open_frames(tmp_path / name) as reader:
            images = [frame.image for frame in reader] if name != "exif_mixed" else [next(reader).image]
        assert np.abs(images[0].astype(int) - bear[0]).mean() < 12, name
    with open_frames(tmp_path / "gray16") as reader:
        assert "scaled to 8 bits" in reader.notes[0]
        image = next(reader).image
    assert np.abs(image[..., 0].astype(int) - bear[0].mean(-1)).mean() < 25
    for name in ("broken_last", "empty_last"):
        with open_frames(tmp_path / name) as reader, pytest.raises(InputError, match=r"00002\.jpg"):
            list(reader)
