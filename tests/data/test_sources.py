"""Sources: frames in order, exact labels, errors that name the file."""

import concurrent.futures
import pathlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ranet_jax.data.davis import DavisTree
from ranet_jax.data.sources import (
    CachedSource,
    LabelledImage,
    MemorySource,
    UnreadableError,
    davis_videos,
    read_image,
    spans_of_lengths,
)
from ranet_jax.errors import InputError


def source_of(root: pathlib.Path, year: int = 2017):
    tree = DavisTree(root, year)
    return davis_videos(tree, tree.sequences("train"))


def test_davis_frames_are_the_annotated_ones_in_order(davis_root):
    source = source_of(davis_root)
    names = [source.name(i) for i in range(len(source))]
    assert names == [f"davis2017/walk/{i:05d}" for i in range(4)] + [f"davis2017/swim/{i:05d}" for i in range(2)]
    assert [source.span(i) for i in (0, 3, 4, 5)] == [range(0, 4), range(0, 4), range(4, 6), range(4, 6)]


def test_davis_2017_keeps_ids_and_drops_void(davis_root):
    labels = source_of(davis_root)[1].labels
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[0, 0] == 0


def test_davis_2016_is_one_object(davis_root):
    assert sorted(np.unique(source_of(davis_root, 2016).labels(0))) == [0, 1]


def test_images_are_rgb(davis_root):
    source = source_of(davis_root)
    item = source[0]
    expected = cv2.imread(str(source.file(0).image))[..., ::-1]
    np.testing.assert_array_equal(item.image, expected)
    assert item.image[item.labels == 1].mean(axis=0)[0] > 200  # object 1 is red


def test_cut_off_image_is_named(davis_root, cut_off):
    source = source_of(davis_root)
    path = source.file(2).image
    cut_off(path)
    with pytest.raises(UnreadableError, match=f"{path}.*cut off"):
        source.image(2)
    assert source.labels(2).any()


def test_damaged_and_missing_files_are_named(davis_root, cut_off):
    source = source_of(davis_root)
    cut_off(source.file(0).mask)
    with pytest.raises(UnreadableError, match=str(source.file(0).mask)):
        source.labels(0)
    source.file(1).mask.unlink()
    with pytest.raises(UnreadableError, match=str(source.file(1).mask)):
        source.labels(1)
    source.file(2).image.write_text("no image")
    with pytest.raises(UnreadableError, match=str(source.file(2).image)):
        source.image(2)
    source.file(3).image.write_bytes(b"\xff\xd8 nothing between the marks \xff\xd9")
    with pytest.raises(UnreadableError, match=str(source.file(3).image)):
        source.image(3)


def test_frame_that_never_existed_is_named_when_read(davis_root):
    (davis_root / "JPEGImages/480p/walk/00001.jpg").unlink()
    with pytest.raises(UnreadableError, match=r"walk/00001\.jpg"):
        source_of(davis_root).image(1)


def test_sizes_must_agree(davis_root):
    source = source_of(davis_root)
    source.file(0).image.write_bytes(cv2.imencode(".jpg", np.zeros((10, 12, 3), np.uint8))[1].tobytes())
    with pytest.raises(UnreadableError, match=r"12x10.*96x60"):
        source[0]


def test_no_sequence_is_an_error(davis_root):
    with pytest.raises(InputError, match="no sequence"):
        davis_videos(DavisTree(davis_root, 2017), [])


def test_index_beyond_the_end(videos):
    with pytest.raises(IndexError, match="13"):
        videos[len(videos)]
    assert sum(1 for _ in videos) == 13


def test_rotation_in_exif_is_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


def test_spans():
    assert spans_of_lengths([2, 1]) == (range(0, 2), range(0, 2), range(2, 3))


def test_labelled_image_checks_sizes():
    with pytest.raises(UnreadableError, match=r"image x is 4x4, its mask is 5x4"):
        LabelledImage(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), "x")


class Counting(MemorySource):
    reads = 0

    def image(self, index):
        self.reads += 1
        return super().image(index).copy()

    def labels(self, index):
        return super().labels(index).copy()


def test_cache_reads_once_within_its_budget(videos):
    counting = Counting([videos[i] for i in range(4)])
    one = counting.image(0).nbytes
    cached = CachedSource(counting, max_bytes=2 * one)
    counting.reads = 0
    for _ in range(3):
        for i in range(4):
            np.testing.assert_array_equal(cached.image(i), videos.image(i))
    assert counting.reads == 2 + 3 * 2
    with pytest.raises(ValueError, match="read-only"):
        cached.image(0)[:] = 0


def test_many_threads_read_the_same(davis_root):
    source = CachedSource(source_of(davis_root), max_bytes=50_000)
    expected = [source_of(davis_root)[i] for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        items = list(pool.map(source.__getitem__, list(range(6)) * 20))
    for i, item in enumerate(items):
        np.testing.assert_array_equal(item.image, expected[i % 6].image)
        np.testing.assert_array_equal(item.labels, expected[i % 6].labels)
