"""One's own photographs and videos: every layout, what does not fit, and the shared photographs."""

import numpy as np
import pytest
from fabricated import COLOURS, blobs, write_jpeg, write_png

from ranet_jax.data.config import SampleConfig
from ranet_jax.data.folders import photographs, videos
from ranet_jax.data.samples import clip, static_pair, video_pair
from ranet_jax.errors import InputError
from ranet_jax.io.masks import write_label_map
from ranet_jax.training.mixture import data_fields, open_mixture, part

LABELS = blobs(2)
IMAGE = COLOURS[LABELS]


def photograph(images, masks, name, *, labels=LABELS, suffix=".jpg"):
    (write_jpeg if suffix == ".jpg" else write_png)(images / f"{name}{suffix}", COLOURS[labels])
    write_label_map(masks / f"{name}.png", labels)


def video(frames, masks, *, length=4, annotated=(0, 2), suffix=".jpg", digits=5):
    for i in range(length):
        labels = blobs(2, shift=i)
        (write_jpeg if suffix == ".jpg" else write_png)(frames / f"{i:0{digits}d}{suffix}", COLOURS[labels])
        if i in annotated:
            write_label_map(masks / f"{i:0{digits}d}.png", labels)


def names(source):
    return [source.name(index) for index in range(len(source))]


@pytest.mark.parametrize(
    ("images", "masks", "given"),
    [("Images", "Masks", False), ("images", "masks", False), ("", "", False), ("jpeg", "png", True)],
)
def test_photographs_in_every_layout(tmp_path, images, masks, given):
    root = tmp_path / "cats"
    for name in ("10", "9", "two.words"):
        photograph(root / images, root / masks, name)
    (root / images / "._9.jpg").write_bytes(b"")
    source = photographs(root / images if given else root, root / masks if given else None)
    folder = "jpeg" if given else "cats"
    assert names(source) == [f"{folder}/9", f"{folder}/10", f"{folder}/two.words"]
    assert source.notes == ()
    np.testing.assert_array_equal(source[0].labels, LABELS)
    assert np.abs(source[0].image.astype(int) - IMAGE).mean() < 8
    assert source.span(2) == range(2, 3)


def test_photographs_may_be_png_in_a_folder_of_their_own(tmp_path):
    photograph(tmp_path / "a", tmp_path / "b", "1", suffix=".png")
    np.testing.assert_array_equal(photographs(tmp_path / "a", tmp_path / "b")[0].image, IMAGE)


def test_void_is_background_and_black_and_white_is_one_object(tmp_path):
    labels = LABELS.copy()
    labels[0, 0] = 255
    photograph(tmp_path, tmp_path, "1", labels=LABELS)
    write_label_map(tmp_path / "1.png", labels)
    np.testing.assert_array_equal(photographs(tmp_path)[0].labels, LABELS)
    write_png(tmp_path / "1.png", (LABELS > 0).astype(np.uint8) * np.uint8(255))
    np.testing.assert_array_equal(photographs(tmp_path)[0].labels, LABELS > 0)


def test_a_photograph_without_a_mask_is_left_out_and_counted_and_a_mask_alone_is_an_error(tmp_path):
    photograph(tmp_path, tmp_path, "cat1")
    write_jpeg(tmp_path / "cat2.jpg", IMAGE)
    source = photographs(tmp_path)
    assert names(source) == [f"{tmp_path.name}/cat1"]
    assert source.notes == (f"{tmp_path}: 1 photographs without a mask left out",)
    # Of the same number, and another's.
    write_label_map(tmp_path / "dog2.png", LABELS)
    with pytest.raises(InputError, match=r"dog2.png: there is no photograph of this name"):
        photographs(tmp_path)


def test_regions_of_a_partition_are_objects_by_their_size(tmp_path):
    labels = np.full((10, 100), 1, np.uint8)
    labels[:, 70:99] = 2
    labels[:, 99:] = 3
    photograph(tmp_path, tmp_path, "1", labels=labels)
    assert set(np.unique(photographs(tmp_path)[0].labels)) == {1, 2, 3}
    found = photographs(tmp_path, partition=(0.02, 0.6))[0].labels
    np.testing.assert_array_equal(found, np.where(labels == 2, 2, 0))
    with pytest.raises(InputError, match="partition"):
        photographs(tmp_path, partition=(0.6, 0.02))


@pytest.mark.parametrize("between", ["", "480p"])
def test_videos_in_the_layout_of_davis(tmp_path, between):
    for name, annotated in (("walk", (0, 1, 2, 3)), ("swim", (0, 3))):
        frames, masks = (tmp_path / kind / between / name for kind in ("JPEGImages", "Annotations"))
        video(frames, masks, annotated=annotated)
    video(tmp_path / "JPEGImages" / between / "unmarked", tmp_path / "unused")
    source = videos(tmp_path)
    assert names(source) == ["swim/00000", "swim/00003", *(f"walk/{i:05d}" for i in range(4))]
    assert (source.span(1), source.span(2)) == (range(0, 2), range(2, 6))
    np.testing.assert_array_equal(source[1].labels, blobs(2, shift=3))
    assert source.notes == (f"{tmp_path / 'JPEGImages' / between}: 1 videos without masks left out",)
    assert names(videos(tmp_path, without=["walk"])) == names(videos(tmp_path, only=["swim"])) == names(source)[:2]
    with pytest.raises(InputError, match="'run' is not a video"):
        videos(tmp_path, only=["run"])
    with pytest.raises(InputError, match=r"no video of .* was chosen"):
        videos(tmp_path, without=["walk", "swim"])


def test_videos_in_two_folders_of_png_frames_and_one_video_alone(tmp_path):
    video(tmp_path / "f" / "a", tmp_path / "m" / "a", suffix=".png", digits=1, length=12, annotated=(2, 10))
    source = videos(tmp_path / "f", tmp_path / "m")
    assert names(source) == ["a/2", "a/10"]
    np.testing.assert_array_equal(source[1].image, COLOURS[blobs(2, shift=10)])
    assert names(videos(tmp_path / "f" / "a", tmp_path / "m" / "a")) == names(source)


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        photographs(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no \.jpg or \.jpeg file"):
        photographs(tmp_path)
    with pytest.raises(InputError, match=r"there is no folder .*JPEGImages"):
        videos(tmp_path)
    video(tmp_path / "f" / "a", tmp_path / "m" / "a")
    write_label_map(tmp_path / "m" / "a" / "00009.png", LABELS)
    with pytest.raises(InputError, match=r"do not fit: masks without a frame: 00009\.png"):
        videos(tmp_path / "f", tmp_path / "m")
    video(tmp_path / "unused", tmp_path / "m" / "b")
    with pytest.raises(InputError, match="b has masks, but there is no folder of frames"):
        videos(tmp_path / "f", tmp_path / "m")


def test_own_data_are_parts_of_a_mixture(tmp_path):
    for name in ("1", "2"):
        photograph(tmp_path / "cats" / "Images", tmp_path / "cats" / "Masks", name)
    for name in ("a", "b", "c"):
        video(tmp_path / "frames" / name, tmp_path / "masks" / name, length=5, annotated=(0, 2, 4))
    parts = {
        "cats": part("photographs", "cats", "static_pair", weight=0.5),
        "own": part("videos", "frames", "video_pair", masks="masks"),
    }
    parts["own"].without = ("b",)
    data = data_fields(SampleConfig(size=(64, 96), max_objects=2), **parts)
    data.root = str(tmp_path)
    mixture = open_mixture(data, crop="frame", batch_size=8, seed=0)
    assert (
        mixture.description
        == (
            "cats: photographs cats, 2 images, static_pair, weight 0.5",
            "own: videos frames, 6 annotated frames of 2 videos, video_pair, weight 1",
            f"{tmp_path / 'frames'}: 1 videos without masks left out",
        )[:2]
    )
    batch = next(iter(mixture.batches.dataset))
    assert batch["images"].shape == (8, 2, 64, 96, 3)
    assert batch["valid"].all()
    assert {str(name).split("/")[0] for name in batch["name"]} == {"cats", "a", "c"}
    for change, message in [
        ({"kind": "ecssd"}, "ecssd knows where its masks are"),
        ({"partition": (0.1, 0.5)}, "videos has a background"),
        ({"masks": "elsewhere"}, "there is no folder .*elsewhere"),
    ]:
        wrong = data.copy_and_resolve_references()
        wrong.parts.own.update(change)
        with pytest.raises(InputError, match=message):
            open_mixture(wrong, crop="frame", batch_size=8, seed=0)


@pytest.mark.parametrize(
    ("name", "count", "partition"),
    [
        ("FeralCats", 995, None),
        ("CCP", 1003, None),
        ("OxfordPets", 692, None),
        ("TinyCOCO", 97, None),
        ("BSDS500", 500, (0.02, 0.6)),
    ],
)
def test_the_shared_photographs_give_samples(shared, name, count, partition):
    source = photographs(shared(f"data/images/{name}"), partition=partition)
    assert len(source) == count
    config = SampleConfig(size=(128, 224), crop="box", max_objects=3)
    samples = [static_pair(np.random.default_rng(i), source, 31 * i, config) for i in range(3)]
    for sample in samples:
        assert sample["images"].shape == (2, 128, 224, 3)
        assert sample["valid"][0]
        assert set(np.unique(sample["labels"][0])) <= {0, 1, 2, 3}
    if partition:
        shares = np.bincount(source.labels(0).ravel(), minlength=256)[1:] / source.labels(0).size
        assert all(partition[0] <= share <= partition[1] for share in shares[shares > 0])


def test_sparse_videos_of_the_shared_data_give_pairs_and_clips(shared):
    source = videos(shared("data/BMS26-dev"))
    assert len({source.span(i).start for i in range(len(source))}) == 5
    config = SampleConfig(size=(96, 160), clip_length=4, max_objects=3)
    assert video_pair(np.random.default_rng(0), source, 5, config)["valid"][0]
    sample = clip(np.random.default_rng(0), source, 5, config)
    assert sample["images"].shape == (4, 96, 160, 3)
    assert sample["labels"][0].any()
