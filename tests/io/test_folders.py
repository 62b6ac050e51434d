import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.folders import frame_files, naturally_sorted, pair_by_name


def listing(folder, *names, without=()):
    for name in names:
        (folder / name).touch()
    found = frame_files(folder, without=without)
    assert all(path.parent == folder for path in found.files)
    return [path.name for path in found.files], found.notes


@pytest.mark.parametrize(
    "stems",
    [
        ["-1", "0.5", "1", "2", "10"],
        ["-10", "-2.5", "-1", "0", "3"],
        ["frame_-1", "frame_0", "frame_1"],
        ["img-1", "img-2", "img-10"],
        ["frame8", "frame9", "frame10", "frame100"],
        ["img (1)", "img (2)", "img (10)"],
        ["2024-05-01 10.59.58", "2024-05-01 11.00.01", "2024-05-01 11.00.1.5"],
        ["1.9", "1.10", "1.11"],
        ["0.05", "0.1", "0.25", "0.5"],
        ["0.0", "0.5", "1.0", "1.25"],
        ["shot1.0009", "shot1.0010"],
        ["t=-0.5", "t=0", "t=0.25"],
        ["20241105123456788", "20241105123456789"],
        ["A1", "a2", "A3"],
    ],
)
def test_natural_order(stems):
    paths = [Path("f") / f"{stem}.png" for stem in stems]
    assert naturally_sorted(reversed(paths)) == tuple(paths)


def test_every_still_picture_is_a_frame_and_nothing_else(tmp_path):
    names = ["0.jpg", "1.JPEG", "2.webp", "3.bmp", "4.tif", "5.jp2", "6.ppm", "7.jfif", "8.avif", "9.hdr", "10.gif"]
    (tmp_path / "11.png").mkdir()
    assert listing(tmp_path, *names, "._0.jpg", ".12.png", "Thumbs.db", "notes.txt", "clip.mp4") == (names, ())


def test_the_mask_among_the_frames_is_no_frame(tmp_path):
    link = tmp_path / "link.png"
    for name in ("00000.jpg", "first.png"):
        (tmp_path / name).touch()
    os.link(tmp_path / "first.png", link)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "soft.png").symlink_to(link)
    names, notes = listing(tmp_path, "00001.jpg", without=[other / "soft.png", tmp_path / "absent.png"])
    assert names == ["00000.jpg", "00001.jpg"]
    assert len(notes) == 1
    assert "first.png, link.png left out (given as something else)" in notes[0]
    # The mask of the first frame may have the frame's name.
    names, notes = listing(tmp_path, "00000.png", without=[tmp_path / "00000.png", link])
    assert names == ["00000.jpg", "00001.jpg"]


@pytest.mark.parametrize("other", ["00000_mask.png", "00000-depth.png", "mask_00000.png", "first_mask.png", "gt.png"])
def test_pictures_made_from_frames_are_left_out_with_a_word(tmp_path, other):
    names, notes = listing(tmp_path, "00000.jpg", "00001.jpg", other)
    assert names == ["00000.jpg", "00001.jpg"]
    assert len(notes) == 1
    assert other in notes[0]
    assert "left out" in notes[0]


def test_a_folder_of_masks_alone_is_listed_whole(tmp_path):
    assert listing(tmp_path, "a_mask_2.png", "a_mask_10.png") == (["a_mask_2.png", "a_mask_10.png"], ())


def test_formats_that_nothing_decodes_are_named(tmp_path):
    (tmp_path / "IMG_1.heic").touch()
    with pytest.raises(InputError, match=r"IMG_1\.heic: convert"):
        frame_files(tmp_path)
    _, notes = listing(tmp_path, "IMG_2.jpg", *(f"IMG_{i}.heic" for i in range(3, 10)))
    assert "IMG_1.heic, IMG_3.heic" in notes[0]
    assert "and 3 more" in notes[0]


def test_folders_without_frames(tmp_path):
    with pytest.raises(InputError, match=r"holds no frames .*check the path"):
        frame_files(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        frame_files(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot read the folder"):
        frame_files(tmp_path / "file")
    (tmp_path / "bear").mkdir()
    (tmp_path / "bear" / "0.jpg").touch()
    with pytest.raises(InputError, match=r"\(bear\): give one of them"):
        frame_files(tmp_path)
    (tmp_path / "mask.png").touch()
    with pytest.raises(InputError, match=r"no frames but mask\.png"):
        frame_files(tmp_path, without=[tmp_path / "mask.png"])


def test_two_frames_of_one_name(tmp_path):
    with pytest.raises(InputError, match=r"0\.jpg .*0\.png|0\.png .*0\.jpg"):
        listing(tmp_path, "0.png", "0.jpg")


def paths(*names):
    return [Path(name) for name in names]


def test_pairs_are_made_by_name():
    frames, masks = paths("00000.jpg", "00001.jpg", "00008.jpg"), paths("8.png", "00001.png")
    pairing = pair_by_name(frames, masks)
    assert pairing.pairs == ((frames[1], masks[1]), (frames[2], masks[0]))
    assert pairing.frames == (frames[0],)
    assert pairing.masks == ()
    assert pairing.note() == "frames without a mask: 00000.jpg"
    assert pair_by_name(frames, paths("00000.png", "1.png", "bear_8.png")).note() is None


def test_numbers_that_two_files_have_pair_with_nothing():
    pairing = pair_by_name(paths("8.jpg", "a8.jpg"), paths("08.png"))
    assert pairing.pairs == ()
    assert pairing.note() == "frames without a mask: 8.jpg, a8.jpg; masks without a frame: 08.png"


def test_numbering_that_is_off_by_one_gets_a_hint():
    note = pair_by_name(paths("1.jpg", "2.jpg", "3.jpg"), paths("00000.png", "00001.png", "00002.png")).note()
    assert "frames are numbered from 1, masks from 0" in note
    assert "numbered" not in pair_by_name(paths("1.jpg", "2.jpg"), paths("0.png")).note()


def test_the_shared_folders(shared, tmp_path):
    script = shared("cases/folders.py")
    shared("data/DAVIS/JPEGImages/480p/bear")
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path], check=True, capture_output=True)
    for name in ("webp", "bmp", "tif", "tiff", "jp2", "ppm", "jfif", "avif", "mixed_webp_jpg", "JPEG", "rgb16"):
        found = frame_files(tmp_path / name)
        assert len(found.files) == (12 if name == "JPEG" else 3)
        assert found.notes == ()
    assert [path.stem for path in frame_files(tmp_path / "unpadded").files] == [str(i) for i in range(12)]
    names = [path.stem for path in frame_files(tmp_path / "sam2_names").files]
    assert names == ["frame_0", "frame_1", "frame_2", "frame_10"]
    assert "00000_mask.png" in frame_files(tmp_path / "gap_with_mask").notes[0]
