"""Samples: shapes, exact labels, the right frames, never a template without an object."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from fabricated import COLOURS, blobs, picture
from hypothesis import strategies as st

from ranet_jax.data.augment import MEAN_COLOUR
from ranet_jax.data.config import (
    BoxConfig,
    ColourConfig,
    GeometryConfig,
    PasteConfig,
    PerturbationConfig,
    SampleConfig,
)
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.samples import clip, static_pair, video_pair
from ranet_jax.data.sources import MemorySource, davis_videos
from ranet_jax.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)
STILL = GeometryConfig(0.0, 0.0, (1.0, 1.0), 0.0, 0.0)
NO_COLOUR = ColourConfig(0.0, 0.0, 0.0, 0.0)
# The fabricated pictures fill these outputs exactly: what comes out is what went in.
PLAIN = SampleConfig(
    size=(60, 96), max_objects=3, geometry=STILL, colour=NO_COLOUR, colour_each=NO_COLOUR, perturbation=None
)
FULL = SampleConfig(size=(64, 112), max_objects=3, rollout=2, paste=PasteConfig(0.5))
FULL_BOX = dataclasses.replace(FULL, crop="box")
PAIR_KEYS = ["images", "labels", "name", "previous_labels", "valid"]


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def check_pair(sample, config):
    height, width = config.size
    assert sample["images"].shape == (1 + config.rollout, height, width, 3)
    assert sample["labels"].shape == (1 + config.rollout, height, width)
    assert sample["previous_labels"].shape == (height, width)
    count = int(sample["valid"].sum())
    assert sample["valid"].shape == (config.max_objects,)
    assert list(sample["valid"]) == [i < count for i in range(config.max_objects)]
    assert sample["images"].dtype == np.uint8
    for key in ("labels", "previous_labels"):
        assert sample[key].dtype == np.uint8
        assert sample[key].max() <= count
    ids, counts = np.unique(sample["labels"][0], return_counts=True)
    assert list(ids[ids > 0]) == list(range(1, count + 1))
    assert count >= 1
    assert counts[ids > 0].min() >= config.minimum_pixels
    assert isinstance(sample["name"], str)


@pytest.mark.parametrize("make", [static_pair, video_pair])
@pytest.mark.parametrize("config", [PLAIN, FULL, FULL_BOX])
@hypothesis.given(seed=SEEDS, index=st.sampled_from([0, 3, 6, 9, 11]))
@hypothesis.settings(
    max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_pairs_are_well_formed_and_repeatable(videos, make, config, seed, index):
    sample = make(rng_of(seed), videos, index, config)
    check_pair(sample, config)
    again = make(rng_of(seed), videos, index, config)
    assert list(sample) == list(again)
    for key, value in sample.items():
        np.testing.assert_array_equal(value, again[key])


def test_keys(videos, rng):
    """Those of a clip, and of a pair the previous mask besides: one way to say what is trained on."""
    assert sorted(video_pair(rng, videos, 0, PLAIN)) == PAIR_KEYS
    assert sorted(static_pair(rng, videos, 0, dataclasses.replace(PLAIN, rollout=2))) == PAIR_KEYS
    assert sorted([*clip(rng, videos, 0, PLAIN), "previous_labels"]) == PAIR_KEYS


def test_static_pair_without_transformation_is_the_image(videos, rng):
    sample = static_pair(rng, videos, 11, PLAIN)
    np.testing.assert_array_equal(sample["images"], np.stack([videos[11].image] * 2))
    np.testing.assert_array_equal(sample["labels"], np.stack([videos[11].labels] * 2))
    np.testing.assert_array_equal(sample["previous_labels"], videos[11].labels)
    assert sample["name"] == "third/1"


def test_video_pair_takes_the_frames_it_should(videos):
    """The object of the first video is shifted by its frame number: frames can be told apart."""
    config = dataclasses.replace(PLAIN, previous_gap=2, rollout=2)
    frames = [videos.labels(i) for i in range(6)]

    def which(labels):
        return next(i for i, frame in enumerate(frames) if np.array_equal(frame, labels))

    seen = set()
    for seed in range(200):
        sample = video_pair(rng_of(seed), videos, 3, config)
        assert which(sample["labels"][1]) == 3
        template, previous = which(sample["labels"][0]), which(sample["previous_labels"])
        following = which(sample["labels"][2])
        assert template != 3
        assert 1 <= abs(previous - 3) <= 2
        assert following - 3 == (1 if previous < 3 else -1)
        np.testing.assert_array_equal(sample["images"][2], COLOURS[sample["labels"][2]])
        seen.add((template, previous))
    assert len(seen) == 5 * 4


def test_ends_of_a_video(videos):
    config = dataclasses.replace(PLAIN, previous_gap=5, rollout=2, rollout_gap=3)
    for seed in range(20):
        for index in range(6):
            check_pair(video_pair(rng_of(seed), videos, index, config), config)


def test_template_is_never_empty(videos):
    """The second video shows its objects in two of four frames."""
    for seed in range(40):
        for index in (7, 8):
            sample = video_pair(rng_of(seed), videos, index, PLAIN)
            assert sample["labels"][0].any()
            assert not sample["labels"][1].any()


def test_nothing_to_see_is_no_sample(rng):
    empty = MemorySource([picture(np.zeros((60, 96), np.uint8))] * 3, [3])
    for make in (static_pair, video_pair, clip):
        assert make(rng, empty, 1, PLAIN) is None


def test_objects_beyond_the_maximum_are_background(videos):
    config = dataclasses.replace(PLAIN, max_objects=1)
    chosen = set()
    for seed in range(30):
        sample = static_pair(rng_of(seed), videos, 10, config)
        assert list(sample["valid"]) == [True]
        colour = np.unique(sample["images"][1][sample["labels"][1] == 1], axis=0)
        assert len(colour) == 1
        chosen.add(tuple(int(c) for c in colour[0]))
    assert chosen == {tuple(int(c) for c in COLOURS[i]) for i in (1, 2, 3)}


def test_objects_that_the_template_lacks_are_background(rng):
    one = picture(np.where(blobs(2) == 2, 2, 0).astype(np.uint8))
    both = picture(blobs(2))
    videos = MemorySource([one, both], [2])
    sample = video_pair(rng, videos, 1, PLAIN)
    np.testing.assert_array_equal(sample["labels"][1], blobs(2) == 2)  # id 2 alone is object 1
    assert list(sample["valid"]) == [True, False, False]


@pytest.mark.parametrize("crop", ["frame", "box"])
@hypothesis.given(seed=SEEDS)
@hypothesis.settings(
    max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_images_and_labels_stay_aligned(videos, crop, seed):
    """With everything on but colours, a pixel well inside an object has its colour in every frame."""
    config = dataclasses.replace(FULL, crop=crop, colour=NO_COLOUR, colour_each=NO_COLOUR, max_objects=3)
    sample = video_pair(rng_of(seed), videos, 11, config)
    assert len(sample["images"]) == 3
    for image, label_map in zip(sample["images"], sample["labels"], strict=True):
        same = np.ones(label_map.shape, bool)
        for axis in (0, 1):
            for shift in (-2, -1, 1, 2):
                same &= np.roll(label_map, shift, axis) == label_map
        known = {tuple(int(c) for c in colour) for colour in COLOURS}
        for label in range(1, 4):
            inside = image[same & (label_map == label)]
            # Resampling smooths an object's rim by a pixel or two: most of what is inside is pure.
            pure = [tuple(int(c) for c in colour) in known for colour in inside]
            assert np.mean(pure or [1.0]) > 0.5
            colours = {tuple(int(c) for c in colour) for colour, is_pure in zip(inside, pure, strict=True) if is_pure}
            assert len(colours - {tuple(int(c) for c in COLOURS[0])}) <= 1


def test_padding_keeps_its_colour(videos):
    config = dataclasses.replace(FULL, size=(96, 96), geometry=STILL, paste=PasteConfig(0.0))
    sample = static_pair(rng_of(0), videos, 0, config)
    assert not sample["images"][1][:15].any()
    assert sample["images"][1][25:-25].any()
    away = GeometryConfig(0.0, 0.0, (0.3, 0.3), 0.0, 0.0)
    sample = static_pair(rng_of(0), videos, 0, dataclasses.replace(config, crop="box", geometry=away))
    np.testing.assert_array_equal(sample["images"][1][0, 0], MEAN_COLOUR)


def test_box_crop_shows_the_object_large(videos):
    config = dataclasses.replace(PLAIN, crop="box", max_objects=1, box=BoxConfig((1.5, 1.5), 0.0))
    for seed in range(10):
        sample = video_pair(rng_of(seed), videos, 2, config)
        for labels in (sample["labels"][0], sample["previous_labels"]):
            rows, columns = np.nonzero(labels)
            extent = max((np.ptp(rows) + 1) / 60, (np.ptp(columns) + 1) / 96)
            assert extent == pytest.approx(1 / 1.5, abs=0.05)


def test_box_crop_when_the_object_appears(videos):
    """Frame 9 follows frames without an object: the box falls back on the object's own place."""
    config = dataclasses.replace(PLAIN, crop="box", previous_gap=1)
    sample = video_pair(rng_of(0), videos, 9, config)
    assert not sample["previous_labels"].any()
    assert np.count_nonzero(sample["labels"][1]) > 0.1 * 60 * 96


def test_previous_mask_is_perturbed_alone(videos):
    config = dataclasses.replace(PLAIN, perturbation=PerturbationConfig(empty=1.0))
    sample = video_pair(rng_of(0), videos, 0, config)
    assert not sample["previous_labels"].any()
    assert sample["labels"][1].any()


def paste_config(**fields):
    return dataclasses.replace(PLAIN, paste=PasteConfig(**({"probability": 1.0, "extent": (0.3, 0.5)} | fields)))


def test_pasted_object_is_one_more_object(videos):
    config = paste_config(as_object=1.0, behind=0.0)
    counts = [int(video_pair(rng_of(seed), videos, 0, config)["valid"].sum()) for seed in range(30)]
    assert set(counts) == {1, 2}  # none if the donor is of the same video, or left the picture


def test_pasted_distractor_is_background_and_may_cover(videos):
    config = paste_config(as_object=0.0, behind=0.0)
    covered = 0
    for seed in range(30):
        sample = video_pair(rng_of(seed), videos, 0, config)
        assert list(sample["valid"]) == [True, False, False]
        covered += np.count_nonzero(sample["labels"][1]) < np.count_nonzero(blobs(1))
    assert covered


def test_donor_behind_leaves_the_object_whole(videos):
    config = paste_config(as_object=1.0, behind=1.0)
    for seed in range(20):
        sample = video_pair(rng_of(seed), videos, 0, config)
        np.testing.assert_array_equal(sample["labels"][1] == 1, blobs(1) == 1)


def test_a_twin_has_the_colour_of_the_sample_s_own_object(videos):
    config = paste_config(as_object=1.0, behind=1.0, twin=1.0)
    seen = 0
    for seed in range(20):
        sample = static_pair(rng_of(seed), videos, 0, config)
        twin = sample["labels"][1] == 2
        if twin.sum() > 50:
            colours, counts = np.unique(sample["images"][1][twin], axis=0, return_counts=True)
            np.testing.assert_array_equal(colours[counts.argmax()], COLOURS[1])
            seen += 1
    assert seen > 5


def test_pasted_objects_move_by_themselves(videos):
    """Of a still nothing else does."""
    moving = GeometryConfig(0.0, 0.0, (1.0, 1.0), 0.1, 0.0)
    still = dataclasses.replace(paste_config(as_object=1.0, behind=1.0), rollout=2, motion=STILL)
    config = dataclasses.replace(still, paste=dataclasses.replace(still.paste, motion=moving))
    moved = 0
    for seed in range(20):
        first, last = (static_pair(rng_of(seed), videos, 0, config)["labels"][i] for i in (1, 2))
        np.testing.assert_array_equal(first == 1, last == 1)
        moved += bool((first == 2).any() and ((first == 2) != (last == 2)).any())
        fixed = static_pair(rng_of(seed), videos, 0, still)["labels"]
        np.testing.assert_array_equal(fixed[1], fixed[2])
    assert moved > 5


def test_several_are_pasted(videos):
    config = paste_config(as_object=1.0, behind=1.0, twin=1.0, count=2)
    counts = {int(static_pair(rng_of(seed), videos, 0, config)["valid"].sum()) for seed in range(30)}
    assert 3 in counts
    with pytest.raises(InputError, match=r"paste\.count is 0"):
        PasteConfig(count=0)


def test_no_room_for_a_pasted_object(videos):
    config = dataclasses.replace(paste_config(as_object=1.0), max_objects=1)
    for seed in range(10):
        sample = video_pair(rng_of(seed), videos, 0, config)
        colours = np.unique(sample["images"][1][sample["labels"][1] == 1], axis=0)
        assert (colours == COLOURS[1]).all(axis=1).any()


@pytest.mark.parametrize("config", [PLAIN, FULL, FULL_BOX])
def test_clips_are_well_formed_and_repeatable(videos, config):
    config = dataclasses.replace(config, clip_length=5, clip_gap=2)
    for index in range(len(videos)):
        sample = clip(rng_of(index), videos, index, config)
        assert sorted(sample) == ["images", "labels", "name", "valid"]
        assert sample["images"].shape == (5, *config.size, 3)
        assert sample["labels"].shape == (5, *config.size)
        assert sample["labels"][0].max() == sample["valid"].sum() >= 1
        np.testing.assert_array_equal(sample["images"], clip(rng_of(index), videos, index, config)["images"])


def test_clip_goes_there_and_back(videos):
    config = dataclasses.replace(PLAIN, clip_length=8)
    sample = clip(rng_of(0), videos, 2, config)
    for i, frame in enumerate([2, 3, 4, 5, 4, 3, 2, 1]):
        np.testing.assert_array_equal(sample["labels"][i], videos.labels(frame))
        np.testing.assert_array_equal(sample["images"][i], videos.image(frame))


def test_clip_of_a_still(videos, rng):
    still = MemorySource([videos[0]])
    sample = clip(rng, still, 0, dataclasses.replace(PLAIN, clip_length=3))
    np.testing.assert_array_equal(sample["images"], np.stack([videos.image(0)] * 3))


def test_clip_starts_with_an_object(videos):
    sample = clip(rng_of(3), videos, 7, dataclasses.replace(PLAIN, clip_length=3))
    assert sample["name"] in ("second/0", "second/3")


@pytest.mark.parametrize(
    "fields", [{"crop": "square"}, {"rollout": 3}, {"max_objects": 0}, {"max_objects": 255}, {"clip_length": 0}]
)
def test_impossible_configs_are_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        SampleConfig(**fields)


@pytest.mark.parametrize("sequence", ["bmx-bumps", "surf"])
def test_real_videos_with_empty_frames(shared, sequence):
    tree = DavisTree(shared("data/DAVIS"), 2016)
    source = davis_videos(tree, [sequence])
    empty = [i for i in range(len(source)) if not source.labels(i).any()]
    assert empty
    config = SampleConfig(size=(120, 216))
    for index in empty[:2]:
        for seed in range(2):
            check_pair(video_pair(rng_of(seed), source, index, config), config)
