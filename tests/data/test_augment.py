"""Transformations: exact labels, images aligned with them, geometry as stated."""

import dataclasses

import cv2
import hypothesis
import numpy as np
import pytest
from fabricated import COLOURS, blobs
from hypothesis import strategies as st

from ranet_jax.data import augment
from ranet_jax.data.config import BoxConfig, ColourConfig, GeometryConfig, PerturbationConfig
from ranet_jax.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)
NO_SHIFTS = np.zeros((16, 2))
PLAIN = GeometryConfig(0.0, 0.0, (1.0, 1.0), 0.0, 0.0)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", [(480, 864), (33, 50), (1, 7)])
def test_no_deformation_changes_no_pixel(size, rng):
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    labels = rng.integers(0, 256, size, np.uint8)
    positions = augment.backward_map(augment.no_deformation(), np.eye(3), size)
    np.testing.assert_array_equal(augment.warp_image(image, positions, (9, 9, 9)), image)
    np.testing.assert_array_equal(augment.warp_labels(labels, positions), labels)


def test_mirror_is_exact(rng):
    image = rng.integers(0, 256, (20, 31, 3), np.uint8)
    deformation = augment.sample_deformation(rng, PLAIN, (20, 31), flip=True)
    positions = augment.backward_map(deformation, np.eye(3), (20, 31))
    np.testing.assert_array_equal(augment.warp_image(image, positions, (0, 0, 0)), image[:, ::-1])


def test_translation_moves_by_whole_pixels_and_shows_the_border(rng):
    image = rng.integers(0, 255, (20, 31, 3), np.uint8)
    matrix = np.array([(1, 0, -3), (0, 1, 2), (0, 0, 1)], np.float64)
    positions = augment.backward_map(augment.Deformation(matrix, NO_SHIFTS), np.eye(3), (20, 31))
    moved = augment.warp_image(image, positions, (1, 2, 3))
    np.testing.assert_array_equal(moved[:18, 3:], image[2:, :28])
    np.testing.assert_array_equal(moved[18:, :], np.broadcast_to((1, 2, 3), (2, 31, 3)))


@pytest.mark.parametrize(("angle", "scale"), [(30.0, 1.0), (-20.0, 1.25), (0.0, 0.75)])
def test_rotation_and_scale_about_the_centre(angle, scale, rng):
    config = GeometryConfig(0.0, abs(angle), (scale, scale), 0.0, 0.0)
    deformation = augment.sample_deformation(rng, config, (100, 160), flip=False)
    np.testing.assert_allclose(deformation.matrix @ (80, 50, 1), (80, 50, 1), atol=1e-9)
    assert np.linalg.det(deformation.matrix) == pytest.approx(scale**-2)
    turned = np.rad2deg(np.arctan2(deformation.matrix[1, 0], deformation.matrix[0, 0]))
    assert abs(turned) <= abs(angle) + 1e-9


def test_spline_passes_through_its_control_points(rng):
    """16 points from corner to corner; each is moved as far as it says."""
    height, width = 240, 432
    shifts = rng.uniform(-0.15, 0.15, (16, 2))
    positions = augment.backward_map(augment.Deformation(np.eye(3), shifts), np.eye(3), (height, width))
    for row in range(4):
        for column in range(4):
            y, x = min(row * 80, height - 1), min(column * 144, width - 1)
            expected = np.array((x, y)) + shifts[4 * row + column] * (width, height)
            # A control point lies on the corner of four pixels, this is the centre of one of them.
            np.testing.assert_allclose(positions[y, x], expected, atol=2.5)


def test_spline_of_equal_shifts_is_a_translation():
    deformation = augment.Deformation(np.eye(3), np.tile((0.1, -0.05), (16, 1)))
    positions = augment.backward_map(deformation, np.eye(3), (40, 60))
    expected = np.stack(np.meshgrid(np.arange(60) + 6, np.arange(40) - 2), axis=-1)
    np.testing.assert_allclose(positions, expected, atol=1e-3)


def test_coarse_evaluation_is_close_to_the_spline(rng):
    """Off by under half a pixel at the paper's size and strength."""
    size = (480, 864)
    shifts = rng.uniform(-0.15, 0.15, (16, 2))
    positions = augment.backward_map(augment.Deformation(np.eye(3), shifts), np.eye(3), size)
    pixels = rng.integers(0, size, (500, 2))
    centres = (pixels[:, ::-1] + 0.5) / (size[1], size[0])
    exact = pixels[:, ::-1] + augment._spline_basis(centres) @ shifts * (size[1], size[0])
    assert np.abs(positions[pixels[:, 0], pixels[:, 1]] - exact).max() < 0.5


def test_strengths_stay_within_the_config(rng):
    config = GeometryConfig()
    for _ in range(50):
        deformation = augment.sample_deformation(rng, config, (480, 864), flip=False)
        assert np.abs(deformation.shifts).max() <= 0.15
        magnification = np.linalg.det(deformation.matrix) ** -0.5
        assert 0.75 <= magnification <= 1.25
        assert abs(np.rad2deg(np.arcsin(deformation.matrix[1, 0] * magnification))) <= 30


@hypothesis.given(seed=SEEDS, height=st.integers(20, 90), width=st.integers(20, 90))
@hypothesis.settings(max_examples=60, deadline=None)
def test_labels_stay_exact_and_images_aligned(seed, height, width):
    """Every pixel whose neighbourhood is of one label has exactly that label's colour."""
    rng = rng_of(seed)
    labels = blobs(3, (70, 80))
    size = (height, width)
    deformation = augment.sample_deformation(rng, GeometryConfig(), size, flip=bool(rng.integers(2)))
    placement = augment.place_box(rng, labels, size, BoxConfig())
    positions = augment.backward_map(deformation, placement, size)
    warped = augment.warp_labels(labels, positions)
    image = augment.warp_image(COLOURS[labels], positions, (7, 7, 7))
    assert set(np.unique(warped)) <= set(np.unique(labels))
    source = np.rint(positions).astype(int)
    inside = np.all((source >= 1) & (source < np.array(labels.shape[::-1]) - 1), axis=-1)
    x, y = np.clip(source, 1, np.array(labels.shape[::-1]) - 2).transpose(2, 0, 1)
    around = np.stack([labels[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    pure = inside & np.all(around == around[0], axis=0)
    np.testing.assert_array_equal(image[pure], COLOURS[warped][pure])
    np.testing.assert_array_equal(warped[pure], around[0][pure])


def test_then_applies_the_second_last():
    first = augment.Deformation(np.diag((0.5, 0.5, 1.0)), NO_SHIFTS)
    second = augment.Deformation(np.array([(1.0, 0, -4), (0, 1, 0), (0, 0, 1)]), NO_SHIFTS)
    # An object at 10 is magnified to 20, then moved to 24; backwards, 24 leads to 10.
    np.testing.assert_allclose(first.then(second).matrix @ (24, 0, 1), (10, 0, 1))


def test_davis_frames_are_only_padded(rng):
    """480x854 in 480x864: five columns on each side, no resampling."""
    image = rng.integers(0, 256, (480, 854, 3), np.uint8)
    placement = augment.fit_frame((480, 854), (480, 864))
    positions = augment.backward_map(augment.no_deformation(), placement, (480, 864))
    result = augment.warp_image(image, positions, (0, 0, 0))
    np.testing.assert_array_equal(result[:, 5:859], image)
    assert not result[:, :5].any()
    assert not result[:, 859:].any()


@pytest.mark.parametrize("frame_size", [(30, 200), (200, 30), (77, 77)])
def test_fit_frame_touches_two_borders(frame_size):
    placement = augment.fit_frame(frame_size, (96, 160))
    corners = np.linalg.inv(placement) @ np.array([(0, 0, 1), (frame_size[1], frame_size[0], 1)]).T
    (left, right), (top, bottom), _ = corners
    assert left + right == pytest.approx(160)
    assert top + bottom == pytest.approx(96)
    assert max((right - left) / 160, (bottom - top) / 96) == pytest.approx(1)


@hypothesis.given(
    seed=SEEDS,
    top=st.integers(0, 350),
    left=st.integers(0, 700),
    height=st.integers(1, 120),
    width=st.integers(1, 150),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_box_holds_the_object_at_the_output_aspect(seed, top, left, height, width):
    labels = np.zeros((480, 854), np.uint8)
    labels[top : top + height, left : left + width] = 3
    size, config = (256, 448), BoxConfig((1.3, 2.0), 0.1)
    placement = augment.place_box(rng_of(seed), labels, size, config)
    box_left, box_top, _ = placement @ (0, 0, 1)
    box_right, box_bottom, _ = placement @ (448, 256, 1)
    assert placement[0, 0] == placement[1, 1]
    assert box_left <= left + 1e-6
    assert box_top <= top + 1e-6
    assert box_right >= left + width - 1e-6
    assert box_bottom >= top + height - 1e-6
    times = min((box_bottom - box_top) / height, (box_right - box_left) / width)
    small = box_bottom - box_top == pytest.approx(64)  # never under a quarter of the output
    assert small or 1.3 - 1e-6 <= times <= 2.0 + 1e-6


def test_box_without_an_object_holds_the_frame(rng):
    placement = augment.place_box(rng, np.zeros((480, 854), np.uint8), (256, 448), BoxConfig())
    left, top, _ = placement @ (0, 0, 1)
    right, bottom, _ = placement @ (448, 256, 1)
    assert (left + right) / 2 == pytest.approx(427)
    assert (top + bottom) / 2 == pytest.approx(240)
    assert left <= 0 <= 854 <= right + 1e-6
    assert bottom - top == pytest.approx(854 * 256 / 448)


def test_colours_unchanged_by_a_neutral_draw(rng):
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    neutral = np.array((1.0, 1.0, 1.0, 0.0))
    np.testing.assert_array_equal(augment.apply_colour(image, neutral, neutral), image)


def test_each_colour_change_does_what_it_says(rng):
    image = rng.integers(60, 180, (30, 40, 3), np.uint8)
    brighter = augment.apply_colour(image, np.array((1.2, 1.0, 1.0, 0.0)))
    np.testing.assert_allclose(brighter, image * 1.2, atol=0.51)
    flat = augment.apply_colour(image, np.array((1.0, 0.0, 1.0, 0.0)))
    assert np.ptp(flat) == 0
    gray = augment.apply_colour(image, np.array((1.0, 1.0, 0.0, 0.0)))
    assert np.ptp(gray, axis=-1).max() == 0
    turned = augment.apply_colour(image, np.array((1.0, 1.0, 1.0, 2 * np.pi / 3)))
    np.testing.assert_allclose(turned, np.roll(image, 1, axis=-1), atol=1)
    twice = augment.apply_colour(image, np.array((1.1, 1, 1, 0.0)), np.array((1.1, 1, 1, 0.0)))
    np.testing.assert_allclose(twice, image * 1.21, atol=0.51)


def test_colour_draws_stay_within_the_config(rng):
    config = ColourConfig(0.1, 0.2, 0.3, 0.05)
    draws = np.array([augment.sample_colour(rng, config) for _ in range(200)])
    spread = np.abs(draws - (1, 1, 1, 0)).max(axis=0)
    strengths = np.array((0.1, 0.2, 0.3, 0.05 * 2 * np.pi))
    assert np.all(spread <= strengths)
    assert np.all(spread > 0.8 * strengths)


@hypothesis.given(seed=SEEDS, objects=st.integers(0, 4))
@hypothesis.settings(max_examples=40, deadline=None)
def test_perturbed_labels_are_of_the_same_objects(seed, objects):
    labels = blobs(objects)
    config = PerturbationConfig(grow=0.5, empty=0.2, rectangle=0.5)
    result = augment.perturb_labels(rng_of(seed), labels, config)
    assert set(np.unique(result)) <= set(np.unique(labels))
    np.testing.assert_array_equal(result, augment.perturb_labels(rng_of(seed), labels, config))
    np.testing.assert_array_equal(labels, blobs(objects))


def test_each_perturbation_alone(rng):
    labels = blobs(1, (200, 300))
    area = np.count_nonzero(labels)
    still = PerturbationConfig(PLAIN, grow=0.0, radius=0.1, empty=0.0, rectangle=0.0)
    np.testing.assert_array_equal(augment.perturb_labels(rng, labels, still), labels)
    lost = PerturbationConfig(PLAIN, empty=1.0)
    assert not augment.perturb_labels(rng, labels, lost).any()
    grown = [
        augment.perturb_labels(rng, labels, PerturbationConfig(PLAIN, grow=1.0, empty=0.0, rectangle=0.0))
        for _ in range(30)
    ]
    ring = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    areas = np.array([np.count_nonzero(g) for g in grown])
    assert areas.min() < area - np.count_nonzero(ring) / 4
    assert areas.max() > area + np.count_nonzero(ring) / 4
    for g in grown:  # grown or shrunk, never moved
        assert np.all(labels[g != 0]) or np.all(g[labels != 0])
    damaged = augment.perturb_labels(rng, labels, PerturbationConfig(PLAIN, grow=0.0, empty=0.0, rectangle=1.0))
    assert np.count_nonzero(damaged != labels)
    moved = augment.perturb_labels(rng, labels, PerturbationConfig(grow=0.0, empty=0.0, rectangle=0.0))
    overlap = np.count_nonzero(moved & labels) / np.count_nonzero(moved | labels)
    assert 0.6 < overlap < 1


@pytest.mark.parametrize("seed", range(20))
def test_a_ghost_is_a_copy_in_the_background(seed):
    labels = blobs(2, (200, 300))
    plain = PerturbationConfig(PLAIN, grow=0.0, empty=0.0, rectangle=0.0)
    result = augment.perturb_labels(rng_of(seed), labels, dataclasses.replace(plain, ghost=1.0))
    np.testing.assert_array_equal(result[labels != 0], labels[labels != 0])
    added = np.count_nonzero(result[labels == 0])
    assert 0 < added <= np.count_nonzero(labels)
    assert set(np.unique(result)) == set(np.unique(labels))


def test_label_ids():
    labels = np.array([[0, 200, 200], [3, 0, 255]], np.uint8)
    assert augment.label_ids(labels) == [3, 200, 255]
    assert augment.label_ids(labels, 2) == [200]


@pytest.mark.parametrize("fields", [{"scale": (0.0, 1.0)}, {"scale": (1.5, 1.0)}, {"control_shift": 0.3}])
def test_impossible_strengths_are_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        GeometryConfig(**fields)
