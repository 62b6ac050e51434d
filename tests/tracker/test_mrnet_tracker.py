"""MRNet's tracker: the same masks as training's scan, sizes, ids, compilations, a state that does not grow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ranet_jax.tracker.make import make_tracker
from ranet_jax.tracker.mrnet_tracker import MRNetTracker, compiled_steps
from ranet_jax.tracker.ranet_tracker import RANetTracker
from ranet_jax.training.mrnet import rollout

from ranet_jax.errors import InputError
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.weights import initial_variables

CONFIG = MRNetConfig.lite(backbone="resnet_micro", input_size=(32, 64), decoder_features=(8, 8))


@pytest.fixture(scope="module")
def variables():
    return jax.device_put(initial_variables(CONFIG, seed=1))


def video(rng, size, ids, count=4):
    height, width = size
    frames = rng.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    labels = np.zeros(size, np.uint8)
    for i, value in enumerate(ids):
        labels[height // 4 : height // 2, 2 + i * (width // (len(ids) + 1)) :][:, : width // (len(ids) + 2)] = value
    return frames, labels


@pytest.mark.parametrize("mask_input", ["decoder", "stem"])
def test_tracking_gives_the_masks_of_training_s_scan_past_table_1_s_last_row(variables, rng, mask_input):
    config = CONFIG
    if mask_input == "stem":
        config = dataclasses.replace(CONFIG, mask_input="stem")
        variables = initial_variables(config, seed=1)
        for leaf in jax.tree.leaves(variables["params"]["mask_stem"]):  # it starts at zero, and would do nothing
            leaf[:] = rng.normal(size=leaf.shape) * 0.1
    frames, labels = video(rng, (32, 64), (1, 2), count=31)
    batch = {"images": frames[None], "labels": np.stack([labels] * 31)[None], "valid": np.ones((1, 2), bool)}
    scanned, chosen = jax.jit(rollout, static_argnums=0)(config, variables, jax.tree.map(jnp.asarray, batch))
    tracker = MRNetTracker(config, (32, 64))
    state = tracker.init(variables, frames[0], labels)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for t, frame in enumerate(frames[1:]):
        state, label_map, probability = tracker.step(variables, state, frame)
        np.testing.assert_allclose(probability, scanned[t, 0], atol=1e-4)
        np.testing.assert_array_equal(state.chosen, chosen["frame"][t, 0])
        winner = np.concatenate([1 - probability.sum(-1, keepdims=True), probability], axis=-1)
        clear = np.sort(winner, axis=-1)
        decided = clear[..., -1] - clear[..., -2] > 1e-3
        np.testing.assert_array_equal(np.asarray(label_map)[decided], winner.argmax(-1)[decided])
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes, "nothing grows with the video"
    assert int(state.memory.time) == 31
    assert chosen["score"].shape == (30, 1, 2, 5)
    assert set(np.asarray(chosen["frame"])[24].ravel().tolist()) <= {0, 20, 15, 10, 5}


@pytest.mark.parametrize("size", [(50, 120), (97, 61)])
def test_any_frame_size_comes_back_in_its_own_with_its_ids(variables, rng, size):
    ids = (1, 5, 9, 17, 33, 65, 200)
    frames, labels = video(rng, size, ids)
    tracker = MRNetTracker(CONFIG, size)
    state = tracker.init(variables, frames[0], labels)
    np.testing.assert_array_equal(state.ids, [*ids, 0])
    np.testing.assert_array_equal(state.memory.valid, [[True] * 7 + [False]])
    state, label_map, probability = tracker.step(variables, state, frames[1])
    assert label_map.shape == size
    assert label_map.dtype == jnp.uint8
    assert set(np.unique(label_map)) <= {0, *ids}
    assert probability.shape == (*size, 8)
    np.testing.assert_array_equal(probability[..., 7], 0)
    assert 0 <= float(probability.min()) <= float(probability.max()) <= 1


def test_one_compilation_for_each_size_and_bucket_and_a_donated_state(variables, rng):
    size = (40, 70)
    before = compiled_steps()
    for ids in ((1,), (7,), (1, 2, 3, 4, 5, 6, 9), (1, 2, 3, 4, 5, 6, 7, 8)):
        frames, labels = video(rng, size, ids)
        tracker = MRNetTracker(CONFIG, size)
        state = tracker.init(variables, frames[0], labels)
        for frame in frames[1:]:
            earlier = state
            with jax.transfer_guard_device_to_host("disallow"):
                state, *_ = tracker.step(variables, state, jax.device_put(frame))
            assert earlier.memory.features.is_deleted()
    assert compiled_steps() - before == 2


def test_a_speck_leaves_something_in_the_mask(variables, rng):
    frames, labels = video(rng, (320, 640), (1,))
    labels[:] = 0
    labels[100:103, 200:203] = 1
    state = MRNetTracker(CONFIG, (320, 640)).init(variables, frames[0], labels)
    assert bool(state.memory.valid[0, 0])
    assert float(state.memory.first_mask.sum()) > 0


def test_wrong_inputs_are_named():
    tracker = MRNetTracker(CONFIG, (48, 80))
    frame, labels = np.zeros((48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
    with pytest.raises(InputError, match="mask is empty"):
        tracker.init({}, frame, labels)
    with pytest.raises(InputError, match="mask is 81x48 pixels and the video 80x48"):
        tracker.init({}, frame, np.zeros((48, 81), np.uint8))


def test_the_configuration_decides_the_tracker():
    assert make_tracker(CONFIG, (48, 80)) == MRNetTracker(CONFIG, (48, 80))
    assert isinstance(make_tracker(RANetConfig.lite(), (48, 80)), RANetTracker)
