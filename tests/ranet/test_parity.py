"""The released network, stage by stage from golden inputs: features, ranking, decoding.

Random weights make ranking chaotic (neighbouring scores differ by less than float32 noise), so each stage starts from
the golden vectors of the one before.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones import normalise
from ranet_jax.networks import RANet, RANetConfig
from ranet_jax.ranet.correlation import correlate
from ranet_jax.ranet.network import Features, Memory
from ranet_jax.ranet.ranking import Ranked, branch_weights, select_maps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optimized")]
CONFIGS = {mode: RANetConfig(objects=mode, dtype="float32") for mode in ("single", "multi")}


@pytest.fixture(params=["synthetic_case", "real_case"])
def case(request):
    return request.getfixturevalue(request.param)


@functools.cache
def features_function() -> Any:
    return jax.jit(lambda variables, image: RANet(CONFIGS["single"]).apply(variables, image, method="encode"))


def features(variables, frame):
    return features_function()(variables, normalise(jnp.asarray(frame)[None], "resnet101"))


def one_hot(labels):
    count = int(labels.max())
    return jnp.asarray((labels[None, ..., None] == np.arange(1, count + 1)).astype(np.float32))


def golden_memory(case, mode):
    """The golden template feature as a reference, with our weights of its mask."""
    masks = one_hot(case.template_labels[mode])
    prefix = "multi_" if f"{mode}_template_feature" in case.golden else ""
    feature = case.golden[f"{prefix}template_feature"]
    matching = jnp.asarray(feature.transpose(1, 2, 0)[None])
    memory = RANet(CONFIGS[mode]).apply(case.variables, Features((), matching), masks, method="remember")
    np.testing.assert_allclose(memory.feature, matching.reshape(1, 405, 512), atol=1e-6)
    assert memory.known.all()
    return memory


def golden_matching(case):
    return jnp.asarray(case.golden["current_feature"].transpose(1, 2, 0)[None])


def golden_order(case, mode):
    """Orders (1, n, 2, 256) and scores of the golden run."""
    prefix = "multi_" if mode == "multi" else ""
    stack = lambda name: np.stack([case.golden[f"{prefix}{name}_{branch}"] for branch in ("fg", "bg")], axis=-2)
    order, score = stack("order").astype(np.int32), stack("score")
    return (order, score) if mode == "multi" else (order[None], score[None])


def test_matching_features(case):
    template = features(case.variables, case.template_frame)
    remembered = jax.jit(lambda v, seen, masks: RANet(CONFIGS["single"]).apply(v, seen, masks, method="remember"))(
        case.variables, template, one_hot(case.template_labels["single"])
    )
    expected = case.golden["template_feature"].reshape(512, 405).T
    np.testing.assert_allclose(remembered.feature[0], expected, atol=2e-4)
    current = features(case.variables, case.current_frame)
    np.testing.assert_allclose(current.matching[0], case.golden["current_feature"].transpose(1, 2, 0), atol=2e-4)


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_scores_and_order(case, mode):
    memory = golden_memory(case, mode)
    ranked, intermediates = jax.jit(lambda v, m, f: RANet(CONFIGS[mode]).apply(v, m, f, method="rank"))(
        case.variables, memory, golden_matching(case)
    )
    order, score = golden_order(case, mode)
    np.testing.assert_allclose(ranked.score[0], score, atol=2e-5)
    np.testing.assert_array_equal(np.where(score > 0, ranked.order[0], -1), np.where(score > 0, order, -1))
    if mode == "single" and "rank_score_fg" in case.golden:
        raw = intermediates["rank_score"][0].reshape(2, 15, 27)
        np.testing.assert_allclose(raw[0], case.golden["rank_score_fg"], atol=1e-4)
        np.testing.assert_allclose(raw[1], case.golden["rank_score_bg"], atol=1e-4)


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_a_second_place_for_a_reference_that_never_comes_changes_nothing(case, mode):
    """Room for two, one given: the golden ranking all the same."""
    one = golden_memory(case, mode)
    pad = lambda x: jnp.pad(x, ((0, 0), (0, x.shape[1]), (0, 0)))
    two = Memory(pad(one.feature), pad(one.weights), pad(one.known))
    ranked, _ = jax.jit(lambda v, m, f: RANet(CONFIGS[mode]).apply(v, m, f, method="rank"))(
        case.variables, two, golden_matching(case)
    )
    order, score = golden_order(case, mode)
    np.testing.assert_allclose(ranked.score[0], score, atol=2e-5)
    # Labels lie one after another among all positions, in which the second reference has its own.
    expected = order % 405 + order // 405 * 810
    np.testing.assert_array_equal(np.where(score > 0, ranked.order[0], -1), np.where(score > 0, expected, -1))


def maps_of_order(memory: Memory, matching, order, mode):
    """The kept maps that a golden order names."""
    similarity = correlate(memory.feature, matching)
    labels = jnp.swapaxes(memory.weights, 1, 2)[0]
    maps = []
    for i in range(order.shape[0]):
        others = [label for label in range(labels.shape[0]) if label != i + 1]
        if mode == "single":
            foreground, background = branch_weights(memory.weights, memory.known, CONFIGS[mode])[0, i]
        else:
            foreground, background = labels[i + 1], labels[jnp.asarray(others)].reshape(-1)
        weights = jnp.stack([foreground[order[i, 0]], background[order[i, 1]]])
        maps.append(select_maps(similarity, jnp.asarray(order[i] % 405)[None], weights[None]))
    return jnp.stack(maps, axis=1)


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_merge_decoder_and_probability(case, mode):
    memory, matching = golden_memory(case, mode), golden_matching(case)
    order, score = golden_order(case, mode)
    maps = maps_of_order(memory, matching, order, mode)
    ranked = Ranked(maps, jnp.asarray(order)[None], jnp.asarray(score)[None])
    pyramid = features(case.variables, case.current_frame).pyramid
    logits, intermediates = jax.jit(lambda v, p, r, m: RANet(CONFIGS[mode]).apply(v, p, r, m, method="decode"))(
        case.variables, pyramid, ranked, one_hot(case.previous_labels[mode])
    )
    logits = np.asarray(logits[0])
    probability = np.asarray(jax.nn.sigmoid(logits))
    golden = case.golden
    if mode == "multi":
        step = 480 // golden["multi_prob"].shape[1]
        found = probability[::step, ::step].transpose(2, 0, 1)
        # The golden probabilities of the real frames are float16.
        np.testing.assert_allclose(found, golden["multi_prob"].astype(np.float32), atol=2.5e-3)
        return
    step = 480 // golden["logits"].shape[0]
    np.testing.assert_allclose(logits[::step, ::step, 0], golden["logits"], atol=5e-3)
    merged = np.asarray(intermediates["merged"][0, 0])
    channels, rows, _ = golden["merged_fg"].shape
    found = merged[0, :: 60 // rows, :: 60 // rows, :channels].transpose(2, 0, 1)
    np.testing.assert_allclose(found, golden["merged_fg"].astype(np.float32), atol=5e-3)
    if "R2" in golden:
        for name, level, stride in (("R1", "level1", 2), ("R2", "level2", 4)):
            found = np.asarray(intermediates[level][0])[::stride, ::stride, :8].transpose(2, 0, 1)
            np.testing.assert_allclose(found, golden[name].astype(np.float32), atol=2e-2)
        np.testing.assert_allclose(probability[..., 0], golden["prob"].astype(np.float32), atol=2e-3)
