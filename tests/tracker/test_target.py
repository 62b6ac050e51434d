"""The target model: ridge regression by another way, references, rivals, padding, gradients; its place in a step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.networks import RANetConfig
from ranet_jax.nn import upsample
from ranet_jax.tracker import Target, TrackerConfig, WholeFrame
from ranet_jax.tracker.step import begin, bound, learn_given, predict
from ranet_jax.tracker.target import (
    empty_target,
    learn_recent,
    learn_reference,
    likeness,
    second_view,
    target_scores,
)
from ranet_jax.weights import initial_variables

LITE = RANetConfig.lite(
    backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
)
TARGET = Target()

# Called by themselves, their loops over objects would be compiled anew every time.
learn = jax.jit(learn_reference, static_argnums=0)
update = functools.partial(jax.jit(learn_recent, static_argnums=0), TARGET)


def fit(views, masks, *, config=TARGET, memory=None, known=None):
    """The fit to one more reference, all of whose objects that have pixels are given unless told otherwise."""
    memory = empty_target(views[0], masks[0].shape[-1]) if memory is None else memory
    known = jnp.any(masks[0] > 0, axis=(1, 2)) if known is None else jnp.asarray(known)
    return learn(config, memory, views, masks, known)


def frame_maps(rng, batch=1):
    """Random maps of a 64x96 frame: 2, 3, 5 and 4 channels at 1/2 to 1/16, as c1 to c4, and 6 more at 1/8."""
    draw = lambda stride, c: jnp.asarray(rng.normal(size=(batch, 64 // stride, 96 // stride, c)), jnp.float32)
    return draw(2, 2), draw(4, 3), draw(8, 5), draw(16, 4), draw(8, 6)


def with_c3(maps, c3):
    return (*maps[:2], c3, *maps[3:])


def blocks(batch=1, objects=1):
    """Masks whose edges lie on the grid of 1/8."""
    masks = np.zeros((batch, 64, 96, objects), np.float32)
    for i in range(objects):
        masks[:, 8 + 8 * i : 40, 8 + 32 * i : 32 + 32 * i, i] = 1
    return jnp.asarray(masks)


def cells(x, i=0):
    """The values of a map that is constant over cells of 1/8, (positions,)."""
    return np.asarray(x, np.float64)[0, ::8, ::8, i].ravel()


def at_eighth(maps):
    """All channels at 1/8, resized by other means than the model's: means of blocks, and OpenCV's rule by jax.image."""
    c1, c2, c3, c4, matching = (np.asarray(x) for x in maps)
    b, h, w, _ = c3.shape
    c1 = c1.reshape(b, h, 4, w, 4, -1).mean(axis=(2, 4))
    c2 = c2.reshape(b, h, 2, w, 2, -1).mean(axis=(2, 4))
    c4 = np.asarray(jax.image.resize(c4, (b, h, w, c4.shape[-1]), "linear"))
    return np.concatenate([c1, c2, c3, c4, matching], axis=-1).astype(np.float64)


def positions(maps):
    return at_eighth(maps)[0].reshape(96, -1)


def expected_weights(features, inside, shares=None, standard_of=None, certainty=None, rivals=None):
    """Weighted least squares with its penalty as further rows, by NumPy in float64.

    Args:
        features: of each view, (positions, c).
        inside: of each view, (positions,).
        shares: of each view in the fit; the same for all if None.
        standard_of: how many of the views, from the first, the channels are standardised by; all if None.
        certainty: of each view's positions; 1 if None.
        rivals: share of the negatives' weight, and of each view which positions get it; none if None.
    """
    joined = np.concatenate(features[:standard_of])
    mean, deviation = joined.mean(axis=0), joined.std(axis=0) + TARGET.deviation_floor
    shares = np.full(len(features), 1 / len(features)) if shares is None else shares
    certainty = [np.ones(len(x)) for x in features] if certainty is None else certainty
    part, others = (0.0, [np.zeros(len(x)) for x in features]) if rivals is None else rivals
    rows, targets = [], []
    for x, y, share, c, other in zip(features, inside, shares, certainty, others, strict=True):
        standard = np.column_stack([(x - mean) / deviation, np.ones(len(x))])
        negative = (1 - part) * c / c[y <= 0.5].sum()
        if part:
            negative = negative + part * c * other / (c * other).sum()
        importance = 0.5 * np.where(y > 0.5, c / c[y > 0.5].sum(), negative) * share
        rows.append(standard * np.sqrt(importance)[:, None])
        targets.append(y * np.sqrt(importance))
    size = rows[0].shape[1]
    rows.append(np.sqrt(TARGET.ridge) * np.eye(size))
    targets.append(np.zeros(size))
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
    weights = solution[:-1] / deviation
    return weights, solution[-1] - weights @ mean


def assert_model(memory, expected, i=0):
    np.testing.assert_allclose(memory.model.weights[0, i], expected[0], atol=2e-5)
    np.testing.assert_allclose(memory.model.offset[0, i], expected[1], atol=2e-5)


def assert_same(found, expected, **tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), found, expected)


@pytest.mark.parametrize("count", [1, 2])
def test_it_is_the_least_squares_solution(rng, count):
    views = [frame_maps(rng) for _ in range(count)]
    masks = [blocks() if i == 0 else blocks()[:, ::-1] for i in range(count)]
    expected = expected_weights([positions(view) for view in views], [cells(m) for m in masks])
    assert_model(fit(views, masks), expected)


def test_references_are_an_average_standardised_by_the_first(rng):
    """Three references, until a frame without masks comes: recent frames are the first reference's own."""
    views = [frame_maps(rng) for _ in range(3)]
    masks = [blocks(), jnp.roll(blocks(), 16, axis=2), jnp.roll(blocks(), 8, axis=1)]
    memory = None
    for view, m in zip(views, masks, strict=True):
        memory = fit([view], [m], memory=memory)
    features, inside = [positions(v) for v in views], [cells(m) for m in masks]
    third = (1 - TARGET.memory_share) / 3
    expected = expected_weights(features, inside, [third + TARGET.memory_share, third, third], 1)
    assert_model(memory, expected)
    assert float(memory.count[0, 0]) == 3


def test_a_reference_given_twice_counts_once(rng):
    view, masks = frame_maps(rng), blocks()
    once = fit([view], [masks])
    twice = fit([view], [masks], memory=once)
    assert_same(twice._replace(count=once.count), once, atol=1e-5)
    assert float(twice.count[0, 0]) == 2


def test_only_objects_that_a_reference_gives_learn_from_it(rng):
    first, second = frame_maps(rng), frame_maps(rng)
    masks = blocks(objects=2).at[:, 8:16, 40:64, 1].set(1.0)
    memory = fit([first], [masks])
    new = fit([second], [masks[:, :, ::-1]], memory=memory, known=[[False, True]])
    of_object = lambda m, i: (m.given.squares[:, i], m.recent.squares[:, i], m.solution[:, i], m.given_solution[:, i])
    assert_same(of_object(new, 0), of_object(memory, 0), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(new.expected[:, 0], memory.expected[:, 0])
    np.testing.assert_array_equal(new.count, [[1, 2]])
    assert np.abs(new.solution[:, 1] - memory.solution[:, 1]).max() > 1e-3
    both = fit([second], [masks[:, :, ::-1]], memory=memory)
    assert_same(of_object(new, 1), of_object(both, 1), atol=1e-6)


def test_an_object_that_comes_later_is_fitted_to_its_own_reference(rng):
    """Standardised by the video's first reference, which knows nothing of it."""
    first, second = frame_maps(rng), frame_maps(rng)
    masks = blocks(objects=2)
    memory = fit([first], [masks.at[..., 1].set(0.0)])
    assert not np.any(memory.solution[:, 1])
    memory = fit([second], [masks], memory=memory, known=[[False, True]])
    features = [positions(first), positions(second)]
    nothing = np.zeros(96)
    nothing[0] = 1
    expected = expected_weights(features, [nothing, cells(masks, 1)], [0.0, 1.0], 1)
    assert_model(memory, expected, i=1)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_rivals_weigh_the_other_objects_pixels_as_negatives(rng, share):
    view, masks = frame_maps(rng), blocks(objects=3)
    memory = fit([view], [masks], config=dataclasses.replace(TARGET, rivals=share))
    for i in range(3):
        others = sum(cells(masks, j) for j in range(3) if j != i)
        inside = [cells(masks, i)]
        assert_model(memory, expected_weights([positions(view)], inside, rivals=(share, [others])), i)
    plain = fit([view], [masks])
    assert np.abs(plain.solution - memory.solution).max() > 1e-3


def test_an_object_without_rivals_is_fitted_as_without_the_field(rng):
    view = frame_maps(rng)
    alone = fit([view], [blocks()], config=dataclasses.replace(TARGET, rivals=0.5))
    assert_same(alone, fit([view], [blocks()]), atol=1e-6)


def test_the_constants_are_fields(rng):
    """The penalty and the shares of later frames decide the fit as the config says."""
    view, later, masks = frame_maps(rng), frame_maps(rng), blocks()
    stiff = fit([view], [masks], config=dataclasses.replace(TARGET, ridge=1e6))
    assert float(jnp.abs(stiff.solution).max()) < 1e-5
    memory = fit([view], [masks])
    learned = jax.jit(learn_recent, static_argnums=0)
    unmoved = learned(dataclasses.replace(TARGET, memory_rate=0.0), memory, later, masks)
    assert_same(unmoved.solution, memory.solution, atol=1e-5)
    replaced = learned(dataclasses.replace(TARGET, memory_rate=1.0, memory_share=1.0), memory, later, masks)
    features, inside = [positions(view), positions(later)], [cells(masks)] * 2
    assert_model(replaced, expected_weights(features, inside, [0.0, 1.0], 1))
    with pytest.raises(InputError, match=r"tracker\.target has no field rigde"):
        TrackerConfig.from_dict({"target": {"rigde": 1.0}})


def test_later_frames_are_a_running_average_beside_the_first(rng):
    """Two updates by least squares over all three frames; probabilities off 0 and 1 weigh as far as they are sure."""
    views = [frame_maps(rng) for _ in range(3)]
    masks = [blocks(), jnp.roll(blocks(), 16, axis=2), jnp.roll(blocks(), 8, axis=1)]
    certain = 0.5 + 0.5 * jnp.asarray(rng.uniform(0.5, 1.0, (8, 12)).repeat(8, 0).repeat(8, 1), jnp.float32)
    probability = [jnp.where(m > 0, certain[None, ..., None], 1 - certain[None, ..., None]) for m in masks]
    memory = fit([views[0]], [masks[0]])
    for view, p in zip(views[1:], probability[1:], strict=True):
        memory = update(memory, view, p)
    features = [positions(view) for view in views]
    targets = [cells(masks[0])] + [cells(p) / cells(p).max() for p in probability[1:]]
    rate = TARGET.memory_rate
    recent = TARGET.memory_share * rate
    shares = [1 - recent * (2 - rate), recent * (1 - rate), recent]
    certainty = [np.ones(96)] + [np.square(2 * cells(p) - 1) for p in probability[1:]]
    assert_model(memory, expected_weights(features, targets, shares, 1, certainty))
    before = fit([views[0]], [masks[0]])
    assert_same(
        (memory.given, memory.given_solution, memory.expected), (before.given, before.given_solution, before.expected)
    )


@pytest.mark.parametrize("left", [0.4, "a few cells"])
def test_an_object_of_which_little_is_seen_keeps_its_model(rng, left):
    view, later = frame_maps(rng), frame_maps(rng)
    masks = jnp.concatenate([blocks(), jnp.roll(blocks(), 32, axis=2)], axis=-1)
    memory = fit([view], [masks])
    gone = masks[..., 0].at[:, 32:].set(0.0) if left == "a few cells" else left * masks[..., 0]
    probability = jnp.stack([gone, jnp.roll(masks[..., 1], 8, axis=1)], axis=-1)
    updated = update(memory, later, probability)
    np.testing.assert_allclose(updated.solution[:, 0], memory.solution[:, 0], atol=1e-5)
    np.testing.assert_array_equal(updated.recent.squares[:, 0], memory.recent.squares[:, 0])
    assert np.abs(updated.solution[:, 1] - memory.solution[:, 1]).max() > 1e-3


def test_padding_stays_without_a_score(rng):
    view, later = frame_maps(rng), frame_maps(rng)
    masks = jnp.concatenate([blocks(), jnp.zeros_like(blocks())], axis=-1)
    memory = update(fit([view], [masks]), later, masks)
    assert not np.any(target_scores(memory, later)[:, 1])
    assert not np.any(likeness(memory, later)[..., 1])


def test_it_learns_what_the_object_becomes(rng):
    """A channel that marks the object in later frames alone counts after some of them."""
    first, later = frame_maps(rng), frame_maps(rng)
    masks = blocks()
    marked = lambda maps, c: with_c3(maps, maps[2].at[..., c].add(4 * masks[:, ::8, ::8, 0]))
    memory, later = fit([marked(first, 0)], [masks]), marked(later, 1)
    before = target_scores(memory, later)[0, 0]
    for _ in range(10):
        memory = update(memory, later, masks)
    after = target_scores(memory, later)[0, 0]
    inside = np.asarray(masks[0, ::8, ::8, 0]) > 0
    margin = lambda scores: float(scores[inside].mean() - scores[~inside].mean())
    assert margin(after) > margin(before) + 0.3


def test_likeness_is_one_on_average_on_the_references_masks(rng):
    """Of one reference, of several, and of objects that not all of them give; what is learned since does not count."""
    views, masks = [frame_maps(rng) for _ in range(2)], blocks(objects=2)
    average = lambda memory, view, m: [
        float(np.asarray(likeness(memory, view))[0, ..., i].ravel()[cells(m, i) > 0].mean()) for i in range(2)
    ]
    one = fit([views[0]], [masks])
    np.testing.assert_allclose(average(one, views[0], masks), [1, 1], rtol=1e-5)
    np.testing.assert_allclose(average(update(one, views[1], masks), views[0], masks), [1, 1], rtol=1e-5)
    two = fit([views[1]], [masks[:, ::-1]], memory=one, known=[[True, False]])
    np.testing.assert_allclose(average(two, views[0], masks)[1], 1, rtol=1e-5)
    # The scale of the first object is the mean over both references, each scored by what was known when it came.
    scores = np.asarray(likeness(two, views[1]))[0, ..., 0].ravel()[cells(masks[:, ::-1], 0) > 0] * float(
        two.expected[0, 0]
    )
    np.testing.assert_allclose(two.expected[0, 0], (float(one.expected[0, 0]) + scores.mean()) / 2, rtol=1e-4)


def test_likeness_tells_the_object_from_a_stranger(rng):
    """A channel marks each object: another one in its place is not like it, wherever it has gone."""
    masks = jnp.concatenate([blocks(), jnp.roll(blocks(), 48, axis=2)], axis=-1)
    marked = lambda maps, at: with_c3(maps, maps[2].at[..., :2].add(4 * at[:, ::8, ::8]))
    memory = fit([marked(frame_maps(rng), masks)], [masks])
    moved = jnp.roll(masks, 24, axis=1)
    found = np.asarray(likeness(memory, marked(frame_maps(rng), moved)))[0]
    inside = np.asarray(moved)[0, ::8, ::8] > 0
    for i in range(2):
        assert found[inside[..., i], i].mean() > 0.6
        assert found[inside[..., 1 - i], i].mean() < 0.2
        assert found[~inside.any(axis=-1), i].mean() < 0.2


def test_scores_weigh_every_channel_at_one_eighth(rng):
    maps = frame_maps(rng, batch=2)
    memory = fit([maps], [blocks(2, 2)])
    scores = jax.jit(target_scores)(memory, maps)
    whole = np.einsum("bhwc,bnc->bnhw", at_eighth(maps), memory.model.weights)
    np.testing.assert_allclose(scores, whole + np.asarray(memory.model.offset)[:, :, None, None], atol=1e-4)


def test_nothing_is_known_before_the_first_reference(rng):
    maps = frame_maps(rng)
    assert not np.any(target_scores(empty_target(maps, 2), maps))


def test_a_separable_object_scores_high_on_itself_and_low_elsewhere(rng):
    first, later = frame_maps(rng), frame_maps(rng)
    masks = blocks()
    inside = masks[:, ::8, ::8]
    memory = fit([with_c3(first, first[2] + 4 * inside)], [masks])
    moved = jnp.roll(inside, 3, axis=2)
    scores = target_scores(memory, with_c3(later, later[2] + 4 * moved))[0, 0]
    assert float(scores[moved[0, ..., 0] > 0].mean()) > 0.7
    assert float(scores[moved[0, ..., 0] == 0].mean()) < 0.2


def test_padding_scores_nothing_and_changes_no_other_object(rng):
    view = frame_maps(rng)
    masks = blocks(objects=2)
    padded = jnp.concatenate([masks, jnp.zeros_like(masks[..., :1])], axis=-1)
    two, three = (fit([view], [m]) for m in (masks, padded))
    np.testing.assert_allclose(three.model.weights[:, :2], two.model.weights, atol=1e-6)
    assert not np.any(target_scores(three, view)[:, 2])


def test_an_object_thinner_than_half_a_cell_is_found(rng):
    maps = frame_maps(rng)
    line = jnp.zeros((1, 64, 96, 1)).at[:, 20:22, 8:72].set(1.0)
    inside = (line[:, 4::8, ::8] > 0).astype(jnp.float32)
    maps = with_c3(maps, maps[2] + 4 * inside)
    scores = target_scores(fit([maps], [line]), maps)[0, 0]
    assert float(scores[inside[0, ..., 0] > 0].min()) > 0.5


def test_an_object_that_fills_the_frame_is_finite(rng):
    view = frame_maps(rng)
    memory = fit([view], [jnp.ones((1, 64, 96, 1))])
    assert np.all(np.isfinite(target_scores(memory, view)))
    assert np.all(np.isfinite(likeness(memory, view)))


def test_a_channel_that_one_view_lacks_does_no_harm(rng):
    """As ReLUs give them: its deviation in that view alone would be the floor."""
    one, other = frame_maps(rng), frame_maps(rng)
    dead = with_c3(one, one[2].at[..., 0].set(0.0))
    bright = with_c3(other, other[2].at[..., 0].multiply(1e3))
    scores = target_scores(fit([dead, bright], [blocks()] * 2), dead)
    assert np.all(np.isfinite(scores))
    assert np.abs(scores).max() < 3


def test_nothing_of_the_fit_has_a_gradient(rng):
    maps = frame_maps(rng)

    def total(matching):
        views = [(*maps[:4], matching)]
        return jnp.sum(fit(views, [blocks()]).model.weights)

    assert not np.any(jax.grad(total)(maps[4]))


@pytest.mark.parametrize("magnification", [4 / 3, 2.0])
def test_the_second_view_is_mirrored_and_magnified(magnification):
    rows, columns = jnp.meshgrid(jnp.arange(64.0), jnp.arange(96.0), indexing="ij")
    ramps = jnp.stack([rows, columns], axis=-1)[None]
    view = np.asarray(second_view(ramps, magnification))[0]
    # Pixel i of the view shows the position that far from the centre over the magnification.
    expected = 31.5 + (np.arange(64) - 31.5) / magnification
    np.testing.assert_allclose(view[:, 50, 0], expected, atol=1e-4)
    expected = 47.5 - (np.arange(96) - 47.5) / magnification
    np.testing.assert_allclose(view[20, :, 1], expected, atol=1e-4)


def test_a_reference_is_learned_from_both_views(rng):
    how = TrackerConfig(window=WholeFrame(), target=TARGET)
    variables = jax.device_put(initial_variables(LITE))
    image, masks = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32), blocks(objects=2)

    @jax.jit
    def fits(variables, image, masks):
        """The step's own, that of both views by hand, and that of the first view alone."""
        net, known = bound(LITE, variables), jnp.ones((1, 2), bool)
        turned = second_view(masks, TARGET.magnification)
        first, second = net.encode(image, masks), net.encode(second_view(image, TARGET.magnification), turned)
        knowledge = learn_given(net, how, begin(net, how, first, 2), first, second, masks, known, 0)
        nothing = empty_target(first.maps, 2)
        by_hand = learn_reference(TARGET, nothing, [first.maps, second.maps], [masks, turned], known)
        alone = learn_reference(TARGET, nothing, [first.maps], [masks], known)
        return knowledge.target.model.weights, by_hand.model.weights, alone.model.weights

    found, expected, alone = fits(variables, image, masks)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(alone - found).max() > 1e-3


@pytest.mark.parametrize("hints", [0, 1])
def test_scores_reach_the_logits(rng, hints):
    """As a hint, where the network reads one, and with their gain beside the logits of any network."""
    config = dataclasses.replace(LITE, hints=hints)
    how = TrackerConfig(window=WholeFrame(), target=TARGET)
    variables = jax.device_put(initial_variables(config))
    image, masks = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32), blocks(objects=2)

    @jax.jit
    def segmented(variables, image, masks):
        """The step's logits, those of its stages, and with the first object's scores set to nothing."""
        net, known = bound(config, variables), jnp.ones((1, 2), bool)
        seen = net.encode(image, masks)
        second = net.encode(second_view(image, TARGET.magnification), masks)
        knowledge = learn_given(net, how, begin(net, how, seen, 2), seen, second, masks, known, 0)
        scores = target_scores(knowledge.target, seen.maps)

        def by_stages(scores):
            logits, _ = net.read(knowledge.memory, seen, masks, scores[..., None] if hints else None)
            return logits + TARGET.gain * (upsample(jnp.moveaxis(scores, 1, -1), 8) - 0.5)

        whole = predict(net, config, how, knowledge, seen, masks).logits
        return whole, by_stages(scores), by_stages(scores.at[:, 0].set(0.0))

    whole, apart, without = segmented(variables, image, masks)
    np.testing.assert_allclose(apart, whole, atol=1e-4)
    assert np.abs(without - whole)[..., 0].max() > 0.1
    np.testing.assert_allclose(without[..., 1], whole[..., 1], atol=1e-4)
