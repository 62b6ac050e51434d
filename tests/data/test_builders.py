"""Packed shards give what their folders give, without TensorFlow."""

import concurrent.futures
import pathlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from fabricated import COLOURS, blobs, write_jpeg, write_png

from ranet_jax.data import builders
from ranet_jax.data.builders import Davis2016, Davis2017, PackedSource, pack
from ranet_jax.data.config import SampleConfig
from ranet_jax.data.samples import video_pair
from ranet_jax.errors import InputError

tfds.disable_progress_bar()


def assert_same_source(packed, folder):
    assert len(packed) == len(folder)
    for i in range(len(folder)):
        assert packed.name(i) == folder.name(i)
        assert packed.span(i) == folder.span(i)
        np.testing.assert_array_equal(packed[i].image, folder[i].image)
        np.testing.assert_array_equal(packed[i].labels, folder[i].labels)


@pytest.mark.parametrize("builder", [Davis2016, Davis2017])
def test_packed_davis_is_the_folder(davis_root, tmp_path, builder):
    packed = PackedSource(pack(builder, davis_root, tmp_path / "packed"))
    folder = builder.open_source(davis_root)
    assert_same_source(packed, folder)
    config = SampleConfig(size=(32, 48), max_objects=2)
    one, other = (video_pair(np.random.default_rng(5), source, 2, config) for source in (packed, folder))
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])
    assert "tensorflow" not in sys.modules


def make_saliency(root: pathlib.Path, images: str, masks: str, image_suffix: str) -> None:
    for name in ("1", "2"):
        write = write_jpeg if image_suffix == ".jpg" else write_png
        write(root / images / f"{name}{image_suffix}", COLOURS[blobs(1)])
        write_png(root / masks / f"{name}.png", blobs(1) * np.uint8(255))
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train_id_1000.txt").write_text("2\n1\n")


@pytest.mark.parametrize(
    ("name", "images", "masks", "suffix"),
    [
        ("Msra10k", "Imgs", "Imgs", ".jpg"),
        ("Ecssd", "images", "ground_truth_mask", ".jpg"),
        ("HkuIs", "imgs", "gt", ".png"),
        ("Soc", "TrainSet/Imgs", "TrainSet/Instance gt/gt", ".jpg"),
        ("Ilso", "imgs", "gt", ".jpg"),
    ],
)
def test_packed_saliency_sets_are_their_folders(tmp_path, name, images, masks, suffix):
    root = tmp_path / "root"
    make_saliency(root, images, masks, suffix)
    builder = getattr(builders, name)
    assert_same_source(PackedSource(pack(builder, root, tmp_path / "packed")), builder.open_source(root))


def test_reading_as_a_plain_tfds_data_source(davis_root, tmp_path):
    folder = pack(Davis2017, davis_root, tmp_path)
    records = tfds.builder_from_directory(str(folder)).as_data_source("train")
    record = records[1]
    source = Davis2017.open_source(davis_root)
    np.testing.assert_array_equal(record["labels"][..., 0], source.labels(1))
    assert record["image"].shape == source.image(1).shape
    assert record["name"].decode() == source.name(1)


def test_many_threads(davis_root, tmp_path):
    packed = PackedSource(pack(Davis2017, davis_root, tmp_path))
    expected = [packed.labels(i) for i in range(6)]
    fresh = PackedSource(pack(Davis2017, davis_root, tmp_path))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i, labels in enumerate(pool.map(fresh.labels, list(range(6)) * 10)):
            np.testing.assert_array_equal(labels, expected[i % 6])


def test_damaged_file_stops_the_packing_and_leaves_nothing(davis_root, tmp_path, cut_off):
    path = davis_root / "JPEGImages/480p/walk/00002.jpg"
    cut_off(path)
    with pytest.raises(InputError, match=str(path)):
        pack(Davis2017, davis_root, tmp_path / "packed")
    assert not list((tmp_path / "packed").glob("davis2017/*/*.array_record*"))


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        pack(Davis2017, tmp_path / "nowhere", tmp_path / "packed")
    with pytest.raises(InputError, match="no DAVIS folder"):
        pack(Davis2017, tmp_path, tmp_path / "packed")
    with pytest.raises(InputError, match="no packed data set"):
        PackedSource(tmp_path)
