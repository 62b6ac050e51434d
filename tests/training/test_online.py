import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.networks import RANet
from ranet_jax.tracker import AspectBox, ReleasedBox, Target, TrackerConfig
from ranet_jax.training import online
from ranet_jax.training.online import adapt
from ranet_jax.weights import initial_variables
from tests.training.micro import MICRO

HOW = TrackerConfig.lite()


def _first_frame(objects=1):
    """Objects of plain colours on noise."""
    frame = np.random.default_rng(0).integers(0, 60, (80, 120, 3), dtype=np.uint8)
    labels = np.zeros((80, 120), np.uint8)
    for i in range(objects):
        labels[20:60, 10 + 35 * i : 40 + 35 * i] = (1, 5, 200)[i]
        frame[labels == (1, 5, 200)[i]] = ((250, 40, 40), (40, 250, 40), (40, 40, 250))[i]
    labels[:3] = 255
    return frame, labels


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(np.asarray, initial_variables(MICRO))


_apply = jax.jit(RANet(MICRO).apply)


def _loss(variables, frame, labels):
    """Cross-entropy of the frame segmented with itself as template."""
    image = normalise(jnp.asarray(frame[None, 8:72, 12:108]), MICRO.backbone)
    masks = jnp.asarray(labels[None, 8:72, 12:108, None] == 1, jnp.float32)
    logits, _ = _apply(variables, image, masks)
    return float(jnp.mean(jnp.logaddexp(0.0, jnp.where(masks > 0, -logits, logits))))


@pytest.mark.slow
def test_adapting_fits_the_first_frame_and_leaves_the_given_weights_alone(variables):
    frame, labels = _first_frame()
    before = jax.tree.map(np.copy, variables)
    adapted = adapt(MICRO, HOW, variables, frame, labels, steps=12, learning_rate=1e-3)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    jax.tree.map(np.testing.assert_array_equal, adapted["batch_stats"], variables["batch_stats"])
    assert _loss(adapted, frame, labels) < 0.8 * _loss(variables, frame, labels)
    again = adapt(MICRO, HOW, variables, frame, labels, steps=12, learning_rate=1e-3)
    jax.tree.map(np.testing.assert_array_equal, adapted, again)
    few = adapt(MICRO, HOW, variables, frame, labels, steps=2, learning_rate=1e-3, seed=1)
    assert _loss(few, frame, labels) > _loss(adapted, frame, labels), "more steps fit better"


@pytest.mark.slow
def test_several_objects_with_any_ids(variables):
    frame, labels = _first_frame(objects=3)
    adapted = adapt(MICRO, HOW, variables, frame, labels, steps=1, learning_rate=1e-3)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), adapted["params"], variables["params"])
    assert 0 < max(jax.tree.leaves(moved)) < 2e-3


@pytest.mark.slow
def test_weights_on_the_device_survive_and_one_program_serves_every_frame_size_and_rate(variables):
    on_device = jax.device_put(variables)
    frame, labels = _first_frame()
    adapt(MICRO, HOW, on_device, frame, labels, steps=1, learning_rate=1e-3)
    programs = online._adapt_step._cache_size()
    slowly = adapt(MICRO, HOW, on_device, frame[:, :100], labels[:, :100], steps=1, learning_rate=1e-6)
    assert online._adapt_step._cache_size() == programs
    jax.tree.map(np.testing.assert_array_equal, on_device, variables)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), slowly["params"], variables["params"])
    assert 0 < max(jax.tree.leaves(moved)) < 2e-6, "Adam's first step is as long as the rate"


@pytest.mark.parametrize(("window", "crop"), [(AspectBox(), "box"), (ReleasedBox(), "frame")])
def test_samples_are_cut_as_the_tracker_s_window_cuts(variables, monkeypatch, window, crop):
    seen = []
    monkeypatch.setattr(online, "static_pair", lambda rng, source, index, config: seen.append(config))
    adapt(
        MICRO, TrackerConfig(window=window, target=Target()), variables, *_first_frame(3), steps=2, learning_rate=1e-3
    )
    assert [config.crop for config in seen] == [crop] * 2
    assert [(config.size, config.max_objects) for config in seen] == [((64, 96), 4)] * 2


def test_no_steps_change_nothing(variables):
    adapted = adapt(MICRO, HOW, variables, *_first_frame(), steps=0, learning_rate=1e-3)
    jax.tree.map(np.testing.assert_array_equal, adapted, variables)


def test_wrong_input_is_explained(variables):
    frame, labels = _first_frame()
    empty = np.where(labels == 1, 0, labels).astype(np.uint8)
    with pytest.raises(InputError, match="mask is empty"):
        adapt(MICRO, HOW, variables, frame, empty, steps=1, learning_rate=1e-3)
    with pytest.raises(InputError, match="0 or more"):
        adapt(MICRO, HOW, variables, frame, labels, steps=-1, learning_rate=1e-3)
    for rate in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="positive number"):
            adapt(MICRO, HOW, variables, frame, labels, steps=1, learning_rate=rate)
