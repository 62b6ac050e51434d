"""The tracker: sizes, label ids, objects that come to nothing, compilations, and the host's part in a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ranet_jax.tracker.ranet_tracker import Canvas, RANetTracker, compiled_steps, object_ids

from ranet_jax.errors import InputError
from ranet_jax.networks import RANet, RANetConfig
from ranet_jax.tracker import ranet_tracker as ranet
from ranet_jax.weights import initial_variables

MICRO = {
    "backbone": "resnet_micro",
    "backbone_norm": "instance",
    "input_size": (64, 96),
    "matching_head_features": (8, 8, 8),
    "matching_features": 8,
    "ranking_features": 8,
    "objects": "multi",
}
CONFIGS = {
    "clip": RANetConfig(**MICRO, template_grid=(2, 3), kept_maps=6, ranking_planes=4),
    "pad": RANetConfig.lite(**MICRO, template_grid=(4, 6), kept_maps=16),
}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def network(request):
    config = CONFIGS[request.param]
    return config, jax.device_put(initial_variables(config, seed=1))


def video(rng, size, ids, count=4):
    height, width = size
    frames = rng.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    labels = np.zeros(size, np.uint8)
    for i, value in enumerate(ids):
        labels[height // 4 : height // 2, 2 + i * (width // (len(ids) + 1)) :][:, : width // (len(ids) + 2)] = value
    return frames, labels


@pytest.mark.parametrize(
    "size", [(64, 96), (50, 120), *(pytest.param(size, marks=pytest.mark.slow) for size in ((97, 61), (130, 200)))]
)
def test_any_frame_size_comes_back_in_its_own(network, rng, size):
    config, variables = network
    frames, labels = video(rng, size, (3,))
    tracker = RANetTracker(config, size)
    state = tracker.init(variables, frames[0], labels)
    state, label_map, probability = tracker.step(variables, state, frames[1])
    assert label_map.shape == size
    assert label_map.dtype == jnp.uint8
    assert probability.shape == (*size, 1)
    assert set(np.unique(label_map)) <= {0, 3}
    assert 0 <= float(probability.min()) <= float(probability.max()) <= 1


def test_label_ids_with_gaps_and_padding_of_the_bucket(network, rng):
    config, variables = network
    ids = (1, 5, 9, 17, 33, 65, 200)
    frames, labels = video(rng, (64, 96), ids)
    tracker = RANetTracker(config, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    np.testing.assert_array_equal(state.ids, [*ids, 0])
    np.testing.assert_array_equal(state.template.valid, [[True] * 7 + [False]])
    for frame in frames[1:]:
        state, label_map, probability = tracker.step(variables, state, frame)
        assert set(np.unique(label_map)) <= {0, *ids}
        np.testing.assert_array_equal(probability[..., 7], 0)


def test_padding_the_objects_changes_nothing(network, rng):
    """Three objects in four slots give what the network gives for exactly three."""
    config, variables = network
    _, labels = video(rng, (64, 96), (1, 2, 3))
    image = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32)
    masks = jnp.asarray((labels[None, ..., None] == np.arange(1, 5)).astype(np.float32))
    apply = jax.jit(lambda masks: RANet(config).apply(variables, image, masks)[0])
    np.testing.assert_allclose(apply(masks)[..., :3], apply(masks[..., :3]), atol=2e-4)


def test_vanished_objects_and_empty_frames_keep_running(network, rng):
    config, variables = network
    frames, labels = video(rng, (64, 96), (1, 2))
    tracker = RANetTracker(config, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    state = state._replace(previous=jnp.zeros_like(state.previous))
    state, _, probability = tracker.step(variables, state, np.zeros_like(frames[0]))
    assert np.isfinite(np.asarray(probability)).all()
    state, _, probability = tracker.step(variables, state, frames[1])
    assert np.isfinite(np.asarray(probability)).all()


def test_the_configuration_decides_which_parts_of_a_prediction_are_kept(rng, monkeypatch):
    """Traced, not run: `tests/models/test_connected.py` has what is dropped."""
    seen = []

    def drop(probability, previous, familiar):
        seen.append((probability.shape, previous.shape, familiar if familiar is None else familiar.shape))
        return probability

    monkeypatch.setattr(ranet, "drop_unconnected", drop)
    frames, labels = video(rng, (64, 96), (1, 2))
    size, cells = (64, 96, 2), (8, 12, 2)
    for maps, parts, learns, calls in (
        (12, "all", True, []),
        (13, "connected", True, [(size, size, cells)]),
        (14, "connected", False, [(size, size, None)]),
    ):
        # A number of maps that no other test has: what was traced before is not traced again.
        config = dataclasses.replace(CONFIGS["pad"], parts=parts, target_update=learns, kept_maps=maps)
        tracker, variables = RANetTracker(config, (64, 96)), initial_variables(config)
        jax.eval_shape(tracker.step, variables, tracker.init(variables, frames[0], labels), frames[1])
        assert seen == calls
        seen.clear()


def test_the_target_model_learns_where_the_configuration_says_so(rng, monkeypatch):
    """A pixel teaches the most probable object alone, and padding nothing."""
    frames, labels = video(rng, (64, 96), (1, 2, 3, 4, 5, 6, 7))
    seen = []

    def update(memory, pyramid, matching, probability):
        jax.debug.callback(lambda p: seen.append(np.asarray(p)), probability)
        return memory._replace(solution=memory.solution + 1.0)

    monkeypatch.setattr(ranet, "update_target_model", update)
    for learns in (False, True):
        # A number of maps that no other test has: what was traced before is not traced again.
        config = dataclasses.replace(CONFIGS["pad"], target_update=learns, kept_maps=11)
        tracker, variables = RANetTracker(config, (64, 96)), initial_variables(config)
        state = tracker.init(variables, frames[0], labels)
        before = np.asarray(state.template.target.solution)
        state, *_ = jax.block_until_ready(tracker.step(variables, state, frames[1]))
        np.testing.assert_allclose(state.template.target.solution, before + float(learns), atol=1e-6)
    jax.effects_barrier()
    (probability,) = seen
    assert probability.shape == (1, 64, 96, 8)
    assert np.count_nonzero(probability, axis=-1).max() == 1
    assert not probability[..., 7].any()


def test_what_is_not_recognised_is_lost_and_looked_for_everywhere(rng, monkeypatch):
    """A prediction declared a stranger gets no label and teaches nothing; with nothing left, the box is the frame."""
    frames, labels = video(rng, (64, 96), (5, 9))
    taught = []

    def update(memory, pyramid, matching, probability):
        jax.debug.callback(lambda p: taught.append(np.asarray(p)), probability)
        return memory

    monkeypatch.setattr(ranet, "update_target_model", update)
    for maps, known in ((9, (True, True)), (10, (True, False)), (8, (False, False))):
        monkeypatch.setattr(ranet, "recognised", lambda *_, known=known: jnp.asarray([known]))
        # Objects that fill the frame, one half each: what is missing from the result was taken away.
        monkeypatch.setattr(ranet, "drop_unconnected", lambda p, *_: halves(p.shape))
        config = dataclasses.replace(CONFIGS["pad"], target_update=True, kept_maps=maps)
        tracker, variables = RANetTracker(config, (64, 96)), initial_variables(config)
        state = tracker.init(variables, frames[0], labels)
        state, label_map, _ = jax.block_until_ready(tracker.step(variables, state, frames[1]))
        expected = {value for value, k in zip((5, 9), known, strict=True) if k}
        assert set(np.unique(label_map)) - {0} == expected
        jax.effects_barrier()
        np.testing.assert_array_equal(taught[-1].any(axis=(0, 1, 2)), known)
    np.testing.assert_allclose(state.box, (0, 0, 64, 96))


def halves(shape):
    """Probability 0.9 of the first object left, of the second right of the middle."""
    left = jnp.arange(shape[1])[None, :, None] < shape[1] // 2
    own = jnp.arange(shape[2])[None, None] == jnp.where(left, 0, 1)
    return jnp.broadcast_to(jnp.where(own, 0.9, 0.05), shape).astype(jnp.float32)


def test_nothing_learns_without_a_target_model():
    with pytest.raises(InputError, match="target_update is True without a target_model"):
        dataclasses.replace(CONFIGS["pad"], target_model=False)


def test_one_compilation_for_each_size_and_bucket(network, rng):
    config, variables = network
    size = (72, 100)
    before = compiled_steps()
    for ids in ((1,), (7,), (1, 2, 3, 4, 5, 6, 9), (1, 2, 3, 4, 5, 6, 7, 8)):
        frames, labels = video(rng, size, ids)
        tracker = RANetTracker(config, size)
        state = tracker.init(variables, frames[0], labels)
        for frame in frames[1:]:
            state, *_ = tracker.step(variables, state, frame)
    # Buckets of one and of eight: two programs, whatever the ids and however many trackers.
    assert compiled_steps() - before == 2


def test_a_step_reads_nothing_back_and_donates_its_state(network, rng):
    config, variables = network
    frames, labels = video(rng, (64, 96), (1,))
    tracker = RANetTracker(config, (64, 96))
    state = tracker.init(variables, frames[0], labels)
    first = state
    # Virtual CPU devices share the host's memory, so reads are caught at their entry: nothing may become a NumPy array.
    with jax.transfer_guard_device_to_host("disallow"):
        state, _, _ = tracker.step(variables, state, jax.device_put(frames[1]))
    assert first.previous.is_deleted()
    assert not state.previous.is_deleted()


def test_the_wrong_size_an_empty_mask_and_too_many_objects_are_named():
    tracker = RANetTracker(CONFIGS["pad"], (48, 80))
    frame, labels = np.zeros((48, 80, 3), np.uint8), np.zeros((48, 80), np.uint8)
    with pytest.raises(InputError, match="mask is empty"):
        tracker.init({}, frame, labels)
    with pytest.raises(InputError, match="mask is 81x48 pixels and the video 80x48"):
        tracker.init({}, frame, np.zeros((48, 81), np.uint8))
    labels.reshape(-1)[:200] = np.arange(200)
    with pytest.raises(InputError, match="199 objects and 16 is the most"):
        tracker.init({}, frame, labels)


def test_void_is_background():
    assert object_ids(np.array([[0, 255, 4]], np.uint8)) == [4]


def test_davis_frames_are_padded_and_others_fitted():
    released = RANetConfig()
    assert Canvas.of((480, 854), released) == Canvas((480, 854), (480, 864), (0, 5))
    assert Canvas.of((480, 910), released).scaled == (456, 864)
    assert Canvas.of((1080, 1920), released).scaled == (480, 853)
    assert Canvas.of((240, 320), released).scaled == (480, 640)
    assert Canvas.of((1080, 1920), RANetConfig.lite()).size == (1080, 1920)
