"""RANet's contract: shapes and names, ranking by hand over references, portrait frames, gradients, dtypes, sizes."""

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


def applying(config, variables):
    """A method of the network, by name, with its weights."""
    return lambda method, *arguments: RANet(config).apply(variables, *arguments, method=method)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_contract_s_shapes_and_names(rng, name):
    config = VARIANTS[name]
    image, masks = inputs(rng, config)
    variables = initial_variables(config)

    @jax.jit
    def run(variables, image, masks):
        apply = applying(config, variables)
        seen = apply("encode", image, masks)
        memory = apply("remember", seen, masks)
        return seen, memory, *apply("read", memory, seen, masks)

    seen, memory, logits, found = run(variables, image, masks)
    t, stride = int(np.prod(config.template_grid)), config.matching_stride
    grid = (64 // stride, 96 // stride)
    assert memory.feature.shape == (1, t, config.matching_features)
    assert memory.weights.shape == (1, t, 3)
    np.testing.assert_allclose(memory.weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(memory.known, [[[True, True]]])
    assert logits.shape == (1, 64, 96, 2)
    assert logits.dtype == jnp.float32
    assert np.isfinite(np.asarray(logits)).all()
    k = {"none": t, "maximum": 1}.get(config.ranking, config.kept_maps)
    assert found["ranked"].maps.shape == (1, 2, 2, *grid, k)
    assert found["ranked"].order.shape == found["ranked"].score.shape == (1, 2, 2, k)
    assert seen.matching.shape == (1, *grid, config.matching_features)
    assert [c.shape[1] for c in seen.pyramid] == [32, 16, 8, 4, 2]
    assert [x.shape[1] for x in seen.maps] == [32, 16, 8, 4, grid[0]], "what a target model is fitted to"
    expected = {"ranked", "merged", "level1", "level2"}
    assert set(found) == expected | ({"similarity", "rank_score"} if config.correlation else set())


def test_stages_apart_equal_the_whole(rng):
    image, masks = inputs(rng, MICRO)
    variables = jax.device_put(initial_variables(MICRO))

    @jax.jit
    def both(variables, image, masks):
        apply = applying(MICRO, variables)
        seen = apply("encode", image)
        known = jnp.ones((1, 2), bool)
        memory = apply("write_reference", apply("empty", seen, 2, 1), seen, masks, known, 0)
        memory = apply("write_recent", memory, seen, 1 - masks)
        later = apply("encode", image[:, ::-1], 1 - masks)
        ranked, _ = apply("rank", memory, later.matching)
        apart, _ = apply("decode", later.pyramid, ranked, masks)
        remembered = apply("remember", seen, masks)
        return apart, apply("read", remembered, later, masks)[0], memory, remembered

    apart, whole, memory, remembered = both(variables, image, masks)
    np.testing.assert_allclose(apart, whole, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, memory, remembered)


def test_init_is_of_a_frame_that_is_its_own_reference(rng):
    image, masks = inputs(rng, MICRO)
    variables = jax.device_put(initial_variables(MICRO))

    @jax.jit
    def both(variables, image, masks):
        apply = applying(MICRO, variables)
        seen = apply("encode", image)
        return apply("__call__", image, masks)[0], apply("read", apply("remember", seen, masks), seen, masks)[0]

    np.testing.assert_allclose(*both(variables, image, masks), atol=1e-5)


def test_previous_mask_is_ignored_where_the_config_says_so(rng):
    image, masks = inputs(rng, MICRO)
    variables = jax.device_put(initial_variables(MICRO))

    def change(config):
        @jax.jit
        def apply(variables, previous):
            apply = applying(config, variables)
            seen = apply("encode", image)
            return apply("read", apply("remember", seen, masks), seen, previous)[0]

        return float(jnp.max(jnp.abs(apply(variables, masks) - apply(variables, 1 - masks))))

    assert change(MICRO) > 1e-3
    assert change(dataclasses.replace(MICRO, previous_mask=False)) == 0


def test_correlation_is_the_inner_product_with_every_template_position():
    template = jnp.asarray([[[1.0, 0.0], [0.6, 0.8]]])
    matching = jnp.asarray([[[[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]]]])
    np.testing.assert_allclose(correlate(template, matching)[0, 0], [[0, 0.8], [1, 0.6], [0.8, 0.96]], atol=1e-6)


def test_background_rule_and_branches():
    m = jnp.asarray([[[0.0, 0.1, 0.10001, 1.0]]])
    np.testing.assert_array_equal(background_rule(m, 0.9), [[[1, 1, 0, 0]]])
    weights = jnp.asarray([[[0.5, 0.3, 0.2]]])
    multi = dataclasses.replace(MICRO, objects="multi")
    branches = lambda config, known: branch_weights(weights, jnp.asarray([[known]]), config)[0, :, :, 0]
    np.testing.assert_allclose(branches(multi, [True, True]), [[0.3, 0.7], [0.2, 0.8]], atol=1e-6)
    np.testing.assert_allclose(branches(multi, [True, False]), [[0.3, 0.7], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(branches(MICRO, [True, True]), [[0.3, 0], [0.2, 0]], atol=1e-6)
    lower = dataclasses.replace(MICRO, background_threshold=0.75)
    np.testing.assert_allclose(branches(lower, [True, True]), [[0.3, 0], [0.2, 1]], atol=1e-6)


def rank(config, similarity, weights, known):
    module = Ranking(config)
    found, _ = jax.jit(module.init_with_output)(jax.random.key(1), similarity, weights, jnp.asarray(known))
    return found


def everything(objects):
    """One reference that gives every object's mask."""
    return np.ones((1, 1, objects), bool)


def test_multi_object_background_stacks_the_other_labels_in_order(rng):
    """All scores by brute force: weighted maps formed one by one."""
    config = dataclasses.replace(MICRO, objects="multi", kept_maps=5)
    b, h, w, t, n = 1, 4, 6, 6, 3
    similarity = jnp.asarray(rng.normal(size=(b, h, w, t)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(n + 1), size=(b, t)), jnp.float32)
    ranked, raw = rank(config, similarity, weights, everything(n))
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


# What each of two references gives of three objects: "some": the second corrects one and brings one; "absent": padding.
GIVEN = {
    "all": [[True, True, True], [True, True, True]],
    "some": [[True, True, False], [True, False, True]],
    "absent": [[True, True, False], [True, True, False]],
}


def two_references(rng, known):
    """Similarity to 2 references of 6 positions, and weights of 3 objects in them."""
    similarity = rng.normal(size=(1, 4, 6, 12)).astype(np.float32)
    weights = rng.dirichlet(np.ones(4), size=(1, 12)).astype(np.float32)
    return jnp.asarray(similarity), jnp.asarray(weights), np.asarray(GIVEN[known])[None]


@pytest.mark.parametrize("known", GIVEN)
def test_several_objects_over_two_references_by_brute_force(rng, known):
    """What is unknown in a reference is neither an object's foreground nor its background."""
    config = dataclasses.replace(MICRO, objects="multi", kept_maps=20, score_scale=0.3)
    similarity, weights, given = two_references(rng, known)
    ranked, raw = rank(config, similarity, weights, given)
    apart = [rank(config, similarity[..., p : p + 6], weights[:, p : p + 6], everything(3))[1] for p in (0, 6)]
    np.testing.assert_allclose(raw, np.concatenate(apart, axis=-1), atol=1e-5)
    term = np.maximum(np.asarray(raw)[0, 0], 0) * 0.3
    s, labels, given = np.asarray(similarity)[0], np.asarray(weights)[0].T, given[0]
    for i in range(3):
        others = [label for label in range(4) if label != i + 1]
        foreground, background = [], []
        for j in range(12):
            own = given[j // 6, i]
            value = lambda label, j=j: labels[label, j] * (s[..., j].max() + term[j])
            if own:
                foreground.append((value(i + 1), j, i + 1))
            for place, label in enumerate(others):
                another = label > 0 and given[j // 6, label - 1]
                exists = label == 0 or given[:, label - 1].any()
                if (own or another) and exists:
                    background.append((value(label), place * 12 + j, label))
        for branch, candidates in enumerate((foreground, background)):
            best = sorted(candidates, key=lambda one: (-one[0], one[1]))[:20]
            maps = [s[..., index % 12] * labels[label, index % 12] for _, index, label in best]
            count = len(best)
            np.testing.assert_array_equal(ranked.order[0, i, branch, :count], [index for _, index, _ in best])
            np.testing.assert_allclose(ranked.score[0, i, branch, :count], [v for v, *_ in best], atol=1e-5)
            np.testing.assert_array_equal(ranked.maps[0, i, branch, ..., count:], 0)
            if count:
                np.testing.assert_allclose(ranked.maps[0, i, branch, ..., :count], np.stack(maps, -1), atol=1e-6)


@pytest.mark.parametrize("known", GIVEN)
def test_single_objects_over_two_references_by_brute_force(rng, known):
    config = dataclasses.replace(MICRO, kept_maps=12)
    similarity, weights, given = two_references(rng, known)
    ranked, raw = rank(config, similarity, weights, given)
    s, labels = np.asarray(similarity)[0], np.asarray(weights)[0].T
    at_positions = np.repeat(given[0], 6, axis=0).T
    for i in range(3):
        for branch, weight in enumerate((labels[i + 1], (1 - labels[i + 1] >= 0.9).astype(np.float32))):
            weight = weight * at_positions[i]
            term = np.maximum(np.asarray(raw)[0, 2 * i + branch], 0) * (weight != 0) * 0.2
            score = weight * s.max(axis=(0, 1)) + term
            order = np.asarray(ranked.order[0, i, branch])
            np.testing.assert_allclose(ranked.score[0, i, branch], np.sort(score)[::-1], atol=1e-5)
            np.testing.assert_allclose(score[order], ranked.score[0, i, branch], atol=1e-5)
            np.testing.assert_allclose(ranked.maps[0, i, branch], s[..., order] * weight[order], atol=1e-6)
            assert sorted(order.tolist()) == list(range(12))


@pytest.mark.parametrize("ranking", ["none", "maximum"])
def test_without_the_ranking_network_the_strongest_of_two_references_counts(rng, ranking):
    config = dataclasses.replace(MICRO, objects="multi", ranking=ranking)
    similarity, weights, given = two_references(rng, "some")
    ranked, _ = rank(config, similarity, weights, given)
    s, labels = np.asarray(similarity)[0], np.asarray(weights)[0].T
    at_positions = np.repeat(given[0], 6, axis=0).T
    for i in range(3):
        for branch, weight in enumerate((labels[i + 1], labels.sum(0) - labels[i + 1])):
            maps = s * (weight * at_positions[i])
            expected = np.maximum(maps[..., :6], maps[..., 6:])
            if ranking == "maximum":
                expected = expected.max(axis=-1, keepdims=True)
            np.testing.assert_allclose(ranked.maps[0, i, branch], expected, atol=1e-6)


def test_references_lie_in_their_slots_and_replace_what_was_there(rng):
    image, masks = inputs(rng, MICRO)
    variables = jax.device_put(initial_variables(MICRO))

    @jax.jit
    def written(variables, image, masks):
        apply = applying(MICRO, variables)
        one, other = apply("encode", image), apply("encode", image[:, ::-1])
        known = jnp.asarray([[True, False]])
        write = lambda memory, seen, masks, slot: apply("write_reference", memory, seen, masks, known, slot)
        both = write(write(apply("empty", one, 2, 2), one, masks, 0), other, 0.5 * masks, 1)
        replaced = write(write(both, other, masks, 1), other, 0.5 * masks, 0)
        apart = [write(apply("empty", one, 2, 1), seen, m, 0) for seen, m in ((one, masks), (other, 0.5 * masks))]
        return both, replaced, write(apply("empty", one, 2, 1), other, masks, 0), *apart

    both, replaced, other, *apart = written(variables, image, masks)
    for i, alone in enumerate(apart):
        jax.tree.map(
            np.testing.assert_allclose, (both.feature[:, 6 * i :][:, :6], both.weights[:, 6 * i :][:, :6]), alone[:2]
        )
    np.testing.assert_array_equal(both.known, [[[True, False]] * 2])
    np.testing.assert_allclose(replaced.weights[:, :6], apart[1].weights)
    np.testing.assert_allclose(replaced.weights[:, 6:], other.weights)
    # Half of a mask is half an area; the background has the rest.
    np.testing.assert_allclose(apart[1].weights[..., 1:], 0.5 * apart[0].weights[..., 1:], atol=1e-6)
    np.testing.assert_allclose(both.weights.sum(axis=-1), 1, atol=1e-6)


def transposed_grid(x, grid, axis=-1):
    """Positions of a grid, row by row, in the order of the transposed grid's."""
    order = np.arange(grid[0] * grid[1]).reshape(grid).T.ravel()
    return jnp.take(x, jnp.asarray(order), axis=axis)


@pytest.mark.parametrize("objects", ["single", "multi"])
def test_a_portrait_frame_s_ranking_is_the_landscape_one_transposed(rng, objects):
    """The grid stands upright with the frame, and the ranking network, whose channels are places, does not notice."""
    config = dataclasses.replace(MICRO, objects=objects, kept_maps=6)
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(3), size=(1, 6)), jnp.float32)
    landscape, raw = rank(config, similarity, weights, everything(2))
    upright = transposed_grid(jnp.swapaxes(similarity, 1, 2), (2, 3))
    portrait, portrait_raw = rank(config, upright, transposed_grid(weights, (2, 3), axis=1), everything(2))
    np.testing.assert_allclose(portrait_raw, transposed_grid(raw, (2, 3)), atol=1e-5)
    np.testing.assert_allclose(portrait.score, landscape.score, atol=1e-5)
    np.testing.assert_allclose(jnp.swapaxes(portrait.maps[:, :, 0], 2, 3), landscape.maps[:, :, 0], atol=1e-6)
    place = np.arange(6).reshape(3, 2).T.ravel()
    np.testing.assert_array_equal(portrait.order[:, :, 0], place[np.asarray(landscape.order[:, :, 0])])


def test_a_portrait_frame_goes_through_the_whole_network(rng):
    config = dataclasses.replace(MICRO, objects="multi")
    image, masks = (jnp.swapaxes(x, 1, 2) for x in inputs(rng, config))

    @jax.jit
    def run(variables, image, masks):
        apply = applying(config, variables)
        seen = apply("encode", image)
        memory = apply("remember", seen, masks)
        return memory, *apply("read", memory, seen, masks)

    memory, logits, found = run(initial_variables(config), image, masks)
    assert logits.shape == (1, 96, 64, 2)
    assert np.isfinite(np.asarray(logits)).all()
    assert found["similarity"].shape == (1, 6, 4, 6)
    # Cells of 32 x 32 pixels: three rows of two, whose shares of the first mask are counted.
    share = np.asarray(masks)[0, ..., 0].reshape(3, 32, 2, 32).mean(axis=(1, 3))
    np.testing.assert_allclose(memory.weights[0, :, 1], share.ravel(), atol=1e-6)


def test_padded_objects_are_never_background(rng):
    config = dataclasses.replace(MICRO, objects="multi", kept_maps=6)
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = np.zeros((1, 6, 5), np.float32)
    weights[..., 0], weights[..., 1] = 0.25, 0.75
    ranked, _ = rank(config, similarity, jnp.asarray(weights), [[[True, False, False, False]]])
    assert int(ranked.order[0, 0, 1].max()) < 6, "only label 0, the background, exists beside the object"
    assert np.isfinite(np.asarray(ranked.score)).all()
    np.testing.assert_array_equal(ranked.maps[0, 1:, 0], 0)


def test_equal_scores_keep_the_lower_index():
    config = dataclasses.replace(MICRO, objects="single", kept_maps=6)
    similarity = jnp.zeros((1, 4, 6, 6))
    weights = jnp.concatenate([jnp.zeros((1, 6, 1)), jnp.ones((1, 6, 1))], axis=-1)
    ranked, _ = rank(config, similarity, weights, everything(1))
    np.testing.assert_array_equal(ranked.order[0, 0, 1], np.arange(6))


def test_fewer_positions_than_kept_maps_are_filled_with_zero_maps(rng):
    config = dataclasses.replace(MICRO, kept_maps=9)
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.full((1, 6, 2), 0.5)
    ranked, _ = rank(config, similarity, weights, everything(1))
    np.testing.assert_array_equal(ranked.maps[..., 6:], 0)
    assert float(jnp.abs(ranked.maps[0, 0, 0, ..., :6]).max()) > 0


@pytest.mark.parametrize("gradient", ["straight_through", "none"])
def test_the_ranking_network_learns_only_through_the_straight_through_factor(rng, gradient):
    config = dataclasses.replace(MICRO, ranking_gradient=gradient, objects="multi")
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(2), size=(1, 6)), jnp.float32)
    module, known = Ranking(config), jnp.asarray(everything(1))
    variables = jax.jit(module.init)(jax.random.key(3), similarity, weights, known)
    target = jnp.asarray(rng.normal(size=(1, 1, 2, 4, 6, 4)), jnp.float32)
    loss = lambda v: jnp.sum(jnp.square(module.apply(v, similarity, weights, known)[0].maps - target))
    size = sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(variables)))
    assert (size > 0) == (gradient == "straight_through")


def test_the_straight_through_factor_changes_no_value(rng):
    similarity = jnp.asarray(rng.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(3), size=(1, 6)), jnp.float32)
    with_factor, without = (
        rank(dataclasses.replace(MICRO, ranking_gradient=g), similarity, weights, everything(2))[0]
        for g in ("straight_through", "none")
    )
    np.testing.assert_array_equal(with_factor.maps, without.maps)


def test_bfloat16_computes_close_to_float32_with_float32_parameters(rng):
    image, masks = inputs(rng, LITE, objects=1)
    variables = initial_variables(LITE)
    logits, matching = {}, {}
    for dtype in ("float32", "bfloat16"):
        config = dataclasses.replace(LITE, dtype=dtype)

        @jax.jit
        def run(variables, config=config):
            apply = applying(config, variables)
            seen = apply("encode", image)
            return seen, *apply("read", apply("remember", seen, masks), seen, masks)

        seen, logits[dtype], found = run(variables)
        matching[dtype] = np.asarray(seen.matching)
        assert seen.pyramid.c3.dtype == jnp.dtype(dtype)
        assert seen.matching.dtype == found["similarity"].dtype == found["ranked"].score.dtype == jnp.float32
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
