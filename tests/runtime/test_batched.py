"""Videos in lockstep: what each gives alone, ended slots, compilations, a donated state."""

import jax
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.runtime.batched import BatchedTracker, compiled_steps
from ranet_jax.tracker import Tracker, TrackerConfig
from ranet_jax.weights import initial_variables

SIZE = (40, 70)
IDS = ((1, 2), (3, 9), (200, 201))
CONFIGS = {
    "ranet": (
        RANetConfig.lite(
            backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
        ),
        TrackerConfig.lite(),
    ),
    "mrnet": (
        MRNetConfig.lite(backbone="resnet_micro", input_size=(32, 64), decoder_features=(8, 8), interval=2),
        TrackerConfig.mrnet(),
    ),
}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def network(request):
    config, how = CONFIGS[request.param]
    return Tracker(config, how, SIZE), jax.device_put(initial_variables(config, seed=1))


@pytest.fixture
def videos(rng):
    frames = rng.integers(0, 255, (len(IDS), 8, *SIZE, 3), dtype=np.uint8)
    labels = np.zeros((len(IDS), *SIZE), np.uint8)
    for i, (one, other) in enumerate(IDS):
        labels[i, 8 + i : 25, 5:25] = one
        labels[i, 8 + i : 25, 40:60] = other
    return frames, labels


def track(tracker, variables, frames, labels):
    """Label maps and probabilities of all frames but the first, time first."""
    state, results = tracker.init(variables, frames[0], labels), []
    for frame in frames[1:]:
        state, *outputs = tracker.step(variables, state, frame)
        results.append([np.asarray(output) for output in outputs])
    return [np.stack(values) for values in zip(*results, strict=True)]


def test_each_video_is_tracked_as_it_would_be_alone(network, videos):
    tracker, variables = network
    frames, labels = videos
    # Batched convolutions add in another order, and every frame of random weights makes more of the last bits: a factor
    # of five or ten. So only two follow the first.
    frames = frames[:, :3]
    label_maps, probabilities = track(BatchedTracker(tracker), variables, frames.swapaxes(0, 1), labels)
    assert label_maps.shape == (2, 3, *SIZE)
    assert label_maps.dtype == np.uint8
    for i in range(len(IDS)):
        alone, probability = track(tracker, variables, frames[i], labels[i])
        assert set(np.unique(alone)) > {0}, "nothing to compare"
        np.testing.assert_allclose(probabilities[:, i], probability, atol=1e-3)
        ranked = np.sort(np.concatenate([probability, 1 - probability.sum(-1, keepdims=True)], axis=-1), axis=-1)
        decided = ranked[..., -1] - ranked[..., -2] > 1e-2
        np.testing.assert_array_equal(label_maps[:, i][decided], alone[decided])
        assert (label_maps[:, i] == alone).mean() > 0.999


def test_a_video_that_ends_changes_nothing_for_the_others_and_compiles_nothing(network, videos):
    tracker, variables = network
    frames, labels = videos
    tracker = BatchedTracker(tracker)
    whole, _ = track(tracker, variables, frames.swapaxes(0, 1), labels)
    ended = frames.copy()
    ended[1, 3:] = ended[1, 2]
    before = compiled_steps()
    shorter, _ = track(tracker, variables, ended.swapaxes(0, 1), labels)
    assert compiled_steps() == before
    np.testing.assert_array_equal(shorter[:, [0, 2]], whole[:, [0, 2]])
    np.testing.assert_array_equal(shorter[:2, 1], whole[:2, 1])


def test_one_program_whatever_the_ids_and_a_step_reads_nothing_back_and_donates_its_state(network, videos):
    tracker, variables = network
    frames, labels = videos
    tracker = BatchedTracker(tracker)
    programs = []
    for given in (labels, np.where(labels > 0, labels + 1, 0).astype(np.uint8)):
        state = tracker.init(variables, frames[:, 0], given)
        for t in (1, 2):
            earlier = jax.tree.leaves(state)
            with jax.transfer_guard_device_to_host("disallow"):
                state, *_ = tracker.step(variables, state, jax.device_put(frames[:, t]))
            assert any(leaf.is_deleted() for leaf in earlier)
        programs.append(compiled_steps())
    assert programs[0] == programs[1]


def test_videos_of_different_buckets_are_no_batch(network, videos):
    tracker, variables = network
    frames, labels = videos
    labels[1, labels[1] == 9] = 0
    with pytest.raises(InputError, match="buckets of 1, 2: batch those of one bucket"):
        BatchedTracker(tracker).init(variables, frames[:, 0], labels)
