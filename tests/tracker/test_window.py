"""Boxes, crops and their inverses: the released tracker's geometry, and properties for any mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.tracker import AspectBox, ReleasedBox, TrackerConfig, WholeFrame
from ranet_jax.tracker.aggregation import aggregate, combined, decide
from ranet_jax.tracker.window import MEAN_COLOUR, Letterbox

RELEASED = ReleasedBox()
LITE = AspectBox()
CANVAS = (480, 864)
LITE_INPUT = (256, 448)


@pytest.fixture
def golden(shared):
    return np.load(shared("golden/tracking.npz"))


def test_box_of_extents_is_the_released_one(golden):
    box_function = jax.jit(lambda mask: RELEASED.box(mask, CANVAS))
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
    np.testing.assert_array_equal(RELEASED.box(jnp.asarray(mask), CANVAS), reference_box(mask))


def test_crop_of_frame_and_mask(golden, shared):
    frame = np.asarray(Image.open(shared("data/DAVIS/JPEGImages/480p/car-shadow/00003.jpg")))
    frame = np.pad(frame, ((0, 0), (5, 5), (0, 0)))
    mask = jnp.asarray(golden["mask"] > 0)
    box = RELEASED.box(mask, CANVAS)
    np.testing.assert_array_equal(box, golden["box"])
    cropped = normalise(RELEASED.cut(jnp.asarray(frame, jnp.float32), box, CANVAS, MEAN_COLOUR), "resnet101")
    np.testing.assert_allclose(cropped[::4, ::4], golden["frame_crop"].transpose(1, 2, 0), atol=2e-4)
    labels = RELEASED.cut_labels(mask.astype(jnp.int32), box, CANVAS)
    np.testing.assert_array_equal(labels > 0, golden["mask_crop"])


def test_uncrop_threshold_and_next_box(golden):
    y, x = np.mgrid[0:480, 0:864]
    ellipse = lambda cy, cx, sy, sx: 1 / (1 + np.exp(-4 * (1 - ((y - cy) / sy) ** 2 - ((x - cx) / sx) ** 2)))
    values = np.stack([ellipse(240, 300, 120, 160), ellipse(200, 520, 140, 200)], -1).astype(np.float32)
    probability = RELEASED.back(jnp.asarray(values), jnp.asarray(golden["box"], jnp.float32), CANVAS)
    np.testing.assert_allclose(probability[::2, ::2], golden["probability_uncropped"].transpose(1, 2, 0), atol=1e-5)
    _, single = decide(probability[..., :1], jnp.ones(1, bool), "hard")
    np.testing.assert_array_equal(single > 0, golden["single_mask"])
    np.testing.assert_array_equal(RELEASED.box(single > 0, CANVAS), golden["single_next_box"])
    _, several = decide(probability, jnp.ones(2, bool), "hard")
    np.testing.assert_array_equal(several, golden["labels"])
    np.testing.assert_array_equal(RELEASED.box(several > 0, CANVAS), golden["multi_next_box"])


@given(st.integers(0, 95), st.integers(0, 95), st.integers(4, 60), st.integers(4, 60))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("window", [ReleasedBox(), AspectBox(scale=1.5)], ids=["released", "aspect"])
def test_crop_and_uncrop_bring_any_mask_back(window, top, left, height, width):
    size = (96, 160)
    labels = np.zeros((120, 200), np.int32)
    labels[top : top + height, left : left + width] = 1
    box = window.box(jnp.asarray(labels > 0), size)
    cropped = window.cut_labels(jnp.asarray(labels), box, size)
    assert cropped.shape == size
    back = window.back((cropped == 1).astype(jnp.float32)[..., None], box, labels.shape)[..., 0] > 0.5
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
    box = np.asarray(LITE.box(jnp.asarray(mask), LITE_INPUT))
    assert box[0] < 0
    assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(256 / 448)
    cropped = np.asarray(LITE.cut(jnp.zeros((200, 300, 3)), jnp.asarray(box), LITE_INPUT, MEAN_COLOUR))
    np.testing.assert_allclose(cropped[0, 0], (124, 116, 104))
    np.testing.assert_allclose(cropped[140, 240], 0, atol=1e-4)


def test_no_foreground_gives_the_whole_frame():
    empty = jnp.zeros(CANVAS, bool)
    np.testing.assert_array_equal(RELEASED.box(empty, CANVAS), (0, 0, 480, 864))
    top, left, bottom, right = np.asarray(LITE.box(empty, LITE_INPUT))
    assert top <= 0
    assert left <= 0
    assert bottom >= 480
    assert right >= 864


def test_an_aspect_box_s_constants_are_its_fields():
    """Of an object of 20 x 30 pixels in a frame: its height decides the box."""
    mask = np.zeros((480, 854), bool)
    mask[100:120, 200:230] = True
    side = lambda window: float(np.diff(np.asarray(window.box(jnp.asarray(mask), LITE_INPUT))[1::2])[0])
    assert side(AspectBox(scale=5.0)) == pytest.approx(5.0 * 20 * 448 / 256)
    assert side(AspectBox(scale=1.6, magnification=4.0)) == pytest.approx(448 / 4), "a speck is not blown up to noise"
    assert side(AspectBox(scale=1.6, magnification=8.0)) == pytest.approx(448 / 8)
    centre = np.asarray(LITE.box(jnp.asarray(mask), LITE_INPUT)).reshape(2, 2).mean(axis=0)
    np.testing.assert_allclose(centre, (110, 215), atol=1e-3)
    assert side(AspectBox(scale=1000.0)) == pytest.approx(2 * 854, rel=1e-3), "at most twice the whole frame's"


def test_the_least_side_of_a_released_box_is_its_field():
    mask = np.zeros(CANVAS, bool)
    mask[100:120, 200:230] = True
    whole, small = (ReleasedBox(minimum=least).box(jnp.asarray(mask), CANVAS) for least in (32, 8))
    np.testing.assert_array_equal(whole, (0, 0, *CANVAS))
    np.testing.assert_array_equal(small, (95, 189, 123, 239))


def test_upright_frames_get_an_upright_input_where_the_window_says_so():
    assert LITE.input_size((854, 480), LITE_INPUT) == (448, 256)
    assert LITE.input_size((480, 854), LITE_INPUT) == LITE_INPUT
    assert LITE.input_size((480, 480), LITE_INPUT) == LITE_INPUT
    assert LITE.input_size((480, 854), (448, 256)) == (256, 448), "an upright network sees wide frames lying"
    for window in (AspectBox(upright=False), RELEASED, WholeFrame()):
        assert window.input_size((854, 480), LITE_INPUT) == LITE_INPUT
    mask = np.zeros((300, 200), bool)
    mask[100:220, 60:120] = True
    top, left, bottom, right = np.asarray(LITE.box(jnp.asarray(mask), (448, 256)))
    assert (bottom - top, right - left) == pytest.approx((1.6 * 120, 1.6 * 120 * 256 / 448))


def test_the_whole_frame_is_the_letterboxed_frame(rng):
    window, size = WholeFrame(), (64, 96)
    frame = jnp.asarray(rng.uniform(0, 255, (*size, 3)), jnp.float32)
    box = window.box(jnp.zeros(size, bool), size)
    np.testing.assert_array_equal(box, (0, 0, 64, 96))
    np.testing.assert_array_equal(window.cut(frame, box, size, MEAN_COLOUR), frame)
    np.testing.assert_array_equal(window.back(frame, box, size), frame)
    np.testing.assert_array_equal(window.cut_labels(jnp.ones(size, jnp.int32), box, size), 1)
    letterbox = window.letterbox((48, 48), size)
    assert letterbox == RELEASED.letterbox((48, 48), size) == Letterbox((64, 64), size, (0, 16))
    assert LITE.letterbox((48, 48), size) == Letterbox((48, 48), (48, 48), (0, 0))
    placed = np.asarray(letterbox.place(jnp.ones((48, 48, 1)), "linear"))
    assert placed[:, 16:80].all()
    assert not placed[:, :16].any()
    assert not placed[:, 80:].any()
    np.testing.assert_allclose(letterbox.take(jnp.asarray(placed), (48, 48)), 1)
    assert Letterbox.of((480, 854), CANVAS) == Letterbox((480, 854), CANVAS, (0, 5)), "padded, not resampled"


@pytest.mark.parametrize("window", [WholeFrame(), ReleasedBox(scale=1.25, minimum=8), AspectBox(upright=False)])
def test_windows_survive_json(window):
    assert TrackerConfig.from_dict(TrackerConfig(window=window).to_dict()).window == window


def test_wrong_windows_are_named():
    with pytest.raises(InputError, match=r"window\.kind is 'Porthole': choose one of WholeFrame"):
        TrackerConfig.from_dict({"window": {"kind": "Porthole"}})
    with pytest.raises(InputError, match=r"tracker\.window.* no field sacle"):
        TrackerConfig.from_dict({"window": {"kind": "AspectBox", "sacle": 1.0}})


def test_soft_decisions_take_the_largest_of_background_and_objects():
    probability = jnp.asarray([[[0.9, 0.05], [0.1, 0.2], [0.3, 0.6], [0.45, 0.2]]], jnp.float32)
    given, labels = decide(probability, jnp.ones(2, bool), "soft")
    np.testing.assert_array_equal(labels, [[1, 0, 2, 1]])
    np.testing.assert_array_equal(given, probability)
    only, labels = decide(probability, jnp.asarray([True, False]), "soft")
    np.testing.assert_array_equal(labels, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(only[..., 1], 0)


def aggregate_of_one(p):
    """Odds of an object and of the background 1 - p, normalised: p^2 / (p^2 + (1 - p)^2)."""
    return p**2 / (p**2 + (1 - p) ** 2)


def test_soft_aggregation_sums_to_one_with_the_background_and_hard_changes_nothing():
    logits = jnp.asarray([[[2.2, -1.4], [-2.2, -1.4], [-0.8, 1.4]]], jnp.float32)
    valid = jnp.ones(2, bool)
    probability = np.asarray(jax.nn.sigmoid(logits))
    background = np.prod(1 - probability, axis=-1, keepdims=True)
    odds = np.concatenate([background, probability], -1)
    odds = odds / (1 - odds)
    expected = (odds / odds.sum(-1, keepdims=True))[..., 1:]
    np.testing.assert_allclose(jax.nn.sigmoid(combined(logits, valid, "soft")), expected, rtol=1e-4)
    np.testing.assert_array_equal(combined(logits, valid, "hard"), logits)
    alone = jax.nn.sigmoid(aggregate(logits, jnp.asarray([True, False])))
    np.testing.assert_allclose(alone[..., 0], aggregate_of_one(probability[..., 0]), rtol=1e-4)
    assert float(alone[..., 1].max()) < 1e-6


def test_hard_decisions_give_ties_to_the_lower_object_and_half_to_the_background():
    probability = jnp.asarray([[[0.7, 0.7], [0.5, 0.5], [0.6, 0.9]]], jnp.float32)
    _, labels = decide(probability, jnp.ones(2, bool), "hard")
    np.testing.assert_array_equal(labels, [[1, 0, 2]])
    _, labels = decide(probability, jnp.asarray([True, False]), "hard")
    np.testing.assert_array_equal(labels, [[1, 0, 1]])
