"""Adapting to a video: its own weights, from the same start every time, through the tracker as it is."""

import jax
import numpy as np
import pytest

from ranet_jax.networks import RANetConfig
from ranet_jax.runtime.adapting import AdaptingTracker
from ranet_jax.tracker import Tracker, TrackerConfig, compiled_steps
from ranet_jax.weights import initial_variables

SIZE = (48, 80)
CONFIG = RANetConfig.lite(
    backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
)


@pytest.fixture(scope="module")
def variables():
    return jax.device_put(initial_variables(CONFIG))


@pytest.fixture
def clip(rng):
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 10:40] = 3
    frames = rng.integers(0, 255, (4, *SIZE, 3), dtype=np.uint8)
    return jax.device_put(list(frames)), jax.device_put(labels)


def track(tracker, variables, clip):
    (first, *frames), labels = clip
    state, probabilities = tracker.init(variables, first, labels), []
    for frame in frames:
        state, _, probability = tracker.step(variables, state, frame)
        probabilities.append(np.asarray(probability))
    return np.stack(probabilities)


def test_every_video_starts_from_the_given_weights_and_is_tracked_with_its_own(variables, clip):
    seen = []

    def adapt(given, frame, labels):
        seen.append((given, frame, labels))
        return jax.tree.map(lambda x: 0.9 * x, given)

    plain = Tracker(CONFIG, TrackerConfig.lite(), SIZE)
    scaled = track(plain, jax.tree.map(lambda x: 0.9 * x, variables), clip)
    assert np.abs(scaled - track(plain, variables, clip)).max() > 1e-3
    programs = compiled_steps()
    tracker = AdaptingTracker(plain, adapt)
    for _ in range(2):
        np.testing.assert_array_equal(track(tracker, variables, clip), scaled)
    assert compiled_steps() == programs
    assert all(given is variables for given, *_ in seen)
    np.testing.assert_array_equal(seen[1][1], clip[0][0])
    np.testing.assert_array_equal(seen[1][2], clip[1])


def test_weights_that_stay_as_they_are_give_the_plain_result(variables, clip):
    plain = Tracker(CONFIG, TrackerConfig.lite(), SIZE)
    tracker = AdaptingTracker(plain, lambda given, frame, labels: given)
    np.testing.assert_array_equal(track(tracker, variables, clip), track(plain, variables, clip))


def test_a_later_mask_is_learned_with_the_weights_of_the_first_frame(variables, clip):
    """They are not fitted anew, and room for what comes is made by the tracker inside."""
    (first, *frames), labels = clip
    given = jax.device_put(np.where(np.asarray(labels) > 0, 0, 8 * (np.arange(SIZE[1]) > 60)).astype(np.uint8))
    adaptations = []

    def adapt(variables, frame, labels):
        adaptations.append(frame)
        return jax.tree.map(lambda x: 0.9 * x, variables)

    plain = Tracker(CONFIG, TrackerConfig.lite(), SIZE)
    results = []
    for tracker, own in (
        (AdaptingTracker(plain, adapt), variables),
        (plain, jax.tree.map(lambda x: 0.9 * x, variables)),
    ):
        state = tracker.init(own, first, labels)
        state, *one = tracker.annotate(own, state, frames[0], given)
        state, *other = tracker.step(own, state, frames[1])
        results.append(jax.tree.map(np.asarray, (one, other)))
    jax.tree.map(np.testing.assert_array_equal, *results)
    assert len(adaptations) == 1
    np.testing.assert_array_equal(results[0][0][0][np.asarray(given) > 0], 8)
    assert state.ids.tolist() == [3, 8]
    assert state.ages.tolist() == [1, 2]
