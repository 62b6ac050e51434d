"""Copy-paste: labels exact, front and back, the object where it was asked for."""

import numpy as np
import pytest
from fabricated import COLOURS, blobs

from ranet_jax.data import augment
from ranet_jax.data.paste import paste_image, paste_labels, place_donor


def square(top: int, left: int, side: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize("behind", [False, True])
def test_labels_in_front_and_behind(behind):
    labels = square(10, 10, 12) * np.uint8(5)
    mask = square(16, 16, 12)
    result, seen = paste_labels(labels, mask, 2, behind=behind)
    both = (labels != 0) & (mask != 0)
    assert both.any()
    np.testing.assert_array_equal(result[both], 5 if behind else 2)
    np.testing.assert_array_equal(result[(mask != 0) & ~both], 2)
    np.testing.assert_array_equal(result[(labels != 0) & ~both], 5)
    np.testing.assert_array_equal(seen, (mask != 0) & ~(both & behind))


def test_distractor_takes_the_label_away():
    result, _ = paste_labels(square(10, 10, 12) * np.uint8(5), square(10, 10, 6), 0, behind=False)
    assert not result[10:16, 10:16].any()
    assert np.count_nonzero(result) == 144 - 36


def test_image_shows_the_donor_where_it_is_seen_and_blends_one_pixel():
    seen = square(10, 20, 8)
    image, donor = np.full((40, 60, 3), 50, np.uint8), np.full((40, 60, 3), 250, np.uint8)
    result = paste_image(image, donor, seen)
    assert np.all(result[11:17, 21:27] == 250)
    outside = np.ones((40, 60), bool)
    outside[9:19, 19:29] = False
    assert np.all(result[outside] == 50)
    assert 50 < result[10, 23, 0] < 250
    assert np.all(image == 50)


@pytest.mark.parametrize("corner", [(0, 0), (32, 52)])
def test_image_at_the_border(corner):
    image, donor = np.full((40, 60, 3), 50, np.uint8), np.full((40, 60, 3), 250, np.uint8)
    result = paste_image(image, donor, square(*corner, 8))
    assert np.all(result[corner[0] + 2 : corner[0] + 6, corner[1] + 2 : corner[1] + 6] == 250)


@pytest.mark.parametrize("flip", [False, True])
def test_donor_lands_in_its_place_at_its_size(flip):
    labels = blobs(1, (80, 120))
    deformation = augment.no_deformation()
    if flip:
        deformation = augment.Deformation(np.array([(-1.0, 0, 200), (0, 1, 0), (0, 0, 1)]), np.zeros((16, 2)))
    positions = place_donor(labels, deformation, (150.0, 60.0), 50.0, (120, 200))
    mask = augment.warp_labels(labels, positions)
    rows, columns = np.nonzero(mask)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(150, abs=1)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(60, abs=1)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(50, abs=2)
    image = augment.warp_image(COLOURS[labels], positions, (0, 0, 0))
    inner = mask & np.roll(mask, 2, 0) & np.roll(mask, -2, 0) & np.roll(mask, 2, 1) & np.roll(mask, -2, 1)
    assert np.all(image[inner != 0] == COLOURS[1])
