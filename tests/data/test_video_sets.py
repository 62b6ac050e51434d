"""Small trees in the published layouts of YouTube-VOS, MOSE, LVOS and VOST."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from ranet_jax.data.annotations import FirstAnnotation
from ranet_jax.data.video_sets import VideoSet
from ranet_jax.errors import InputError
from ranet_jax.evaluation.davis import evaluate_folders
from ranet_jax.io.masks import write_label_map


def write_frames(folder: pathlib.Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (8, 6)).save(folder / f"{name}.jpg")


def labels(*ids: int) -> np.ndarray:
    """A label map with a column of two pixels for each id, in the place that belongs to the id."""
    frame = np.zeros((6, 8), np.uint8)
    for label in ids:
        frame[1:5, 2 * (label % 4) : 2 * (label % 4) + 2] = label
    return frame


def write_annotations(folder: pathlib.Path, maps: dict[str, np.ndarray]) -> None:
    for name, frame in maps.items():
        write_label_map(folder / f"{name}.png", frame)


def first(found: dict[str, FirstAnnotation]) -> dict[str, tuple[int, ...]]:
    return {name: annotation.objects for name, annotation in found.items()}


def test_youtube_vos_valid(tmp_path: pathlib.Path) -> None:
    """Every fifth frame; annotations only where objects are seen first, of the new ones or of all."""
    split = tmp_path / "valid"
    names = [f"{index:05d}" for index in range(0, 40, 5)]
    every = [f"{index:05d}" for index in range(40)]
    for video in ("0a1b", "ff00"):
        write_frames(split / "JPEGImages" / video, names)
        write_frames(tmp_path / "valid_all_frames" / "JPEGImages" / video, every)
    write_annotations(split / "Annotations" / "0a1b", {"00000": labels(1), "00015": labels(2), "00020": labels(3)})
    write_annotations(split / "Annotations" / "ff00", {"00010": labels(1), "00025": labels(1, 2)})
    (split / "meta.json").write_text("{}", encoding="utf-8")
    videos = VideoSet(split)
    assert videos.sequences() == ("0a1b", "ff00")
    assert [path.stem for path in videos.frames("0a1b")] == names
    assert first(videos.first_annotations("0a1b")) == {"00000": (1,), "00015": (2,), "00020": (3,)}
    assert first(videos.first_annotations("ff00")) == {"00010": (1,), "00025": (2,)}
    dense = VideoSet(split, frames_folder=tmp_path / "valid_all_frames" / "JPEGImages")
    assert [path.stem for path in dense.frames("0a1b")] == every
    assert first(dense.first_annotations("ff00")) == {"00010": (1,), "00025": (2,)}


def test_mose_valid(tmp_path: pathlib.Path) -> None:
    """The first frame alone is annotated."""
    write_frames(tmp_path / "JPEGImages" / "video", ["00000", "00001", "00002"])
    write_annotations(tmp_path / "Annotations" / "video", {"00000": labels(1, 2)})
    videos = VideoSet(tmp_path)
    assert first(videos.first_annotations("video")) == {"00000": (1, 2)}
    np.testing.assert_array_equal(videos.label_map(videos.annotations("video")[0]), labels(1, 2))


def test_lvos(tmp_path: pathlib.Path) -> None:
    """Eight digits that do not start from 0; objects that are seen late; and the scores of such a video."""
    names = [f"{index:08d}" for index in range(31, 39)]
    write_frames(tmp_path / "val" / "JPEGImages" / "video", names)
    maps = {name: labels(1, 2) if index > 3 else labels(1) for index, name in enumerate(names)}
    write_annotations(tmp_path / "val" / "Annotations" / "video", maps)
    (tmp_path / "val" / "val_meta.json").write_text("{}", encoding="utf-8")
    videos = VideoSet(tmp_path / "val")
    assert first(videos.first_annotations("video")) == {"00000031": (1,), "00000035": (2,)}
    write_annotations(tmp_path / "results" / "video", {name: labels(1) for name in names})
    one, two = evaluate_folders(tmp_path / "results", tmp_path / "val" / "Annotations", workers=1).objects
    assert one.region_per_frame == (1,) * 7
    assert two.region_per_frame == (0,) * 3


def test_vost(tmp_path: pathlib.Path) -> None:
    """Lists of names, frames with a word before their number, void pixels."""
    for video in ("10_cut_egg", "2_peel_onion", "3_tear_paper"):
        write_frames(tmp_path / "JPEGImages" / video, ["frame00012", "frame00024", "frame00120"])
        void = labels(1)
        void[0] = 255
        write_annotations(tmp_path / "Annotations" / video, {"frame00012": void, "frame00024": labels(1)})
    lists = tmp_path / "ImageSets"
    lists.mkdir()
    (lists / "val.txt").write_text("10_cut_egg\n2_peel_onion\n", encoding="utf-8")
    videos = VideoSet(tmp_path, names=lists / "val.txt")
    assert videos.sequences() == ("10_cut_egg", "2_peel_onion")
    assert VideoSet(tmp_path).sequences() == ("2_peel_onion", "3_tear_paper", "10_cut_egg")
    assert first(videos.first_annotations("2_peel_onion")) == {"frame00012": (1,)}


def test_what_is_wrong_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*JPEGImages: give the folder of a split"):
        VideoSet(tmp_path)
    write_frames(tmp_path / "JPEGImages" / "video", ["00000", "00001"])
    (tmp_path / "Annotations").mkdir()
    videos = VideoSet(tmp_path)
    with pytest.raises(InputError, match="Annotations holds no folder"):
        videos.sequences()
    write_annotations(tmp_path / "Annotations" / "video", {"00001": labels(1), "00002": labels(1)})
    with pytest.raises(
        InputError, match=r"1 annotation.* of video belong to no frame .*00002.png \(frames are numbered"
    ):
        videos.first_annotations("video")
    with pytest.raises(InputError, match="absent"):
        videos.frames("absent")
    names = tmp_path / "val.txt"
    with pytest.raises(InputError, match=r"val.txt cannot be read"):
        VideoSet(tmp_path, names=names).sequences()
    names.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"val.txt lists no video"):
        VideoSet(tmp_path, names=names).sequences()
    names.write_text("video\nother\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lists 1 video\(s\) without annotations, such as other"):
        VideoSet(tmp_path, names=names).sequences()
