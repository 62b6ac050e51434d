"""The saliency data sets' layouts, on tiny folders of the same form."""

import pathlib

import numpy as np
import pytest
from fabricated import COLOURS, blobs, write_jpeg, write_png
from PIL import Image

from ranet_jax.data.saliency import ecssd, hku_is, ilso, msra10k, soc
from ranet_jax.data.sources import UnreadableError
from ranet_jax.errors import InputError

MASK = blobs(1) * np.uint8(255)
IMAGE = COLOURS[blobs(1)]


def test_msra10k_images_and_masks_share_a_folder(tmp_path):
    for name in ("12", "7"):
        write_jpeg(tmp_path / "Imgs" / f"{name}.jpg", IMAGE)
        write_png(tmp_path / "Imgs" / f"{name}.png", MASK)
    (tmp_path / "Imgs" / "._7.jpg").write_bytes(b"")
    source = msra10k(tmp_path)
    assert [source.name(i) for i in range(len(source))] == ["msra10k/12", "msra10k/7"]
    np.testing.assert_array_equal(source[1].labels, blobs(1))
    assert source.span(1) == range(1, 2)


def test_ecssd(tmp_path):
    write_jpeg(tmp_path / "images/0001.jpg", IMAGE)
    write_png(tmp_path / "ground_truth_mask/0001.png", MASK)
    np.testing.assert_array_equal(ecssd(tmp_path)[0].labels, blobs(1))


def test_hku_is_images_are_png(tmp_path):
    write_png(tmp_path / "imgs/0004.png", IMAGE)
    write_png(tmp_path / "gt/0004.png", MASK)
    item = hku_is(tmp_path)[0]
    np.testing.assert_array_equal(item.image, IMAGE)
    np.testing.assert_array_equal(item.labels, blobs(1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[0, 100, 155, 255]], [[0, 0, 1, 1]]), ([[0, 1, 1, 0]], [[0, 1, 1, 0]]), ([[0, 0, 0, 0]], [[0, 0, 0, 0]])],
)
def test_masks_with_soft_edges_with_ones_and_empty(tmp_path, values, expected):
    write_jpeg(tmp_path / "images/1.jpg", np.zeros((1, 4, 3), np.uint8))
    write_png(tmp_path / "ground_truth_mask/1.png", np.array(values, np.uint8))
    np.testing.assert_array_equal(ecssd(tmp_path)[0].labels, expected)


def make_soc(root: pathlib.Path) -> None:
    painted = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)[blobs(3)]
    for name, masked in (("a", "a.png"), ("b", "b.PNG"), ("no_object", None)):
        write_jpeg(root / "TrainSet/Imgs" / f"{name}.jpg", IMAGE)
        if masked:
            write_png(root / "TrainSet/Instance gt/gt" / masked, painted)


def test_soc_instances_by_colour(tmp_path):
    make_soc(tmp_path)
    source = soc(tmp_path)
    assert [source.name(i) for i in range(len(source))] == ["soc/a", "soc/b"]
    for i in range(2):
        labels = source[i].labels
        assert sorted(np.unique(labels)) == [0, 1, 2, 3]
        np.testing.assert_array_equal(labels != 0, blobs(3) != 0)
        # One id for every colour, whatever the order of the colours.
        assert len(np.unique(np.stack([labels, blobs(3)], axis=-1).reshape(-1, 2), axis=0)) == 4


@pytest.mark.parametrize("form", ["palette", "gray", "rgba"])
def test_ilso_lists_and_mask_forms(tmp_path, form):
    for name in ("x", "y"):
        write_jpeg(tmp_path / "imgs" / f"{name}.jpg", COLOURS[blobs(2)])
        (tmp_path / "gt").mkdir(exist_ok=True)
        labels = blobs(2)
        if form == "palette":
            labels[0, :3] = 255  # void
            image = Image.fromarray(labels)
            image.putpalette(np.arange(768, dtype=np.uint8).tobytes())
        elif form == "gray":
            image = Image.fromarray(labels * np.uint8(100))
        else:
            image = Image.fromarray(np.array([(0, 0, 0), (9, 0, 0), (200, 5, 7)], np.uint8)[labels]).convert("RGBA")
        image.save(tmp_path / "gt" / f"{name}.png")
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/train_id_1000.txt").write_text("y\r\n")
    source = ilso(tmp_path)
    assert len(source) == 1
    assert source.name(0) == "ilso/y"
    np.testing.assert_array_equal(source[0].labels, blobs(2))


def test_missing_mask_is_named_when_read(tmp_path):
    for name in ("1", "2"):
        write_jpeg(tmp_path / "images" / f"{name}.jpg", IMAGE)
    write_png(tmp_path / "ground_truth_mask/1.png", MASK)
    source = ecssd(tmp_path)
    assert source[0].labels.any()
    with pytest.raises(UnreadableError, match=r"ground_truth_mask/2\.png"):
        source[1]


def test_damaged_mask_is_named(tmp_path, cut_off):
    make_soc(tmp_path)
    cut_off(tmp_path / "TrainSet/Instance gt/gt/a.png")
    with pytest.raises(UnreadableError, match=r"Instance gt/gt/a\.png"):
        soc(tmp_path).labels(0)


def test_lossy_instance_mask_is_refused(tmp_path):
    make_soc(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (60, 96, 3), np.uint8)
    write_png(tmp_path / "TrainSet/Instance gt/gt/a.png", noise)
    with pytest.raises(UnreadableError, match="stored without loss"):
        soc(tmp_path).labels(0)


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"Imgs does not exist"):
        msra10k(tmp_path)
    (tmp_path / "Imgs").mkdir()
    with pytest.raises(InputError, match=r"Imgs holds no \.png"):
        msra10k(tmp_path)
    with pytest.raises(InputError, match=r"train_id_1000\.txt cannot be read"):
        ilso(tmp_path)
    make_soc(tmp_path)
    for path in (tmp_path / "TrainSet/Instance gt/gt").iterdir():
        path.rename(path.with_stem("other" + path.stem))
    with pytest.raises(InputError, match="no image"):
        soc(tmp_path)


def test_ilso_list_of_unknown_images(tmp_path):
    write_jpeg(tmp_path / "imgs/x.jpg", IMAGE)
    write_png(tmp_path / "gt/x.png", MASK)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/train_id_1000.txt").write_text("x\nz\n")
    with pytest.raises(InputError, match="names z"):
        ilso(tmp_path)
