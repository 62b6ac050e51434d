"""Boxes, crops and their inverses: the released tracker's geometry, and properties for any mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ranet_jax.backbones import normalise
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker.aggregation import merge_objects
from ranet_jax.tracker.window import box_of_mask, crop_frame, crop_labels, uncrop

RELEASED = RANetConfig(dtype="float32")
LITE = RANetConfig.lite(dtype="float32")
CANVAS = (480, 864)


@pytest.fixture
def golden(shared):
    return np.load(shared("golden/tracking.npz"))


def test_box_of_extents_is_the_released_one(golden):
    box_function = jax.jit(lambda mask: box_of_mask(mask, RELEASED))
    for (top, left, bottom, right), expected in zip(golden["box_extents"], golden["box_expected"], strict=True):
        mask = np.zeros(CANVAS, bool)
        if top >= 0:
            mask[top, left] = mask[bottom, right] = True
        np.testing.assert_array_equal(box_function(mask), expected)


def reference_box(mask):
    """The spec's rule in Python integers and float32."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    full = [0, 0, *CANVAS]
    if not rows.size:
        return full
    r0, r1, c0, c1 = (int(v) for v in (rows[0], rows[-1], columns[0], columns[-1]))
    p = np.float32(480 / 864)
    half = max(np.float32((r1 - r0) * 1.5 / 2), p * np.float32((c1 - c0) * 1.5 / 2))
    a, b = int(half), int(half / p)
    cy, cx = (r0 + r1) // 2, (c0 + c1) // 2
    box = [max(cy - a, 0), max(cx - b, 0), min(cy + a, 480), min(cx + b, 864)]
    return full if box[2] - box[0] < 32 or box[3] - box[1] < 32 else box


@given(st.tuples(st.integers(0, 479), st.integers(0, 479), st.integers(0, 863), st.integers(0, 863)))
@settings(max_examples=200, deadline=None)
def test_box_of_any_extent(corners):
    rows, columns = sorted(corners[:2]), sorted(corners[2:])
    mask = np.zeros(CANVAS, bool)
    mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
    np.testing.assert_array_equal(box_of_mask(jnp.asarray(mask), RELEASED), reference_box(mask))


def test_crop_of_frame_and_mask(golden, shared):
    frame = np.asarray(Image.open(shared("data/DAVIS/JPEGImages/480p/car-shadow/00003.jpg")))
    frame = np.pad(frame, ((0, 0), (5, 5), (0, 0)))
    mask = jnp.asarray(golden["mask"] > 0)
    box = box_of_mask(mask, RELEASED)
    np.testing.assert_array_equal(box, golden["box"])
    cropped = normalise(crop_frame(jnp.asarray(frame, jnp.float32), box, RELEASED), "resnet101")
    np.testing.assert_allclose(cropped[::4, ::4], golden["frame_crop"].transpose(1, 2, 0), atol=2e-4)
    labels = crop_labels(mask.astype(jnp.int32), box, RELEASED)
    np.testing.assert_array_equal(labels > 0, golden["mask_crop"])


def test_uncrop_threshold_and_next_box(golden):
    y, x = np.mgrid[0:480, 0:864]
    ellipse = lambda cy, cx, sy, sx: 1 / (1 + np.exp(-4 * (1 - ((y - cy) / sy) ** 2 - ((x - cx) / sx) ** 2)))
    values = np.stack([ellipse(240, 300, 120, 160), ellipse(200, 520, 140, 200)], -1).astype(np.float32)
    probability = uncrop(jnp.asarray(values), jnp.asarray(golden["box"], jnp.float32), CANVAS, RELEASED)
    np.testing.assert_allclose(probability[::2, ::2], golden["probability_uncropped"].transpose(1, 2, 0), atol=1e-5)
    _, single = merge_objects(probability[..., :1], jnp.ones(1, bool), "maximum")
    np.testing.assert_array_equal(single > 0, golden["single_mask"])
    np.testing.assert_array_equal(box_of_mask(single > 0, RELEASED), golden["single_next_box"])
    _, several = merge_objects(probability, jnp.ones(2, bool), "maximum")
    np.testing.assert_array_equal(several, golden["labels"])
    np.testing.assert_array_equal(box_of_mask(several > 0, RELEASED), golden["multi_next_box"])


@given(st.integers(0, 95), st.integers(0, 95), st.integers(4, 60), st.integers(4, 60))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("crop", ["clip", "pad"])
def test_crop_and_uncrop_bring_any_mask_back(crop, top, left, height, width):
    config = RANetConfig.lite(input_size=(96, 160), crop=crop, crop_scale=1.5)
    labels = np.zeros((120, 200), np.int32)
    labels[top : top + height, left : left + width] = 1
    box = box_of_mask(jnp.asarray(labels > 0), config)
    cropped = crop_labels(jnp.asarray(labels), box, config)
    back = uncrop((cropped == 1).astype(jnp.float32)[..., None], box, (120, 200), config)[..., 0] > 0.5
    # A crop that shrinks loses at most the outline's pixels; nothing may appear elsewhere.
    scale = max(1.0, float((box[2] - box[0]) / 96), float((box[3] - box[1]) / 160))
    grown = np.zeros_like(labels, bool)
    margin = int(np.ceil(scale)) + 1
    grown[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin] = True
    assert not np.asarray(back)[~grown].any()
    inner = np.zeros_like(labels, bool)
    inner[top + margin : max(0, top + height - margin), left + margin : max(0, left + width - margin)] = True
    inner &= labels > 0
    assert np.asarray(back)[inner].all()


def test_padded_crop_shows_mean_colour_outside_and_keeps_aspect():
    mask = np.zeros((200, 300), bool)
    mask[:40, :30] = True
    box = np.asarray(box_of_mask(jnp.asarray(mask), LITE))
    assert box[0] < 0
    assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(256 / 448)
    cropped = np.asarray(crop_frame(jnp.zeros((200, 300, 3)), jnp.asarray(box), LITE))
    np.testing.assert_allclose(cropped[0, 0], (124, 116, 104))
    np.testing.assert_allclose(cropped[140, 240], 0, atol=1e-4)


def test_no_foreground_gives_the_whole_frame():
    empty = jnp.zeros(CANVAS, bool)
    np.testing.assert_array_equal(box_of_mask(empty, RELEASED), (0, 0, 480, 864))
    top, left, bottom, right = np.asarray(box_of_mask(empty, LITE))
    assert top <= 0
    assert left <= 0
    assert bottom >= 480
    assert right >= 864


def test_softmax_merging_agrees_on_clear_pixels_and_sums_with_background():
    probability = jnp.asarray([[[0.9, 0.2], [0.1, 0.2], [0.3, 0.8]]], jnp.float32)
    valid = jnp.ones(2, bool)
    merged, labels = merge_objects(probability, valid, "softmax")
    np.testing.assert_array_equal(labels, [[1, 0, 2]])
    assert np.all(np.asarray(merged.sum(-1)) < 1)
    _, only_first = merge_objects(probability, jnp.asarray([True, False]), "softmax")
    np.testing.assert_array_equal(only_first, [[1, 0, 0]])


def test_maximum_merging_gives_ties_to_the_lower_slot_and_half_to_background():
    probability = jnp.asarray([[[0.7, 0.7], [0.5, 0.5], [0.6, 0.9]]], jnp.float32)
    _, labels = merge_objects(probability, jnp.ones(2, bool), "maximum")
    np.testing.assert_array_equal(labels, [[1, 0, 2]])
