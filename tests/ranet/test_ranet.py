"""RANet's contract: shapes and names for every variant, ranking by hand, gradients, dtypes, other input sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones.efficientnet import EfficientNetLite0
from ranet_jax.networks import RANet, RANetConfig
from ranet_jax.nn import adaptive_max_pool
from ranet_jax.ranet.correlation import correlate
from ranet_jax.ranet.ranking import Ranking, background_rule, branch_weights
from ranet_jax.weights import initial_variables

MICRO = RANetConfig(
    backbone="resnet_micro",
    input_size=(64, 96),
    template_grid=(2, 3),
    kept_maps=4,
    matching_head_features=(8, 8, 8),
    matching_features=8,
    ranking_features=8,
    ranking_planes=4,
)
LITE = RANetConfig.lite(
    backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
)
VARIANTS = {
    "released": MICRO,
    "multi": dataclasses.replace(MICRO, objects="multi"),
    "none": dataclasses.replace(MICRO, ranking="none"),
    "maximum": dataclasses.replace(MICRO, ranking="maximum", objects="multi"),
    "no correlation": dataclasses.replace(MICRO, correlation=False),
    "paper": dataclasses.replace(MICRO, matching_kernel_size=1, multiscale_dilations=(1, 6, 9)),
    "batch norm": dataclasses.replace(MICRO, backbone_norm="batch"),
    "more maps than positions": dataclasses.replace(MICRO, kept_maps=9),
    "lite": LITE,
}


def inputs(rng, config, objects=2):
    height, width = config.input_size
    image = jnp.asarray(rng.normal(size=(1, height, width, 3)), jnp.float32)
    masks = np.zeros((1, height, width, objects), np.float32)
    for i in range(objects):
        masks[0, 10 + 5 * i : 40, 10 + 25 * i : 30 + 25 * i, i] = 1
    return image, jnp.asarray(masks)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_contract_s_shapes_and_names(rng, name):
    config = VARIANTS[name]
    image, masks = inputs(rng, config)
    variables = initial_variables(config)

    @jax.jit
    def run(variables, image, masks):
        model = RANet(config)
        template = model.apply(variables, image, masks, method="encode_template")
        return template, *model.apply(variables, image, template, masks)

    template, logits, found = run(variables, image, masks)
    t, stride = int(np.prod(config.template_grid)), config.matching_stride
    grid = (64 // stride, 96 // stride)
    assert template.feature.shape == (1, t, config.matching_features)
    assert template.weights.shape == (1, t, 3)
    np.testing.assert_allclose(template.weights.sum(-1), 1, atol=1e-6)
    assert logits.shape == (1, 64, 96, 2)
    assert logits.dtype == jnp.float32
    assert np.isfinite(np.asarray(logits)).all()
    k = {"none": t, "maximum": 1}.get(config.ranking, config.kept_maps)
    assert found["ranked"].maps.shape == (1, 2, 2, *grid, k)
    assert found["ranked"].order.shape == found["ranked"].score.shape == (1, 2, 2, k)
    assert found["matching"].shape == (1, *grid, config.matching_features)
    assert [c.shape[1] for c in found["pyramid"]] == [32, 16, 8, 4, 2]
    expected = {"pyramid", "matching", "ranked", "merged", "level1", "level2"}
    assert set(found) == expected | ({"similarity", "rank_score"} if config.correlation else set())


def test_stages_apart_equal_the_whole(rng):
    image, masks = inputs(rng, MICRO)
    variables, model = jax.device_put(initial_variables(MICRO)), RANet(MICRO)

    @jax.jit
    def both(variables, image, masks):
        template = model.apply(variables, image, masks, method="encode_template")
        features = model.apply(variables, image[:, ::-1], method="features")
        ranked = model.apply(variables, template, features.matching, method="rank")
        apart = model.apply(variables, features.pyramid, ranked, masks, method="decode")
        return apart, model.apply(variables, image[:, ::-1], template, masks)[0]

    apart, whole = both(variables, image, masks)
    np.testing.assert_allclose(apart, whole, atol=1e-5)


def test_previous_mask_is_ignored_where_the_config_says_so(rng):
    image, masks = inputs(rng, MICRO)
    variables = jax.device_put(initial_variables(MICRO))

    def change(config):
        apply = jax.jit(lambda v, previous: RANet(config).apply(v, image, masks, previous)[0])
        return float(jnp.max(jnp.abs(apply(variables, masks) - apply(variables, 1 - masks))))

    assert change(MICRO) > 1e-3
    assert change(dataclasses.replace(MICRO, previous_mask=False)) == 0


def test_correlation_is_the_inner_product_with_every_template_position():
    template = jnp.asarray([[[1.0, 0.0], [0.6, 0.8]]])
    matching = jnp.asarray([[[[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]]]])
    np.testing.assert_allclose(correlate(template, matching)[0, 0], [[0, 0.8], [1, 0.6], [0.8, 0.96]], atol=1e-6)


def test_background_rule_and_branches():
    m = jnp.asarray([[[0.0, 0.1, 0.10001, 1.0]]])
    np.testing.assert_array_equal(background_rule(m), [[[1, 1, 0, 0]]])
    weights = jnp.asarray([[[0.5, 0.3, 0.2]]])
    np.testing.assert_allclose(branch_weights(weights, "multi")[0, :, :, 0], [[0.3, 0.7], [0.2, 0.8]], atol=1e-6)


def rank(config, similarity, weights, valid):
    module = Ranking(config)
    found, _ = jax.jit(module.init_with_output)(jax.random.key(1), similarity, weights, valid)
    return found


def test_multi_object_background_stacks_the_other_labels_in_order(rng):
    """All scores by brute force: weighted maps formed one by one."""
    config = dataclasses.replace(MICRO, objects="multi", kept_maps=5)
    b, h, w, t, n = 1, 4, 6, 6, 3
    similarity = jnp.asarray(rng.normal(size=(b, h, w, t)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(n + 1), size=(b, t)), jnp.float32)
    ranked, raw = rank(config, similarity, weights, jnp.ones((b, n), bool))
    term = np.maximum(np.asarray(raw)[0, 0], 0) * 0.2
    s, labels = np.asarray(similarity)[0], np.asarray(weights)[0].T
    maps = [[s[..., j] * labels[label, j] for j in range(t)] for label in range(n + 1)]
    score = [[maps[label][j].max() + term[j] * labels[label, j] for j in range(t)] for label in range(n + 1)]
    for i in range(n):
        others = [label for label in range(n + 1) if label != i + 1]
        candidates = [(score[label][j], slot * t + j) for slot, label in enumerate(others) for j in range(t)]
        best = sorted(candidates, key=lambda pair: (-pair[0], pair[1]))[:5]
        np.testing.assert_array_equal(ranked.order[0, i, 1], [index for _, index in best])
        np.testing.assert_allclose(ranked.score[0, i, 1], [value for value, _ in best], atol=1e-5)
        expected = np.stack([maps[others[index // t]][index % t] for _, index in best], axis=-1)
        np.testing.assert_allclose(ranked.maps[0, i, 1], expected, atol=1e-6)


def test_padded_objects_are_never_background(rng):
    config = dataclasses.replace(MICRO, objects="multi", kept_maps=6)
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = np.zeros((1, 6, 5), np.float32)
    weights[..., 0], weights[..., 1] = 0.25, 0.75
    ranked, _ = rank(config, similarity, jnp.asarray(weights), jnp.asarray([[True, False, False, False]]))
    assert int(ranked.order[0, 0, 1].max()) < 6, "only slot 0, the background, exists beside the object"
    assert np.isfinite(np.asarray(ranked.score)).all()


def test_equal_scores_keep_the_lower_index():
    config = dataclasses.replace(MICRO, objects="single", kept_maps=6)
    similarity = jnp.zeros((1, 4, 6, 6))
    weights = jnp.concatenate([jnp.zeros((1, 6, 1)), jnp.ones((1, 6, 1))], axis=-1)
    ranked, _ = rank(config, similarity, weights, jnp.ones((1, 1), bool))
    np.testing.assert_array_equal(ranked.order[0, 0, 1], np.arange(6))


def test_fewer_positions_than_kept_maps_are_filled_with_zero_maps(rng):
    config = dataclasses.replace(MICRO, kept_maps=9)
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.full((1, 6, 2), 0.5)
    ranked, _ = rank(config, similarity, weights, jnp.ones((1, 1), bool))
    np.testing.assert_array_equal(ranked.maps[..., 6:], 0)
    assert float(jnp.abs(ranked.maps[0, 0, 0, ..., :6]).max()) > 0


@pytest.mark.parametrize("gradient", ["straight_through", "none"])
def test_the_ranking_network_learns_only_through_the_straight_through_factor(rng, gradient):
    config = dataclasses.replace(MICRO, ranking_gradient=gradient, objects="multi")
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(2), size=(1, 6)), jnp.float32)
    module, valid = Ranking(config), jnp.ones((1, 1), bool)
    variables = jax.jit(module.init)(jax.random.key(3), similarity, weights, valid)
    target = jnp.asarray(rng.normal(size=(1, 1, 2, 4, 6, 4)), jnp.float32)
    loss = lambda v: jnp.sum(jnp.square(module.apply(v, similarity, weights, valid)[0].maps - target))
    size = sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(variables)))
    assert (size > 0) == (gradient == "straight_through")


def test_the_straight_through_factor_changes_no_value(rng):
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(3), size=(1, 6)), jnp.float32)
    valid = jnp.ones((1, 2), bool)
    with_factor, without = (
        rank(dataclasses.replace(MICRO, ranking_gradient=g), similarity, weights, valid)[0]
        for g in ("straight_through", "none")
    )
    np.testing.assert_array_equal(with_factor.maps, without.maps)


def test_bfloat16_computes_close_to_float32_with_float32_parameters(rng):
    image, masks = inputs(rng, LITE, objects=1)
    variables = initial_variables(LITE)
    logits, matching = {}, {}
    for dtype in ("float32", "bfloat16"):
        config = dataclasses.replace(LITE, dtype=dtype)
        apply = jax.jit(lambda v, config=config: RANet(config).apply(v, image, masks))
        logits[dtype], found = apply(variables)
        matching[dtype] = np.asarray(found["matching"])
        assert found["pyramid"].c3.dtype == jnp.dtype(dtype)
        assert found["matching"].dtype == found["similarity"].dtype == found["ranked"].score.dtype == jnp.float32
    assert logits["bfloat16"].dtype == jnp.float32
    assert np.isfinite(np.asarray(logits["bfloat16"])).all()
    # Random weights make the order of maps chaotic, so features are compared and logits are not: unit vectors.
    assert np.sum(matching["float32"] * matching["bfloat16"], axis=-1).min() > 0.99


def test_another_input_size_uses_the_same_parameters(rng):
    """The template grid stays; a larger input is pooled to it."""
    larger = dataclasses.replace(MICRO, input_size=(96, 160))
    shapes = lambda config: jax.tree.map(lambda x: x.shape, initial_variables(config))
    assert shapes(larger) == shapes(MICRO)
    image, masks = inputs(rng, larger)
    logits, found = jax.jit(lambda v: RANet(larger).apply(v, image, masks))(initial_variables(MICRO))
    assert logits.shape == (1, 96, 160, 2)
    assert found["similarity"].shape == (1, 6, 10, 6)
    assert adaptive_max_pool(found["similarity"], (2, 3)).shape == (1, 2, 3, 6)


def test_efficientnet_pyramid_has_the_published_channels():
    module = EfficientNetLite0()
    pyramid = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.zeros((1, 64, 96, 3)))[0]
    assert [c.shape[1:] for c in pyramid] == [(32, 48, 16), (16, 24, 24), (8, 12, 40), (4, 6, 112), (2, 3, 320)]
