"""Masks from clicks on pictures whose objects are known."""

import numpy as np
import pytest

from ranet_jax.clicks.clicks import click_mask
from ranet_jax.clicks.features import Encoder
from ranet_jax.clicks.marks import Box, Point, marked_labels
from ranet_jax.clicks.regions import click_features
from ranet_jax.errors import InputError
from ranet_jax.studio.simulation import intersection_over_union, largest_error, simulate_clicks
from ranet_jax.weights import load_checkpoint

from .conftest import SIZE, picture, square


def features_of(image: np.ndarray):
    """Regions of a picture whose features are its own colours."""
    import cv2

    values = image.astype(np.float32) / 255
    levels = [
        cv2.resize(values, (image.shape[1] >> n, image.shape[0] >> n), interpolation=cv2.INTER_AREA)
        for n in range(1, 5)
    ]
    return click_features(image, levels, (image.shape[0], image.shape[1]))


@pytest.fixture
def features():
    return features_of(picture(10))


def test_regions_follow_the_edges(features):
    truth = square(10) > 0
    shares = np.bincount(features.regions.reshape(-1), truth.reshape(-1)) / features.areas
    assert np.minimum(shares, 1 - shares).max() < 0.35
    assert features.regions.min() == 0
    assert len(np.unique(features.regions)) == features.areas.size
    assert features.areas.sum() == SIZE[0] * SIZE[1]
    affinity = features.affinity
    assert abs(affinity - affinity.T).max() == 0
    inside = shares > 0.5
    within, across = affinity[inside][:, inside].mean(), affinity[inside][:, ~inside].mean()
    assert within > 3 * across


def test_one_click_on_a_plain_object(features):
    mask = click_mask(features, [(30.0, 30.0)])
    assert mask.dtype == np.bool_
    assert intersection_over_union(mask, square(10) > 0) > 0.85


def test_a_box_around_a_plain_object(features):
    mask = click_mask(features, [], box=(14.0, 16.0, 46.0, 48.0))
    assert intersection_over_union(mask, square(10) > 0) > 0.85
    assert not mask[:, 50:].any()


def test_a_negative_click_takes_away(features):
    everything = np.zeros(SIZE, np.bool_)
    everything[16:60, 12:90] = True
    mask = click_mask(features, [], [(75.0, 50.0)], previous=everything)
    assert not mask[50, 75]
    assert mask.sum() < everything.sum()


def test_clicks_are_kept_to(features):
    mask = click_mask(features, [(30.0, 30.0), (80.0, 10.0)], [(22.0, 40.0)])
    assert mask[30, 30]
    assert mask[10, 80]
    assert not mask[40, 22]


def test_other_objects_keep_their_pixels(features):
    others = np.zeros(SIZE, np.bool_)
    others[20:32, 18:42] = True
    mask = click_mask(features, [(30.0, 40.0)], others=others)
    assert mask[40, 30]
    assert not (mask & others).any()


def test_parts_that_belonged_to_the_object_stay(features):
    previous = square(10) > 0
    previous[2:10, 80:94] = True
    mask = click_mask(features, [(30.0, 30.0)], previous=previous, trusted=True)
    assert mask[30, 30]
    assert mask[5, 88]


def test_marks_are_objects_with_the_lowest_free_ids(features):
    labels = np.zeros(SIZE, np.uint8)
    labels[50:60, 60:90] = 2
    found = marked_labels(features, [Box(14, 16, 32, 32), Point(80, 8)], labels, taken=[3])
    assert set(np.unique(found)) == {0, 1, 2, 4}
    assert intersection_over_union(found == 1, square(10) > 0) > 0.85
    assert found[8, 80] == 4
    np.testing.assert_array_equal(found == 2, labels == 2)
    assert not (labels == 1).any(), "the label map that was given stays as it is"


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (Point(96, 5), "--point 96,5 lies outside of the frames of 96x64"),
        (Point(70, 55), "--point 70,55 lies on another object"),
        (Box(80, 5, 20, 5), "--box 80,5,20,5 does not lie in the frames of 96x64: it is X,Y,WIDTH,HEIGHT"),
        (Box(10, 5, 0, 5), "does not lie in the frames"),
    ],
)
def test_marks_that_show_no_object_are_named(features, mark, message):
    labels = np.zeros(SIZE, np.uint8)
    labels[50:60, 60:90] = 2
    with pytest.raises(InputError, match=message):
        marked_labels(features, [mark], labels)


@pytest.mark.parametrize("point", [(-1.0, 5.0), (96.0, 5.0), (5.0, 64.0)])
def test_a_click_outside_is_refused(features, point):
    with pytest.raises(InputError, match="outside the frame of 96x64"):
        click_mask(features, [point])


def test_the_first_click_has_to_be_on_the_object(features):
    with pytest.raises(InputError, match="first click"):
        click_mask(features, [], [(5.0, 5.0)])


def test_simulated_clicks_lie_in_the_largest_error():
    wrong = np.zeros(SIZE, np.bool_)
    wrong[10:15, 10:40] = True
    wrong[40:61, 50:71] = True
    area, (x, y) = largest_error(wrong)
    assert (area, x, y) == (21 * 21, 60.0, 50.0)


def test_more_clicks_are_better():
    larger = lambda x: np.kron(x, np.ones((4, 4, 1)[: x.ndim], np.uint8))
    truth = larger(square(10)) > 0
    masks = simulate_clicks(features_of(larger(picture(10))), truth, 4)
    assert len(masks) == 4
    assert intersection_over_union(masks[-1], truth) > 0.9


@pytest.mark.parametrize("size", [(64, 96), (50, 75), (1080, 1920)])
def test_encoder_takes_any_size(checkpoint, size):
    import cv2

    opened = load_checkpoint(checkpoint)
    encoder = Encoder(opened.config, opened.variables)
    image = cv2.resize(picture(10), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    features = encoder.encode("frame", image)
    assert encoder.encode("frame", image) is features, "encoded once"
    truth = cv2.resize(square(10), (size[1], size[0]), interpolation=cv2.INTER_NEAREST) > 0
    mask = click_mask(features, [(30 * size[1] / 96, 30 * size[0] / 64)])
    assert mask.shape == size
    assert intersection_over_union(mask, truth) > 0.6
