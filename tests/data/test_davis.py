"""The DAVIS folder layout: both years, both forms of the lists, what is missing."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from ranet_jax.data.davis import VOID_LABEL, DavisTree
from ranet_jax.errors import InputError
from ranet_jax.io.masks import write_label_map


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two sequences of three frames, the second with its first annotation alone."""
    for sequence, annotated in (("bear", 3), ("surf", 1)):
        for kind in ("JPEGImages", "Annotations"):
            (tmp_path / kind / "480p" / sequence).mkdir(parents=True)
        for index in reversed(range(3)):
            image = Image.new("RGB", (8, 6))
            image.save(tmp_path / "JPEGImages" / "480p" / sequence / f"{index:05d}.jpg")
        for index in reversed(range(annotated)):
            labels = np.array([[0, 1, 2, VOID_LABEL]], np.uint8)
            write_label_map(tmp_path / "Annotations" / "480p" / sequence / f"{index:05d}.png", labels)
    (tmp_path / "ImageSets").mkdir()
    return tmp_path


def write_list(root: pathlib.Path, folder: str, text: str) -> None:
    path = root / "ImageSets" / folder / "val.txt"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")


PAIRS = "".join(
    f"/JPEGImages/480p/{sequence}/{index:05d}.jpg /Annotations/480p/{sequence}/{index:05d}.png \n"
    for sequence in ("surf", "bear")
    for index in range(3)
)


@pytest.mark.parametrize(
    ("year", "folder", "text"),
    [
        (2016, "2016", "surf\nbear\n"),
        (2017, "2017", "surf\r\n\r\n bear"),
        (2017, "2017", "\ufeffsurf\nbear\n"),
        (2016, "2016", PAIRS),
        (2016, "480p", PAIRS),
    ],
)
def test_every_published_form_of_list(root: pathlib.Path, year: int, folder: str, text: str) -> None:
    write_list(root, folder, text)
    assert DavisTree(root, year).sequences("val") == ("surf", "bear")


def test_the_years_have_lists_of_their_own(root: pathlib.Path) -> None:
    write_list(root, "2016", "bear")
    write_list(root, "2017", "surf")
    assert DavisTree(root, 2016).sequences("val") == ("bear",)
    assert DavisTree(root, 2017).sequences("val") == ("surf",)


def test_the_first_release_has_no_2017_list(root: pathlib.Path) -> None:
    write_list(root, "480p", PAIRS)
    with pytest.raises(InputError, match=r"ImageSets/2017/val.txt does not exist"):
        DavisTree(root, 2017).sequences("val")


def test_files_are_sorted_and_only_those_that_exist(root: pathlib.Path) -> None:
    tree = DavisTree(root, 2017)
    (root / "JPEGImages" / "480p" / "bear" / "._00000.jpg").write_bytes(b"a copy's metadata")
    assert [path.name for path in tree.frames("bear")] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [path.name for path in tree.annotations("bear")] == ["00000.png", "00001.png", "00002.png"]
    assert [path.name for path in tree.annotations("surf")] == ["00000.png"]


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".webp", ".tif"])
def test_frames_may_be_any_still_picture(root: pathlib.Path, suffix: str) -> None:
    folder = root / "JPEGImages" / "480p" / "cow"
    folder.mkdir()
    for index in (1, 2, 10):
        Image.new("RGB", (8, 6)).save(folder / f"{index}{suffix}")
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    names = [path.name for path in DavisTree(root, 2017).frames("cow")]
    assert names == [f"1{suffix}", f"2{suffix}", f"10{suffix}"]


def test_where_objects_are_seen_first(root: pathlib.Path) -> None:
    folder = root / "Annotations" / "480p" / "cow"
    maps = {"2": [0, 255], "8": [0, 2], "9": [2, 0], "10": [2, 7], "11": [5, 1], "12": [0, 0]}
    for name, labels in maps.items():
        write_label_map(folder / f"{name}.png", np.array([labels], np.uint8))
    found = DavisTree(root, 2017).first_annotations("cow")
    assert list(found) == ["8", "10", "11"]
    assert [annotation.objects for annotation in found.values()] == [(2,), (7,), (1, 5)]
    assert [annotation.path for annotation in found.values()] == [folder / f"{name}.png" for name in found]
    # In 2016 whatever is annotated is the one object.
    found = DavisTree(root, 2016).first_annotations("cow")
    assert [(name, annotation.objects) for name, annotation in found.items()] == [("2", (1,))]
    for name in maps:
        write_label_map(folder / f"{name}.png", np.array([[0, VOID_LABEL]], np.uint8))
    with pytest.raises(InputError, match=r"cow annotates no object in any of its 6 file\(s\)"):
        DavisTree(root, 2017).first_annotations("cow")


def test_labels_of_both_years(root: pathlib.Path) -> None:
    path = DavisTree(root, 2016).annotations("bear")[0]
    np.testing.assert_array_equal(DavisTree(root, 2016).label_map(path), np.uint8([[0, 1, 1, 1]]))
    np.testing.assert_array_equal(DavisTree(root, 2017).label_map(path), np.uint8([[0, 1, 2, VOID_LABEL]]))


def test_what_is_missing_is_named(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    tree = DavisTree(root, 2016)
    with pytest.raises(InputError, match="no split 'val'"):
        tree.sequences("val")
    write_list(root, "2016", " \n")
    with pytest.raises(InputError, match=r"2016/val.txt lists no sequence"):
        tree.sequences("val")
    with pytest.raises(InputError, match="JPEGImages/480p/cow does not exist"):
        tree.frames("cow")
    for path in tree.annotations("surf"):
        path.unlink()
    with pytest.raises(InputError, match=r"Annotations/480p/surf holds no frames"):
        tree.annotations("surf")
    with pytest.raises(InputError, match="absent is no DAVIS folder"):
        DavisTree(tmp_path / "absent", 2016)


def test_an_unreadable_list_is_named(root: pathlib.Path) -> None:
    write_list(root, "2016", "bear")
    (root / "ImageSets" / "2016" / "val.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"val.txt cannot be read"):
        DavisTree(root, 2016).sequences("val")


def test_tracking_starts_at_the_first_annotated_frame(root: pathlib.Path) -> None:
    tree = DavisTree(root, 2017)
    frames, given = tree.start("bear")
    assert ([path.stem for path in frames], given.path.stem) == (["00000", "00001", "00002"], "00000")
    folder = root / "Annotations" / "480p" / "surf"
    write_label_map(folder / "00000.png", np.array([[0, 255]], np.uint8))
    write_label_map(folder / "00001.png", np.array([[0, 3]], np.uint8))
    frames, given = tree.start("surf")
    assert [path.stem for path in frames] == ["00001", "00002"]
    assert given == (folder / "00001.png", (3,))
    (folder / "00001.png").rename(folder / "00007.png")
    with pytest.raises(InputError, match=r"surf/00007.png belongs to no frame of .*JPEGImages/480p/surf"):
        tree.start("surf")


def test_real_davis_2016(shared) -> None:
    tree = DavisTree(shared("data/DAVIS"), 2016)
    assert len(tree.sequences("train")) == 30
    assert "car-shadow" in tree.sequences("val")
    assert len(tree.frames("bear")) == len(tree.annotations("bear")) == 82
    gray_with_alpha = tree.annotations("bear")[77]
    assert set(np.unique(tree.label_map(gray_with_alpha))) == {0, 1}


def test_real_davis_2017(shared) -> None:
    tree = DavisTree(shared("data/DAVIS17-sample"), 2017)
    assert tree.sequences("train") == ("longboard",)
    first = tree.label_map(tree.annotations("longboard")[0])
    assert np.unique(first).tolist() == [0, 1, 2, 3, 4, 5]


def test_real_sparse_annotations(shared) -> None:
    tree = DavisTree(shared("data/BMS26-dev"), 2017)
    assert [path.stem for path in tree.annotations("cars5")] == ["00000", "00009", "00019", "00035"]
    assert len(tree.frames("cars5")) == 36
    found = {name: tree.first_annotations(name) for name in tree.sequences("val")}
    assert {name: [a.objects for a in first.values()] for name, first in found.items()} == {
        "cars1": [(1, 2)],
        "cars3": [(1, 2)],
        "cars5": [(1, 2, 3)],
        "cars10": [(1, 2, 3)],
        "people1": [(1,)],
    }
    assert all(list(first) == ["00000"] for first in found.values())
