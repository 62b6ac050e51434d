"""The Mask-Ranking Module by hand: Table 1, masked background, the average against the sum, vanished objects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.mrnet.mask_ranking import (
    average_over_objects,
    candidate_frames,
    choose,
    foreground_average,
    similarity_map,
)

TABLE_1 = {
    1: {0},
    5: {0},
    6: {0, 1},
    10: {0, 5},
    11: {0, 6, 1},
    20: {0, 15, 10, 5},
    21: {0, 16, 11, 6, 1},
    40: {0, 35, 30, 25, 20},
}


@pytest.fixture(scope="module")
def schedule():
    return jax.jit(candidate_frames, static_argnums=(1, 2))


@pytest.mark.parametrize("time", TABLE_1)
def test_candidates_are_exactly_table_1_s(schedule, time):
    frames, exists = schedule(jnp.asarray(time, jnp.int32), 4, 5)
    assert set(np.asarray(frames)[np.asarray(exists)].tolist()) == TABLE_1[time]
    assert schedule._cache_size() == 1, "the schedule is static: one program for every frame"


@pytest.mark.parametrize(("k", "n", "expected"), [(0, 5, {0}), (1, 3, {0, 7}), (6, 2, {0, 8, 6, 4, 2})])
def test_k_and_n_change_how_many_candidates_there_are_and_how_far_apart(k, n, expected):
    frames, exists = candidate_frames(jnp.asarray(10, jnp.int32), k, n)
    assert frames.shape == exists.shape == (k + 1,)
    assert set(np.asarray(frames)[np.asarray(exists)].tolist()) == expected


def test_candidates_are_ordered_from_the_oldest():
    frames, _ = candidate_frames(jnp.asarray(21, jnp.int32), 4, 5)
    np.testing.assert_array_equal(frames, [0, 1, 6, 11, 16])


def test_the_background_of_the_similarity_is_zero_and_its_foreground_the_cosine():
    past = jnp.asarray([[[[[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]]]]])
    current = jnp.asarray([[[[[4.0, 3.0], [5.0, 0.0], [0.0, -1.0]]]]])
    mask = jnp.asarray([[[[0.5, 0.0, 1.0]]]])
    np.testing.assert_allclose(similarity_map(past, current, mask)[0, 0], [[0.5 * 0.96, 0, -1]], atol=1e-6)


def test_features_shared_by_all_objects_are_compared_under_each_one_s_mask():
    past = jnp.asarray([[[[[1.0, 0.0], [0.0, 1.0]]]]])
    masks = jnp.asarray([[[[1.0, 0.0]], [[0.0, 0.5]]]])
    np.testing.assert_allclose(similarity_map(past, past, masks)[0, :, 0], [[1, 0], [0, 0.5]], atol=1e-6)


def test_the_value_of_a_candidate_is_the_average_over_its_foreground():
    similarity = jnp.asarray([[[[0.4, 0.1, 0.0]]]])
    mask = jnp.asarray([[[[0.5, 0.5, 0.0]]]])
    value, present = foreground_average(similarity, mask)
    np.testing.assert_allclose(value, [[0.5]])
    assert bool(present[0, 0])


def select(cosines, masks, frames, exists=None):
    """Candidates of one object on a row of positions, from their cosines and masks."""
    masks = jnp.asarray(masks, jnp.float32)[None, None, :, None]
    similarities = jnp.asarray(cosines, jnp.float32)[None, None, :, None] * masks
    exists = jnp.ones(len(frames), bool) if exists is None else jnp.asarray(exists)
    return choose(similarities, masks, jnp.asarray(frames, jnp.int32), exists[None, None])


def test_a_big_wrong_mask_does_not_win_by_its_size():
    """Its sum of similarities is 4 x 0.5 = 2, the right one's 1 x 0.9: by sums it would win."""
    selected = select([[0.9, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]], [[1, 0, 0, 0], [1, 1, 1, 1]], [0, 7])
    np.testing.assert_allclose(selected.score[0, 0], [0.9, 0.5], atol=1e-6)
    assert int(selected.frame[0, 0]) == 0
    np.testing.assert_allclose(selected.mask[0, 0, 0], [1, 0, 0, 0])
    np.testing.assert_allclose(selected.similarity[0, 0, 0], [0.9, 0, 0, 0], atol=1e-6)


def test_the_best_candidate_is_chosen_and_the_oldest_of_equals():
    row = [[1, 1]] * 4
    assert int(select([[0.1] * 2, [0.8] * 2, [0.3] * 2, [0.8] * 2], row, [0, 1, 6, 11]).frame[0, 0]) == 1
    assert int(select([[0.8] * 2] * 4, row, [0, 1, 6, 11]).frame[0, 0]) == 0


def test_a_candidate_that_does_not_exist_is_not_chosen():
    selected = select([[0.1], [0.9], [0.5]], [[1]] * 3, [0, -4, 1], [True, False, True])
    assert int(selected.frame[0, 0]) == 1
    np.testing.assert_array_equal(selected.eligible[0, 0], [True, False, True])


@pytest.mark.parametrize("first", [[1.0, 1.0], [0.0, 0.0]])
def test_an_object_that_vanished_falls_back_to_frame_0_without_nan(first):
    """Empty masks have the value 0; frame 0 is chosen even where its own is below that, or its mask empty too."""
    selected = select([[-0.5, -0.5], [0.9, 0.9], [0.9, 0.9]], [first, [0, 0], [0, 0]], [0, 1, 6])
    assert int(selected.frame[0, 0]) == 0
    np.testing.assert_allclose(selected.score[0, 0, 1:], 0)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in selected)


def test_gradients_of_empty_and_zero_inputs_are_finite():
    def total(feature, mask):
        similarity = similarity_map(feature, feature, mask)
        selected = choose(similarity[:, :, None], mask[:, :, None], jnp.zeros(1, jnp.int32), jnp.ones((1, 1, 1), bool))
        return jnp.sum(selected.similarity) + jnp.sum(selected.score)

    gradients = jax.grad(total, argnums=(0, 1))(jnp.zeros((1, 1, 2, 2, 3)), jnp.zeros((1, 1, 2, 2)))
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)


def test_objects_choose_for_themselves():
    similarities = jnp.asarray([[[0.2, 0.7], [0.9, 0.1]]])[..., None, None]
    frames, exists = jnp.asarray([0, 3], jnp.int32), jnp.ones((1, 2, 2), bool)
    selected = choose(similarities, jnp.ones((1, 2, 2, 1, 1)), frames, exists)
    np.testing.assert_array_equal(selected.frame, [[3, 0]])


def test_each_object_has_the_references_that_give_its_mask():
    """Two references, 0 and 9, and one recent frame: the best that an object does not have is not its own."""
    similarities = jnp.broadcast_to(jnp.asarray([0.5, 0.9, 0.7]), (1, 3, 3))[..., None, None]
    exists = jnp.asarray([[[True, True, True], [True, False, True], [False, True, True]]])
    frames, masks = jnp.asarray([0, 9, 10], jnp.int32), jnp.ones((1, 3, 3, 1, 1))
    np.testing.assert_array_equal(choose(similarities, masks, frames, exists).frame, [[9, 10, 9]])


@pytest.mark.parametrize(("exists", "fallback"), [([True, True, True], 0), ([False, True, True], 9)])
def test_an_object_nowhere_to_be_seen_falls_back_to_its_first_reference(exists, fallback):
    """Whether that is the video's or not; one that only others have cannot be."""
    selected = select([[0.9], [-0.5], [0.8]], [[0], [0], [0]], [0, 9, 10], exists)
    assert int(selected.frame[0, 0]) == fallback
    assert np.asarray(selected.eligible)[0, 0].tolist() == [value == fallback for value in (0, 9, 10)]


def test_padding_with_no_candidate_at_all_is_no_nan():
    selected = select([[0.9], [0.5]], [[0], [0]], [0, 1], [False, False])
    assert int(selected.frame[0, 0]) == 0
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in selected)
    np.testing.assert_array_equal(selected.mask, 0)


def test_the_average_similarity_is_over_the_objects_that_exist():
    maps = jnp.asarray([[[[0.2]], [[0.6]], [[9.0]]]])
    np.testing.assert_allclose(average_over_objects(maps, jnp.asarray([[True, True, False]]))[0, :, 0, 0], [0.4] * 3)
    np.testing.assert_allclose(average_over_objects(maps, jnp.zeros((1, 3), bool)), 0)
