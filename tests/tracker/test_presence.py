"""Components against OpenCV's, and the decision for each of them: in place, near, elsewhere, too small, steady."""

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.tracker.presence import Presence, connected_components, decide, densest_cells

CONFIG = Presence()
CELL = CONFIG.cell


def blobs(*boxes, shape=(64, 96)):
    """A mask of rectangles (top, left, bottom, right)."""
    mask = np.zeros(shape, np.float32)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def judged(probability, previous, likeness=None, config=CONFIG):
    """One object's, without its axis; likeness of the cells of 1/8."""
    add = lambda x: jnp.asarray(x, jnp.float32)[..., None]
    found = decide(config, add(probability), add(previous), None if likeness is None else add(likeness))
    return np.asarray(found)[..., 0]


def test_components_are_opencv_s(rng):
    """Smoothed noise, so that components wind."""
    for _ in range(20):
        cells = cv2.GaussianBlur(rng.normal(size=(40, 56)), (0, 0), 1.5) > 0
        count, expected = cv2.connectedComponents(cells.astype(np.uint8), connectivity=4)
        found = np.asarray(connected_components(jnp.asarray(cells)[..., None]))[..., 0]
        pairs = {(int(a), int(b)) for a, b in zip(expected.ravel(), found.ravel(), strict=True)}
        assert len(pairs) == count, "one number for each component, and another for every other"


def test_a_snake_is_one_component():
    h, w = 64, 112
    snake = np.zeros((h, w, 1), bool)
    snake[::2] = True
    snake[1::4, -1] = snake[3::4, 0] = True
    numbers = np.asarray(connected_components(jnp.asarray(snake)))
    assert set(np.unique(numbers[snake])) == {numbers.max()}


def test_a_part_far_from_the_previous_mask_is_dropped_and_nothing_else_changes(rng):
    previous = blobs((8, 8, 32, 32))
    object_, distractor = blobs((10, 12, 36, 40)), blobs((44, 64, 60, 88))
    probability = 0.4 * rng.random((64, 96)).astype(np.float32) + 0.55 * (object_ + distractor)
    found = judged(probability, previous)
    assert not np.any((found > 0.5) & (distractor > 0))
    np.testing.assert_array_equal(found[:40], probability[:40])


def test_a_part_must_share_a_cell_with_the_previous_mask():
    """Another part touches it, so that not everything is kept anyway."""
    previous = blobs((0, 0, 16, 14))
    for left, kept in ((14, True), (16, False)):
        found = judged(blobs((4, 4, 8, 8), (0, left, 16, left + 8)), previous)
        assert bool(np.any(found[:, 14:] > 0)) == kept


@pytest.mark.parametrize("previous", [blobs((0, 0, 16, 16)), blobs()], ids=["elsewhere", "nowhere"])
def test_of_an_object_that_comes_back_the_densest_part_is_kept(previous):
    """A thin part is larger than the dense one; the object's dense part keeps what hangs on it, thin or not."""
    thin, dense = blobs((0, 20, 4, 96), (4, 92, 60, 96)), blobs((40, 12, 60, 32), (52, 32, 56, 60))
    assert thin.sum() > dense.sum()
    np.testing.assert_array_equal(judged(thin + dense, previous), dense)
    np.testing.assert_array_equal(judged(thin + dense, previous, np.full((8, 12), 0.6)), dense)
    unlike = judged(thin + dense, previous, np.full((8, 12), 0.4))
    assert unlike.any() == previous.any(), "it has to look like the object, unless that is too small to judge"


def test_an_object_that_is_nowhere_stays_nowhere():
    none = np.full((64, 96), 0.4, np.float32)
    np.testing.assert_array_equal(judged(none, none), none)


def test_the_densest_cells_have_the_most_around_them(rng):
    """Counted one by one; the two halves of the frame are two objects."""
    cells = rng.random((20, 30)) < 0.3
    halves = np.stack([cells * (np.arange(30) < 15), cells * (np.arange(30) >= 15)])
    densest = np.asarray(densest_cells(CONFIG, jnp.asarray(np.moveaxis(halves, 0, -1))))
    reach = CONFIG.density_cells // 2
    for own, found in zip(halves, np.moveaxis(densest, -1, 0), strict=True):
        around = lambda y, x, own=own: own[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].sum()
        counts = np.array([[around(y, x) if own[y, x] else 0 for x in range(30)] for y in range(20)])
        np.testing.assert_array_equal(found, counts == counts.max())


def test_a_part_near_what_is_kept_needs_more_likeness():
    previous, near = blobs((8, 8, 56, 16)), blobs((8, 24, 24, 40))
    reach = 16 + CONFIG.near_cells * CELL
    within, beyond = blobs((40, reach - CELL, 48, reach + 8)), blobs((0, reach, 4, reach + 8))
    probability = previous + near + within + beyond
    np.testing.assert_array_equal(judged(probability, previous, np.full((8, 12), 0.85)), previous)
    np.testing.assert_array_equal(judged(probability, previous, np.full((8, 12), 0.95)), previous + near + within)
    likeness = np.full((8, 12), 0.85)
    likeness[1:3, 3:5] = 0.95
    np.testing.assert_array_equal(judged(probability, previous, likeness), previous + near)


def test_what_hides_an_object_is_not_taken_for_it():
    """Half of an object in its place is another thing: together they are recognised, the other thing alone is not."""
    previous = blobs((8, 8, 56, 48))
    likeness = np.full((8, 12), 0.1)
    assert not judged(blobs((8, 24, 56, 80)), previous, likeness).any()
    likeness[:, :4] = 1.0
    half = blobs((8, 8, 56, 56))
    np.testing.assert_array_equal(judged(half, previous, likeness), half)


def test_too_small_to_judge_only_where_it_was():
    small = blobs((8, 8, 24, 24))  # 4 cells of 1/8
    assert judged(small, small, np.full((8, 12), 0.0)).any()
    assert not judged(small, blobs(), np.full((8, 12), 0.0)).any()


def test_less_is_expected_of_an_object_that_usually_has_less():
    previous, likeness = blobs((8, 8, 56, 48)), np.full((8, 12), 0.35)
    add = lambda x: jnp.asarray(x, jnp.float32)[..., None]
    found = lambda usual: np.asarray(
        decide(CONFIG, add(previous), add(previous), add(likeness), jnp.asarray([usual], jnp.float32))
    )[..., 0]
    assert not found(1.0).any()
    assert not found(2.0).any()
    np.testing.assert_array_equal(found(0.65), previous)
    likeness[:] = 0.2
    assert not found(0.1).any(), "it is taken for half of the references' at least"


def test_objects_do_not_hold_each_other():
    """The first object's distractor lies where the second one was."""
    left, right = blobs((8, 8, 40, 40)), blobs((8, 64, 40, 88))
    previous = jnp.stack([jnp.asarray(left), jnp.asarray(right)], axis=-1)
    probability = jnp.stack([jnp.asarray(left + right), jnp.asarray(right)], axis=-1)
    np.testing.assert_array_equal(decide(CONFIG, probability, previous, None), previous)


def test_an_object_is_judged_by_its_own_pixels_alone():
    """Two objects side by side that look alike to the network: the first one's prediction spreads over both."""
    left, right = blobs((8, 8, 56, 24)), blobs((8, 24, 56, 88))
    previous = jnp.stack([jnp.asarray(left), jnp.asarray(right)], axis=-1)
    spread = 0.9 * left + 0.6 * right
    alike = np.zeros((8, 12, 2), np.float32)
    alike[:, :3, 0] = alike[:, 3:, 1] = 1.0
    found = lambda second: np.asarray(
        decide(
            CONFIG, jnp.stack([jnp.asarray(spread), jnp.asarray(second * right)], axis=-1), previous, jnp.asarray(alike)
        )
    )
    np.testing.assert_array_equal(found(np.float32(0.9))[..., 0], spread)
    assert not found(np.float32(0.0))[..., 0].any(), "where nobody else has it, what it spreads over is its"
