import json
import zipfile

import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.exports import LABEL_FORMATS, ProbabilityWriter, export_path, open_export
from ranet_jax.io.masks import read_label_map, read_mask
from ranet_jax.io.run_lengths import mask_of_run_lengths, unpack
from ranet_jax.io.video import Frame, TruncatedVideoError

SIZE = (30, 40)


def label_maps():
    maps = np.zeros((4, *SIZE), np.uint8)
    for index in range(3):  # the last frame shows nothing
        maps[index, 2:10, 3 + index : 20] = 1
        maps[index, 15:28, 10:35] = 200
    return maps


def write(kind, path, maps):
    with open_export(kind, path, video="bear") as sink:
        for index, labels in enumerate(maps):
            sink(Frame(f"{index:05d}", np.zeros((*SIZE, 3), np.uint8)), labels)
    return path


def test_coco(tmp_path):
    maps = label_maps()
    path = write("coco-json", tmp_path / "a.json", maps)
    content = json.loads(path.read_text())
    assert [image["file_name"] for image in content["images"]] == [f"{index:05d}.png" for index in range(4)]
    assert [entry["id"] for entry in content["annotations"]] == list(range(1, 7))
    decoded = np.zeros_like(maps)
    for entry in content["annotations"]:
        mask = mask_of_run_lengths(unpack(entry["segmentation"]["counts"]), SIZE)
        decoded[entry["image_id"] - 1][mask] = entry["track_id"]
        left, top, width, height = entry["bbox"]
        assert mask[top : top + height, left : left + width].sum() == entry["area"] == mask.sum()
        edges = mask[top], mask[top + height - 1], mask[:, left], mask[:, left + width - 1]
        assert all(edge.any() for edge in edges)
    np.testing.assert_array_equal(decoded, maps)
    first = read_mask(path)
    np.testing.assert_array_equal(first.labels, maps[0])
    assert "00000.png" in first.notes[0]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_what_its_own_tools_read(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    maps = label_maps()
    data = coco.COCO(str(write("coco-json", tmp_path / "a.json", maps)))
    for entry in data.loadAnns(data.getAnnIds(imgIds=[2])):
        np.testing.assert_array_equal(data.annToMask(entry), maps[1] == entry["track_id"])


def test_npz(tmp_path):
    maps = label_maps()
    with np.load(write("npz", tmp_path / "a.npz", maps)) as loaded:
        assert loaded.files == [f"{index:05d}" for index in range(4)]
        np.testing.assert_array_equal(np.stack([loaded[name] for name in loaded.files]), maps)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npz").labels, maps[0])
    assert (tmp_path / "a.npz").read_bytes() == write("npz", tmp_path / "b.npz", maps).read_bytes()


def test_youtube_vos(tmp_path):
    maps = label_maps()
    with zipfile.ZipFile(write("youtube-vos-zip", tmp_path / "a.zip", maps)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"Annotations/bear/{index:05d}.png" for index in range(4)]
        archive.extractall(tmp_path)
    for index, labels in enumerate(maps):
        np.testing.assert_array_equal(read_label_map(tmp_path / f"Annotations/bear/{index:05d}.png"), labels)


def test_several_videos_in_one_archive(tmp_path):
    with open_export("youtube-vos-zip", tmp_path / "a.zip", video="a") as sink:
        for video in ("a", "b"):
            sink.start(video)
            sink(Frame("00000", np.zeros((*SIZE, 3), np.uint8)), label_maps()[0])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["Annotations/a/00000.png", "Annotations/b/00000.png"]


def test_probabilities(tmp_path, rng):
    probabilities = rng.dirichlet([1, 1, 1], SIZE).astype(np.float32)
    frame = Frame("00000", np.zeros((*SIZE, 3), np.uint8))
    with ProbabilityWriter(tmp_path / "a.npz", [5, 200]) as write_one:
        write_one(frame, probabilities)
        with pytest.raises(ValueError, match="2 probabilities of 2 objects"):
            write_one(frame, probabilities[..., :2])
    with np.load(tmp_path / "a.npz") as loaded:
        assert loaded["ids"].tolist() == [5, 200]
        assert loaded["00000"].dtype == np.float16
        np.testing.assert_allclose(loaded["00000"], probabilities, atol=1e-3)


@pytest.mark.parametrize("kind", LABEL_FORMATS)
def test_files_appear_whole_or_not_at_all(tmp_path, kind):
    path = export_path(kind, tmp_path / "new", "bear")

    def fail(error):
        with open_export(kind, path, video="bear") as sink:
            sink(Frame("00000", np.zeros((*SIZE, 3), np.uint8)), label_maps()[0])
            assert not path.exists()
            raise error

    with pytest.raises(RuntimeError):
        fail(RuntimeError("fault"))
    assert list(path.parent.iterdir()) == []
    with pytest.raises(TruncatedVideoError):
        fail(TruncatedVideoError("a.mp4", 1, 9))
    assert list(path.parent.iterdir()) == [path]
    path.unlink()
    with open_export(kind, path, video="bear"):
        pass
    assert list(path.parent.iterdir()) == []
    with pytest.raises(InputError, match="change the suffix"):
        open_export(kind, tmp_path / "a.mp4", video="bear")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file, not a folder"):
        open_export(kind, export_path(kind, tmp_path / "file", "a"), video="a")


@pytest.mark.parametrize("kind", LABEL_FORMATS)
def test_a_disk_that_fills_up(tmp_path, rng, kind):
    resource = pytest.importorskip("resource")
    noise = rng.integers(0, 3, (20, 96, 128)).astype(np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot write"):
            write(kind, export_path(kind, tmp_path, "a"), noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
