import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.training.losses import (
    Mean,
    binary_cross_entropy,
    dice_loss,
    intersection_over_union,
    mask_loss,
    masks_of_labels,
    mean_of_valid,
)


def _random(rng, shape=(2, 5, 7, 3)):
    return jnp.asarray(rng.normal(size=shape), jnp.float32), jnp.asarray(rng.random(shape) > 0.5, jnp.float32)


def test_binary_cross_entropy_is_the_textbook_formula(rng):
    logits, masks = _random(rng)
    p, m = 1 / (1 + np.exp(-np.asarray(logits, np.float64))), np.asarray(masks)
    expected = -(m * np.log(p) + (1 - m) * np.log1p(-p)).mean(axis=(1, 2))
    np.testing.assert_allclose(binary_cross_entropy(logits, masks), expected, rtol=1e-5)


def test_binary_cross_entropy_of_huge_logits_is_finite():
    logits = jnp.asarray([-1e4, 1e4], jnp.bfloat16).reshape(1, 1, 2, 1)
    loss = binary_cross_entropy(logits, jnp.ones((1, 1, 2, 1)))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, [[float(-logits[0, 0, 0, 0]) / 2]], rtol=1e-6)


def test_dice_loss_is_near_0_for_a_perfect_and_near_1_for_a_wrong_mask():
    masks = jnp.zeros((1, 20, 20, 1)).at[:, :10].set(1.0)
    logits = (masks * 2 - 1) * 30
    assert float(dice_loss(logits, masks)[0, 0]) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(-logits, masks)[0, 0]) == pytest.approx(1 - 1 / 401)
    assert float(dice_loss(-jnp.ones_like(masks) * 30, jnp.zeros_like(masks))[0, 0]) == pytest.approx(0, abs=1e-6)


def test_intersection_over_union(rng):
    logits, masks = _random(rng)
    found, true = np.asarray(logits) > 0, np.asarray(masks) > 0
    expected = (found & true).sum((1, 2)) / (found | true).sum((1, 2))
    np.testing.assert_allclose(intersection_over_union(logits, masks), expected, rtol=1e-6)
    assert float(intersection_over_union(-jnp.ones((1, 4, 4, 1)), jnp.zeros((1, 4, 4, 1)))[0, 0]) == 1


def test_objects_that_do_not_exist_are_left_out_even_where_they_are_nan():
    values = jnp.asarray([[1.0, jnp.nan], [3.0, 5.0]])
    total, count = mean_of_valid(values, jnp.asarray([[True, False], [True, True]]))
    assert (float(total), float(count)) == (9, 3)


def test_padding_objects_changes_nothing(rng):
    logits, masks = _random(rng)
    valid = jnp.ones((2, 3), bool)
    padded = [jnp.concatenate([x, 50 * jnp.ones_like(x[..., :2])], axis=-1) for x in (logits, masks)]
    wide = jnp.concatenate([valid, jnp.zeros((2, 2), bool)], axis=-1)
    short, long = mask_loss(logits, masks, valid, dice_weight=0.5), mask_loss(*padded, wide, dice_weight=0.5)
    np.testing.assert_allclose(short, long, rtol=1e-6)
    assert isinstance(short, Mean)


def test_dice_weight_adds_the_dice_loss(rng):
    logits, masks = _random(rng)
    valid = jnp.ones((2, 3), bool)
    plain, both = (mask_loss(logits, masks, valid, dice_weight=w).total for w in (0.0, 0.5))
    np.testing.assert_allclose(both - plain, 0.5 * dice_loss(logits, masks).sum(), rtol=1e-5)


def test_masks_of_labels():
    labels = np.array([[[0, 1, 2, 255]]], np.uint8)
    np.testing.assert_array_equal(masks_of_labels(jnp.asarray(labels), 2)[0, 0], [[0, 0], [1, 0], [0, 1], [0, 0]])
