"""What hangs together with the previous mask, against OpenCV's connected components, and what is dropped for it."""

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.tracker.presence import CELL, DENSITY_CELLS, NEAR_CELLS, connected_cells, densest_cells, drop_unconnected


def blobs(*boxes, shape=(64, 96)):
    """A mask of rectangles (top, left, bottom, right)."""
    mask = np.zeros(shape, np.float32)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def components_with_a_seed(cells, seeds):
    _, labels = cv2.connectedComponents(cells.astype(np.uint8), connectivity=4)
    return np.isin(labels, np.unique(labels[seeds & cells])) & cells


def test_cells_are_those_of_opencv_s_components_with_a_seed(rng):
    """Smoothed noise, so that components wind."""
    for _ in range(20):
        noise = cv2.GaussianBlur(rng.normal(size=(40, 56)), (0, 0), 1.5)
        cells, seeds = noise > 0, rng.random((40, 56)) < 0.01
        expected = components_with_a_seed(cells, seeds)
        found = connected_cells(jnp.asarray(cells)[..., None], jnp.asarray(seeds)[..., None])
        np.testing.assert_array_equal(np.asarray(found)[..., 0], expected)


def test_a_way_may_be_as_long_as_height_and_width():
    """A snake of rows joined at alternate ends: its tail is too far away."""
    h, w = 10, 12
    snake, order = np.zeros((h, w), bool), []
    for row in range(0, h, 2):
        columns = range(w) if row % 4 == 0 else range(w - 1, -1, -1)
        order += [(row, column) for column in columns]
        if row + 1 < h:
            order.append((row + 1, order[-1][1]))
    for cell in order:
        snake[cell] = True
    seeds = np.zeros_like(snake)
    seeds[0, 0] = True
    reached = np.asarray(connected_cells(jnp.asarray(snake)[..., None], jnp.asarray(seeds)[..., None]))[..., 0]
    assert [bool(reached[cell]) for cell in order] == [i <= h + w for i in range(len(order))]


def test_a_part_far_from_the_previous_mask_is_dropped_and_nothing_else_changes(rng):
    previous = blobs((8, 8, 32, 32))
    object_, distractor = blobs((10, 12, 36, 40)), blobs((44, 64, 60, 88))
    probability = 0.4 * rng.random((64, 96)).astype(np.float32) + 0.55 * (object_ + distractor)
    found = np.asarray(drop_unconnected(jnp.asarray(probability)[..., None], jnp.asarray(previous)[..., None]))[..., 0]
    assert not np.any((found > 0.5) & (distractor > 0))
    np.testing.assert_array_equal(found[:40], probability[:40])


def test_a_part_must_share_a_cell_with_the_previous_mask():
    """Another part touches it, so that not everything is kept anyway."""
    previous = blobs((0, 0, 16, 14))
    for left, kept in ((14, True), (16, False)):
        probability = blobs((4, 4, 8, 8), (0, left, 16, left + 8))
        found = drop_unconnected(jnp.asarray(probability)[..., None], jnp.asarray(previous)[..., None])
        assert bool(jnp.any(found[:, 14:] > 0)) == kept


@pytest.mark.parametrize("previous", [blobs((0, 0, 16, 16)), blobs()], ids=["elsewhere", "nowhere"])
def test_of_an_object_that_comes_back_the_densest_part_is_kept(previous):
    """A thin part is larger than the dense one; the object's dense part keeps what hangs on it, thin or not."""
    thin, dense = blobs((0, 20, 4, 96), (4, 92, 60, 96)), blobs((40, 12, 60, 32), (52, 32, 56, 60))
    assert thin.sum() > dense.sum()
    found = drop_unconnected(jnp.asarray(thin + dense)[..., None], jnp.asarray(previous)[..., None])
    np.testing.assert_array_equal(np.asarray(found)[..., 0], dense)


def test_an_object_that_is_nowhere_stays_nowhere():
    none = jnp.full((64, 96, 1), 0.4)
    np.testing.assert_array_equal(drop_unconnected(none, none), none)


def test_the_densest_cells_have_the_most_around_them(rng):
    """Counted one by one; the two halves of the frame are two objects."""
    cells = rng.random((20, 30)) < 0.3
    halves = np.stack([cells * (np.arange(30) < 15), cells * (np.arange(30) >= 15)])
    densest = np.asarray(densest_cells(jnp.asarray(np.moveaxis(halves, 0, -1))))
    reach = DENSITY_CELLS // 2
    for own, found in zip(halves, np.moveaxis(densest, -1, 0), strict=True):
        around = lambda y, x, own=own: own[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].sum()
        counts = np.array([[around(y, x) if own[y, x] else 0 for x in range(30)] for y in range(20)])
        np.testing.assert_array_equal(found, counts == counts.max())


def test_a_familiar_part_near_what_is_kept_is_kept():
    """A part in two halves of which one is familiar stays whole; what is familiar and too far, or only near, goes."""
    previous, near = blobs((8, 8, 56, 16)), blobs((8, 24, 24, 40))
    reach = 16 + NEAR_CELLS * CELL
    within, beyond = blobs((40, reach - CELL, 48, reach + 8)), blobs((0, reach, 4, reach + 8))
    probability = jnp.asarray(previous + near + within + beyond)[..., None]
    familiar = np.zeros((8, 12, 1), bool)
    keep = lambda: np.asarray(drop_unconnected(probability, jnp.asarray(previous)[..., None], jnp.asarray(familiar)))
    np.testing.assert_array_equal(keep()[..., 0], previous)
    familiar[0], familiar[1, 4] = True, True
    np.testing.assert_array_equal(keep()[..., 0], previous + near)
    familiar[:] = True
    np.testing.assert_array_equal(keep()[..., 0], previous + near + within)


def test_objects_do_not_hold_each_other():
    """The first object's distractor lies where the second one was."""
    left, right = blobs((8, 8, 40, 40)), blobs((8, 64, 40, 88))
    previous = jnp.stack([jnp.asarray(left), jnp.asarray(right)], axis=-1)
    probability = jnp.stack([jnp.asarray(left + right), jnp.asarray(right)], axis=-1)
    np.testing.assert_array_equal(drop_unconnected(probability, previous), previous)
