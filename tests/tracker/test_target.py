"""The target model: ridge regression by another way, two views, padding, gradients, and its place in RANet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones import Pyramid
from ranet_jax.networks import RANet, RANetConfig
from ranet_jax.ranet.network import split_features
from ranet_jax.tracker.target import (
    DEVIATION_FLOOR,
    FAMILIAR,
    FAMILIAR_CELLS,
    MAGNIFICATION,
    MEMORY_RATE,
    MEMORY_SHARE,
    RIDGE,
    familiar_cells,
    fit_target_model,
    recognised,
    second_view,
    target_scores,
    update_target_model,
)
from ranet_jax.weights import initial_variables

# Called by itself, its loop over objects would be compiled anew every time.
updated_by = jax.jit(update_target_model)

LITE = RANetConfig.lite(
    backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
)


def frame_features(rng, batch=1):
    """Random features of a 64x96 frame: 2, 3, 5 and 4 channels of c1 to c4, a matching feature of 6 at 1/8."""
    draw = lambda stride, c: jnp.asarray(rng.normal(size=(batch, 64 // stride, 96 // stride, c)), jnp.float32)
    return Pyramid(draw(2, 2), draw(4, 3), draw(8, 5), draw(16, 4), draw(32, 2)), draw(8, 6)


def blocks(batch=1, objects=1):
    """Masks whose edges lie on the grid of 1/8."""
    masks = np.zeros((batch, 64, 96, objects), np.float32)
    for i in range(objects):
        masks[:, 8 + 8 * i : 40, 8 + 32 * i : 32 + 32 * i, i] = 1
    return jnp.asarray(masks)


def at_eighth(pyramid, matching):
    """All channels at 1/8, resized by other means than the model's: means of blocks, and OpenCV's rule by jax.image."""
    c1, c2, c3, c4 = (np.asarray(x) for x in pyramid[:4])
    b, h, w, _ = c3.shape
    c1 = c1.reshape(b, h, 4, w, 4, -1).mean(axis=(2, 4))
    c2 = c2.reshape(b, h, 2, w, 2, -1).mean(axis=(2, 4))
    c4 = np.asarray(jax.image.resize(c4, (b, h, w, c4.shape[-1]), "linear"))
    return np.concatenate([c1, c2, c3, c4, np.asarray(matching)], axis=-1).astype(np.float64)


def expected_weights(features, inside, shares=None, standard_of=None, certainty=None):
    """Weighted least squares with its penalty as further rows, by NumPy in float64.

    Args:
        features: of each view, (positions, c).
        inside: of each view, (positions,).
        shares: of each view in the fit; the same for all if None.
        standard_of: how many of the views, from the first, the channels are standardised by; all if None.
        certainty: of each view's positions; 1 if None.
    """
    joined = np.concatenate(features[:standard_of])
    mean, deviation = joined.mean(axis=0), joined.std(axis=0) + DEVIATION_FLOOR
    shares = np.full(len(features), 1 / len(features)) if shares is None else shares
    certainty = [np.ones(len(x)) for x in features] if certainty is None else certainty
    rows, targets = [], []
    for x, y, share, c in zip(features, inside, shares, certainty, strict=True):
        standard = np.column_stack([(x - mean) / deviation, np.ones(len(x))])
        importance = np.where(y > 0.5, 0.5 * c / c[y > 0.5].sum(), 0.5 * c / c[y <= 0.5].sum()) * share
        rows.append(standard * np.sqrt(importance)[:, None])
        targets.append(y * np.sqrt(importance))
    size = rows[0].shape[1]
    rows.append(np.sqrt(RIDGE) * np.eye(size))
    targets.append(np.zeros(size))
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
    weights = solution[:-1] / deviation
    return weights, solution[-1] - weights @ mean


@pytest.mark.parametrize("count", [1, 2])
def test_it_is_the_least_squares_solution(rng, count):
    views = [frame_features(rng) for _ in range(count)]
    masks = [blocks() if i == 0 else blocks()[:, ::-1] for i in range(count)]
    model = fit_target_model(views, masks).model
    features = [at_eighth(*view)[0].reshape(96, -1) for view in views]
    inside = [np.asarray(m)[0, ::8, ::8, 0].ravel() for m in masks]
    weights, offset = expected_weights(features, inside)
    np.testing.assert_allclose(model.weights[0, 0], weights, atol=2e-5)
    np.testing.assert_allclose(model.offset[0, 0], offset, atol=2e-5)


def test_later_frames_are_a_running_average_beside_the_first(rng):
    """Two updates by least squares over all three frames; probabilities off 0 and 1 weigh as far as they are sure."""
    views = [frame_features(rng) for _ in range(3)]
    masks = [blocks(), jnp.roll(blocks(), 16, axis=2), jnp.roll(blocks(), 8, axis=1)]
    certain = 0.5 + 0.5 * jnp.asarray(rng.uniform(0.5, 1.0, (8, 12)).repeat(8, 0).repeat(8, 1), jnp.float32)
    probability = [jnp.where(m > 0, certain[None, ..., None], 1 - certain[None, ..., None]) for m in masks]
    memory = fit_target_model([views[0]], [masks[0]])
    for view, p in zip(views[1:], probability[1:], strict=True):
        memory = updated_by(memory, *view, p)
    features = [at_eighth(*view)[0].reshape(96, -1) for view in views]
    cells = lambda x: np.asarray(x, np.float64)[0, ::8, ::8, 0].ravel()
    targets = [cells(masks[0])] + [cells(p) / cells(p).max() for p in probability[1:]]
    recent = MEMORY_SHARE * MEMORY_RATE
    shares = [1 - recent * (2 - MEMORY_RATE), recent * (1 - MEMORY_RATE), recent]
    certainty = [np.ones(96)] + [np.square(2 * cells(p) - 1) for p in probability[1:]]
    weights, offset = expected_weights(features, targets, shares, 1, certainty)
    np.testing.assert_allclose(memory.model.weights[0, 0], weights, atol=2e-5)
    np.testing.assert_allclose(memory.model.offset[0, 0], offset, atol=2e-5)


@pytest.mark.parametrize("left", [0.4, "a few cells"])
def test_an_object_of_which_little_is_seen_keeps_its_model(rng, left):
    view, later = frame_features(rng), frame_features(rng)
    masks = jnp.concatenate([blocks(), jnp.roll(blocks(), 32, axis=2)], axis=-1)
    memory = fit_target_model([view], [masks])
    gone = masks[..., 0].at[:, 32:].set(0.0) if left == "a few cells" else left * masks[..., 0]
    probability = jnp.stack([gone, jnp.roll(masks[..., 1], 8, axis=1)], axis=-1)
    updated = updated_by(memory, *later, probability)
    np.testing.assert_allclose(updated.solution[:, 0], memory.solution[:, 0], atol=1e-5)
    np.testing.assert_array_equal(updated.recent.squares[:, 0], memory.recent.squares[:, 0])
    assert np.abs(updated.solution[:, 1] - memory.solution[:, 1]).max() > 1e-3


def test_padding_stays_without_a_score(rng):
    view, later = frame_features(rng), frame_features(rng)
    masks = jnp.concatenate([blocks(), jnp.zeros_like(blocks())], axis=-1)
    memory = updated_by(fit_target_model([view], [masks]), *later, masks)
    assert not np.any(target_scores(memory.model, *later)[:, 1])


def test_it_learns_what_the_object_becomes(rng):
    """A channel that marks the object in later frames alone counts after some of them."""
    first, later = frame_features(rng), frame_features(rng)
    masks = blocks()
    marked = lambda view, c: (view[0]._replace(c3=view[0].c3.at[..., c].add(4 * masks[:, ::8, ::8, 0])), view[1])
    memory, later = fit_target_model([marked(first, 0)], [masks]), marked(later, 1)
    before = target_scores(memory.model, *later)[0, 0]
    for _ in range(10):
        memory = updated_by(memory, *later, masks)
    after = target_scores(memory.model, *later)[0, 0]
    inside = np.asarray(masks[0, ::8, ::8, 0]) > 0
    margin = lambda scores: float(scores[inside].mean() - scores[~inside].mean())
    assert margin(after) > margin(before) + 0.3


def test_a_stranger_is_not_recognised(rng):
    """A channel marks the object; the first frame's own agreement is the mean score over its mask."""
    masks = jnp.concatenate([blocks(), jnp.roll(blocks(), 48, axis=2)], axis=-1)
    marked = lambda view, at: view[0]._replace(c3=view[0].c3.at[..., :2].add(4 * at[:, ::8, ::8]))
    first, later = frame_features(rng), frame_features(rng)
    view = (marked(first, masks), first[1])
    memory = fit_target_model([view], [masks])
    own = np.asarray(target_scores(memory.model, *view))[0]
    cells = np.moveaxis(np.asarray(masks)[0, ::8, ::8], -1, 0) > 0
    np.testing.assert_allclose(memory.agreement[0], [s[c].mean() for s, c in zip(own, cells, strict=True)], atol=1e-5)
    moved = jnp.roll(masks, 24, axis=1)
    pyramid = marked(later, moved)
    for probability, expected in (
        (moved, [True, True]),
        (moved[..., ::-1], [False, False]),
        (moved.at[..., 1].set(masks[..., 1]), [True, False]),
        (masks.at[:, :, 16:].set(0.0), [True, True]),  # 8 cells of the first object's place, none of the second's
    ):
        np.testing.assert_array_equal(recognised(memory, pyramid, later[1], probability, masks)[0], expected)
    # Of an object that was not there in the frame before, few cells are not enough, unless they look like it.
    few, nowhere = masks.at[:, :, 16:].set(0.0), jnp.zeros_like(masks)
    assert not np.any(recognised(memory, pyramid, later[1], few, nowhere))
    few = moved.at[:, :, 16:].set(0.0)
    np.testing.assert_array_equal(recognised(memory, pyramid, later[1], few, nowhere)[0], [True, False])
    # What is learned since does not count.
    taught = memory._replace(solution=jnp.roll(memory.solution, 1, axis=1))
    np.testing.assert_array_equal(recognised(taught, pyramid, later[1], moved, masks)[0], [True, True])


def test_cells_of_the_object_s_looks_are_familiar(rng):
    """Of a prediction that is half the object: those cells of it whose surroundings are mostly the object's."""
    masks = blocks()
    marked = lambda view, at: (view[0]._replace(c3=view[0].c3.at[..., :2].add(4 * at[:, ::8, ::8])), view[1])
    memory = fit_target_model([marked(frame_features(rng), masks)], [masks])
    moved = jnp.roll(masks, 56, axis=2)
    later = marked(frame_features(rng), moved)
    found = np.asarray(jax.jit(familiar_cells)(memory, *later, masks + moved))[0, ..., 0]
    cells = np.asarray(moved)[0, ::8, ::8, 0] > 0
    assert found[cells].mean() > 0.9
    assert not found[~cells].any()
    # What the whole prediction's cells say, counted one by one.
    scores = np.asarray(target_scores(memory.model, *later))[0, 0]
    share = np.asarray(masks + moved)[0, ::8, ::8, 0]
    for y, x in np.argwhere(share > 0):
        around = np.s_[max(y - FAMILIAR_CELLS // 2, 0) : y + 3, max(x - FAMILIAR_CELLS // 2, 0) : x + 3]
        mean = scores[around][share[around] > 0].mean()
        assert found[y, x] == (mean > FAMILIAR * float(memory.agreement[0, 0])), (y, x)


def test_scores_weigh_every_channel_at_one_eighth(rng):
    pyramid, matching = frame_features(rng, batch=2)
    model = fit_target_model([(pyramid, matching)], [blocks(2, 2)]).model
    scores = jax.jit(target_scores)(model, pyramid, matching)
    whole = np.einsum("bhwc,bnc->bnhw", at_eighth(pyramid, matching), model.weights)
    np.testing.assert_allclose(scores, whole + np.asarray(model.offset)[:, :, None, None], atol=1e-4)


def test_a_separable_object_scores_high_on_itself_and_low_elsewhere(rng):
    pyramid, matching = frame_features(rng)
    masks = blocks()
    inside = masks[:, ::8, ::8]
    model = fit_target_model([(pyramid._replace(c3=pyramid.c3 + 4 * inside), matching)], [masks]).model
    other, matching = frame_features(rng)
    moved = jnp.roll(inside, 3, axis=2)
    scores = target_scores(model, other._replace(c3=other.c3 + 4 * moved), matching)[0, 0]
    assert float(scores[moved[0, ..., 0] > 0].mean()) > 0.7
    assert float(scores[moved[0, ..., 0] == 0].mean()) < 0.2


def test_padding_scores_nothing_and_changes_no_other_object(rng):
    view = frame_features(rng)
    masks = blocks(objects=2)
    padded = jnp.concatenate([masks, jnp.zeros_like(masks[..., :1])], axis=-1)
    two, three = (fit_target_model([view], [m]).model for m in (masks, padded))
    np.testing.assert_allclose(three.weights[:, :2], two.weights, atol=1e-6)
    assert not np.any(target_scores(three, *view)[:, 2])


def test_an_object_thinner_than_half_a_cell_is_found(rng):
    pyramid, matching = frame_features(rng)
    line = jnp.zeros((1, 64, 96, 1)).at[:, 20:22, 8:72].set(1.0)
    inside = (line[:, 4::8, ::8] > 0).astype(jnp.float32)
    pyramid = pyramid._replace(c3=pyramid.c3 + 4 * inside)
    scores = target_scores(fit_target_model([(pyramid, matching)], [line]).model, pyramid, matching)[0, 0]
    assert float(scores[inside[0, ..., 0] > 0].min()) > 0.5


def test_an_object_that_fills_the_frame_is_finite(rng):
    view = frame_features(rng)
    model = fit_target_model([view], [jnp.ones((1, 64, 96, 1))]).model
    assert np.all(np.isfinite(target_scores(model, *view)))


def test_a_channel_that_one_view_lacks_does_no_harm(rng):
    """As ReLUs give them: its deviation in that view alone would be the floor."""
    (pyramid, matching), other = frame_features(rng), frame_features(rng)
    dead = pyramid._replace(c3=pyramid.c3.at[..., 0].set(0.0))
    bright = other[0]._replace(c3=other[0].c3.at[..., 0].multiply(1e3))
    scores = target_scores(
        fit_target_model([(dead, matching), (bright, other[1])], [blocks()] * 2).model, dead, matching
    )
    assert np.all(np.isfinite(scores))
    assert np.abs(scores).max() < 3


def test_nothing_of_the_fit_has_a_gradient(rng):
    pyramid, matching = frame_features(rng)

    def total(matching):
        return jnp.sum(fit_target_model([(pyramid, matching)], [blocks()]).model.weights)

    assert not np.any(jax.grad(total)(matching))


def test_the_second_view_is_mirrored_and_magnified():
    rows, columns = jnp.meshgrid(jnp.arange(64.0), jnp.arange(96.0), indexing="ij")
    ramps = jnp.stack([rows, columns], axis=-1)[None]
    view = np.asarray(second_view(ramps))[0]
    # Pixel i of the view shows the position that far from the centre over the magnification.
    expected = 31.5 + (np.arange(64) - 31.5) / MAGNIFICATION
    np.testing.assert_allclose(view[:, 50, 0], expected, atol=1e-4)
    expected = 47.5 - (np.arange(96) - 47.5) / MAGNIFICATION
    np.testing.assert_allclose(view[20, :, 1], expected, atol=1e-4)


def test_the_network_fits_it_to_both_views(rng):
    variables, model = jax.device_put(initial_variables(LITE)), RANet(LITE)
    image, masks = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32), blocks(objects=2)

    @jax.jit
    def fits(variables, image, masks):
        """The network's own, that of both views by hand, and that of the first view alone."""
        template = model.apply(variables, image, masks, method="encode_template")
        both = model.apply(variables, jnp.concatenate([image, second_view(image)]), method="features")
        first, second = split_features(both, 2)
        alone = model.apply(variables, first, masks, method="template_from_features")
        by_hand = fit_target_model([first, second], [masks, second_view(masks)])
        return template.target.model.weights, by_hand.model.weights, alone.target.model.weights

    found, expected, alone = fits(variables, image, masks)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(alone - found).max() > 1e-3


def test_scores_reach_the_logits(rng):
    variables, model = jax.device_put(initial_variables(LITE)), RANet(LITE)
    image, masks = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32), blocks(objects=2)

    @jax.jit
    def decoded_with_scores(variables, image, masks):
        """The whole network's logits, those of its stages, and with the first object's scores set to nothing."""
        template = model.apply(variables, image, masks, method="encode_template")
        features = model.apply(variables, image, method="features")
        ranked = model.apply(variables, template, features.matching, method="rank")
        scores = model.apply(variables, template, features, method="score")
        decode = lambda scores: model.apply(variables, features.pyramid, ranked, masks, scores, method="decode")
        whole = model.apply(variables, image, template, masks)[0]
        return whole, decode(scores), decode(scores.at[:, 0].set(0.0))

    whole, apart, without = decoded_with_scores(variables, image, masks)
    np.testing.assert_allclose(apart, whole, atol=1e-4)
    assert np.abs(without - whole)[..., 0].max() > 0.1
    np.testing.assert_allclose(without[..., 1], whole[..., 1], atol=1e-4)
