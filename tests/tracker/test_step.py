"""The step of either network: what is judged, what is remembered, and what is learned of whom."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.networks import MRNetConfig
from ranet_jax.tracker import Presence, Target, TrackerConfig
from ranet_jax.tracker import presence as judging
from ranet_jax.tracker.step import Prediction, begin, bound, learn_given, learn_predicted, predict
from ranet_jax.tracker.target import likeness, second_view
from ranet_jax.weights import initial_variables

LITE = MRNetConfig.lite(backbone="resnet_micro", input_size=(64, 96), decoder_features=(8, 8), interval=1)
SOFT = TrackerConfig.mrnet()


@pytest.fixture(scope="module")
def variables():
    return jax.device_put(initial_variables(LITE, seed=1))


@pytest.fixture
def scene(rng):
    """A first frame with two objects, and a frame of more contrast after it."""
    image = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32)
    masks = np.zeros((1, 64, 96, 2), np.float32)
    masks[0, 8:40, 8:40, 0] = masks[0, 16:56, 56:88, 1] = 1
    return image, jnp.asarray(masks), 3 * image[:, ::-1]


def started(net, how, image, masks):
    """Knowledge after the first frame."""
    seen, second = net.encode(image, masks), None
    if how.target is not None:
        m = how.target.magnification
        second = net.encode(second_view(image, m), second_view(masks, m))
    known = jnp.ones((1, masks.shape[-1]), bool)
    return learn_given(net, how, begin(net, how, seen, masks.shape[-1]), seen, second, masks, known, 0)


def segmented(variables, how, image, masks, later):
    net = bound(LITE, variables)
    knowledge = started(net, how, image, masks)
    prediction = predict(net, LITE, how, knowledge, net.encode(later, masks), masks)
    return prediction, learn_predicted(net, how, knowledge, prediction)


# Nothing looks nine times as much like an object as it does itself.
NEVER = Presence(likeness=9.0, near_likeness=9.0, judged_cells=0)


@pytest.mark.parametrize(
    ("target", "presence"), [(None, Presence()), (Target(), NEVER)], ids=["place alone", "looks too"]
)
def test_only_what_is_believed_is_remembered(variables, scene, target, presence):
    """And only remembered: the logits, which a loss is of, are the same."""
    image, masks, later = scene
    run = jax.jit(lambda how: segmented(variables, how, image, masks, later), static_argnums=0)
    plain, after = run(dataclasses.replace(SOFT, target=target))
    judged, kept = run(dataclasses.replace(SOFT, target=target, presence=presence))
    # Where the target model's solver ends depends on last bits; what is cleared would differ by tens.
    np.testing.assert_allclose(judged.logits, plain.logits, atol=1e-3 if target is None else 0.5)
    everything = jax.nn.sigmoid(judged.logits)
    alike = None if target is None else judged.likeness[0]
    expected = judging.decide(presence, everything[0], masks[0], alike)
    np.testing.assert_allclose(judged.probability[0], expected, atol=1e-6)
    cleared = np.asarray(everything - judged.probability) > 1e-6
    assert cleared.any()
    assert not np.asarray(judged.probability)[cleared].any()
    assert (kept.memory.masks <= after.memory.masks + 1e-3).all()
    assert (kept.memory.masks < after.memory.masks - 1e-2).any()


def test_probabilities_are_soft_aggregated_and_of_objects_that_exist(variables, scene):
    image, masks, later = scene
    padded = jnp.concatenate([masks, jnp.zeros_like(masks[..., :1])], axis=-1)

    @jax.jit
    def run(variables):
        net = bound(LITE, variables)
        seen = net.encode(image, padded)
        known = jnp.asarray([[True, True, False]])
        knowledge = learn_given(net, SOFT, begin(net, SOFT, seen, 3), seen, None, padded, known, 0)
        return knowledge, predict(net, LITE, SOFT, knowledge, net.encode(later, padded), padded)

    knowledge, prediction = run(variables)
    np.testing.assert_array_equal(knowledge.valid, [[True, True, False]])
    assert knowledge.target is None
    assert prediction.likeness is None
    assert not prediction.probability[..., 2].any()
    assert 0 < float(prediction.probability.sum(-1).max()) < 1, "the background has the rest"
    two, _ = jax.jit(lambda v: segmented(v, SOFT, image, masks, later))(variables)
    np.testing.assert_allclose(prediction.probability[..., :2], two.probability, atol=1e-5)


def test_a_pixel_teaches_the_most_probable_object_alone(variables, scene):
    """Where both are likely, the target model takes the likelier one's side; elsewhere it learns from either."""
    image, masks, later = scene
    how = dataclasses.replace(SOFT, target=Target())

    @jax.jit
    def learned(variables, probability):
        net = bound(LITE, variables)
        knowledge = started(net, how, image, masks)
        seen = net.encode(later, masks)
        prediction = Prediction(probability, probability, seen, likeness(knowledge.target, seen.maps), {})
        return learn_predicted(net, how, knowledge, prediction).target

    both = jnp.stack([masks[..., 0] * 0.95, masks[..., 0] * 0.9], axis=-1)
    alone = both.at[..., 1].set(0.0)
    (one, other) = (learned(variables, p) for p in (both, alone))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one.recent, other.recent)
    swapped = learned(variables, both[..., ::-1])
    assert np.abs(swapped.recent.products[:, 1] - one.recent.products[:, 1]).max() > 1e-3


def test_a_target_model_that_does_not_update_keeps_what_the_references_taught(variables, scene):
    image, masks, later = scene
    how = dataclasses.replace(SOFT, target=Target(update=False))
    prediction, after = jax.jit(lambda v: segmented(v, how, image, masks, later))(variables)
    before = jax.jit(lambda v: started(bound(LITE, v), how, image, masks))(variables)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), after.target, before.target)
    assert prediction.likeness.shape == (1, 8, 12, 2)
