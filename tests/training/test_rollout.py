"""A rollout by hand and by an unrolled loop: values, gradients, recomputation, memory, what learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.networks import MRNet, MRNetConfig, RANet
from ranet_jax.nn import upsample
from ranet_jax.tracker import AspectBox, Presence, Target, TrackerConfig, WholeFrame
from ranet_jax.tracker.aggregation import aggregate
from ranet_jax.tracker.step import bound
from ranet_jax.tracker.target import empty_target, learn_reference, second_view, target_scores
from ranet_jax.training.losses import dice_loss, mask_loss, masks_of_labels
from ranet_jax.training.optimizer import WHOLE_BACKBONE
from ranet_jax.training.rollout import Clip, Objective, clip_loss, rollout
from ranet_jax.weights import expected_variables, initial_variables
from tests.training.micro import MICRO, make_batch

LENGTH = 4
# Frames are compared with the one before last, so that the last of four does not only see frame 0.
LITE = MRNetConfig.lite(backbone="resnet_micro", input_size=(32, 64), decoder_features=(8, 8), candidates=1, interval=2)
STEM = dataclasses.replace(LITE, mask_input="stem")
HOW, SOFT = TrackerConfig.lite(), TrackerConfig.mrnet()
# RANet as it could be tracked: the next frame gets probabilities, through which a gradient can reach.
FED = dataclasses.replace(HOW, feedback="probabilities")
PAIRS = Objective.pairs(dice_weight=0.5)


def clips(size=2, length=LENGTH, shape=(32, 64), objects=2):
    """Squares that wander over noise; the last object of every other clip does not exist."""
    rng = np.random.default_rng(0)
    labels = np.zeros((size, length, *shape), np.uint8)
    for i in range(size):
        for slot in range(1, objects + 1 - i % 2):
            for t in range(length):
                labels[i, t, 4 + t : 20 + t, 24 * slot - 20 + t : 24 * slot - 2 + t] = slot
    images = rng.integers(0, 256, (size, length, *shape, 3), dtype=np.uint8)
    valid = np.ones((size, objects), bool)
    valid[1::2, -1] = False
    return jax.tree.map(jnp.asarray, {"images": images, "labels": labels, "valid": valid})


def variables_of(config, seed=2):
    """Untrained, but with a mask channel that does something."""
    variables = initial_variables(config, seed)
    for leaf in jax.tree.leaves(variables["params"].get("mask_stem", {})):
        leaf[:] = np.random.default_rng(seed).normal(size=leaf.shape) * 0.1
    return jax.device_put(variables)


def batch_of(config):
    """Clips for MRNet, two pairs with a next frame for RANet."""
    return clips() if isinstance(config, MRNetConfig) else jax.tree.map(jnp.asarray, make_batch(0, 2, frames=3))


def gradient(config, how, objective, *, frozen=False, batch=None):
    """Gradients of the parameters, and the loss with its metrics."""
    loss = clip_loss(config, how, objective, frozen=WHOLE_BACKBONE if frozen else ())

    def total(params, statistics, batch):
        mean, metrics = loss(params, statistics, batch)
        return mean.total, (mean, metrics)

    variables = variables_of(config)
    batch = batch_of(config) if batch is None else batch
    return jax.jit(jax.grad(total, has_aux=True))(variables["params"], variables["batch_stats"], batch)


def loss_of(config, how, objective, batch):
    variables = variables_of(config)
    return jax.jit(clip_loss(config, how, objective, frozen=()))(
        variables["params"], variables["batch_stats"], jax.tree.map(jnp.asarray, batch)
    )


def predicted(config, how, objective, batch):
    """Logits and probabilities of a rollout, and what was found."""
    run = jax.jit(lambda v, clip: rollout(config, how, v, clip, objective))
    return run(variables_of(config), Clip.of(jax.tree.map(jnp.asarray, batch)))


def norm(tree):
    return float(sum(jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(tree)))


def assert_close(a, b, tolerance=5e-3):
    """Every leaf, by the length of the difference: a recurrence carries float32's rounding far."""
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        difference = float(jnp.linalg.norm(jnp.ravel(x - y)))
        assert difference <= tolerance * float(jnp.linalg.norm(jnp.ravel(y))) + 1e-7, jax.tree_util.keystr(path)


def unmoved(tree):
    return [jax.tree_util.keystr(path) for path, g in jax.tree_util.tree_leaves_with_path(tree) if not jnp.any(g)]


def test_the_loss_of_a_pair_is_that_of_the_network_called_frame_by_frame():
    """Every stage by itself, the target model's among them; every object that exists counts."""
    batch = jax.tree.map(jnp.asarray, make_batch(0, 2))

    @jax.jit
    def by_hand(variables, batch):
        apply = lambda method, *arguments: RANet(MICRO).apply(variables, *arguments, method=method)
        objects = lambda labels: masks_of_labels(labels, 2)
        first, second = (normalise(batch["images"][:, i], MICRO.backbone) for i in (0, 1))
        masks, previous, target = objects(batch["labels"][:, 0]), objects(batch["previous_labels"]), HOW.target
        seen, turned = apply("encode", first), apply("encode", second_view(first, target.magnification))
        views = (masks, second_view(masks, target.magnification))
        nothing = empty_target(seen.maps, 2)
        model = learn_reference(target, nothing, (seen.maps, turned.maps), views, batch["valid"])
        memory = apply("write_reference", apply("empty", seen, 2, 1), seen, masks, batch["valid"], 0)
        current = apply("encode", second)
        scores = target_scores(model, current.maps)
        logits, _ = apply("read", memory, current, previous, scores[..., None])
        return logits + target.gain * (upsample(jnp.moveaxis(scores, 1, -1), 8) - 0.5)

    logits = np.asarray(by_hand(variables_of(MICRO), batch))
    truth, valid = np.asarray(masks_of_labels(batch["labels"][:, 1], 2)), np.asarray(batch["valid"])
    entropy = np.mean(np.logaddexp(0, np.where(truth > 0, -logits, logits)), axis=(1, 2))
    found, probability, _ = predicted(MICRO, HOW.for_training(presence=False, update=False), PAIRS, batch)
    np.testing.assert_allclose(found[0], logits, atol=2e-4)
    chance = 1 / (1 + np.exp(-logits)) * valid[:, None, None]
    np.testing.assert_allclose(probability[0], chance, atol=1e-4)
    mean, metrics = loss_of(MICRO, HOW, PAIRS, batch)
    expected = (entropy + 0.5 * np.asarray(dice_loss(jnp.asarray(logits), jnp.asarray(truth))))[valid].sum()
    np.testing.assert_allclose(mean.total, expected, rtol=1e-4)
    inside, outside = (logits > 0) & (truth > 0), (logits > 0) | (truth > 0)
    overlap = inside.sum((1, 2)) / np.maximum(outside.sum((1, 2)), 1)
    np.testing.assert_allclose(metrics["iou"].total, overlap[valid].sum(), rtol=1e-3)
    assert float(mean.count) == float(metrics["iou"].count) == float(metrics["last_iou"].count) == 3


def test_frames_encoded_together_are_as_encoded_each():
    batch = make_batch(0, 2, frames=3)
    how = HOW.for_training(presence=False, update=True)
    together, probability, _ = predicted(MICRO, how, PAIRS, batch)
    each, other, _ = predicted(MICRO, how, Objective(remat=False), batch)
    assert together.shape == (2, 2, 64, 96, 2)
    # The last bits differ; a network of random weights makes more of them.
    np.testing.assert_allclose(together[0], each[0], atol=5e-3)
    np.testing.assert_allclose(probability[0], other[0], atol=2e-3)


def test_an_encoder_that_sees_masks_encodes_frame_by_frame_all_the_same():
    together = dataclasses.replace(Objective(), remat=False, encode_together=True)
    one, *_ = predicted(STEM, SOFT, together, clips(size=1))
    other, *_ = predicted(STEM, SOFT, Objective(), clips(size=1))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_second_frame_s_previous_masks_are_those_given_or_the_first_frame_s():
    batch = make_batch(0, 2)
    own = {**batch, "previous_labels": batch["labels"][:, 0]}
    without = {name: array for name, array in batch.items() if name != "previous_labels"}
    run = lambda batch: np.asarray(predicted(MICRO, HOW, PAIRS, batch)[0])
    np.testing.assert_allclose(run(own), run(without), atol=1e-3)
    assert np.abs(run(batch) - run(own)).max() > 1e-3


@pytest.mark.parametrize("feedback", ["labels", "probabilities"])
def test_a_later_frame_starts_from_the_prediction_before_it(feedback):
    """Decided labels or probabilities, as in tracking: the same as a pair whose previous masks these are."""
    how = dataclasses.replace(HOW, window=WholeFrame(), presence=None, feedback=feedback)
    how = dataclasses.replace(how, target=dataclasses.replace(how.target, update=False))
    batch = jax.tree.map(jnp.asarray, make_batch(0, 2, frames=3))
    logits, probability, _ = predicted(MICRO, how, PAIRS, batch)
    best = jnp.argmax(probability[0], axis=-1) + 1
    labels = jnp.where(jnp.max(probability[0], axis=-1) > 0.5, best, 0).astype(jnp.uint8)
    pair = {name: batch[name][:, ::2] for name in ("images", "labels")}
    pair |= {"valid": batch["valid"], "previous_labels": labels}
    second, *_ = predicted(MICRO, how, PAIRS, pair)
    assert labels.any(), "or nothing is compared"
    difference = np.abs(np.asarray(logits[1] - second[0])).max()
    assert (difference < 1e-3) == (feedback == "labels")


def test_what_presence_clears_is_not_fed_back_and_still_in_the_loss():
    """The logits of a pair, which its loss is of, are the same; what the next frame gets is cleared."""
    batch = make_batch(0, 2, frames=3)
    results = []
    for presence in (None, Presence()):
        how = dataclasses.replace(HOW, window=WholeFrame(), presence=presence)
        results.append([np.asarray(x) for x in predicted(MICRO, how, PAIRS, batch)[:2]])
    (logits, everything), (judged_logits, kept) = results
    np.testing.assert_allclose(judged_logits[0], logits[0], atol=1e-3)
    cleared = np.abs(everything[0] - kept[0]) > 1e-2  # the solver's last bits are no clearing
    assert cleared.any()
    assert not kept[0][cleared].any()
    assert np.abs(judged_logits[1] - logits[1]).max() > 1e-3


def test_a_tracker_for_training_sees_samples_that_are_cut_already():
    how = dataclasses.replace(HOW, window=AspectBox(scale=2.0))
    assert how.for_training(presence=True, update=True) == dataclasses.replace(how, window=WholeFrame())
    plain = how.for_training(presence=False, update=False)
    assert plain == TrackerConfig(window=WholeFrame(), target=Target(update=False))
    assert SOFT.for_training(presence=True, update=True) == SOFT
    unlearned = dataclasses.replace(how, target=Target(update=False)).for_training(presence=False, update=True)
    assert not unlearned.target.update, "training does not switch on what the tracker leaves out"


def test_a_target_model_that_learns_changes_later_frames_alone():
    batch = make_batch(0, 2, frames=3)
    run = lambda update: np.asarray(predicted(MICRO, HOW.for_training(presence=False, update=update), PAIRS, batch)[0])
    fixed, learning = run(False), run(True)
    np.testing.assert_allclose(learning[0], fixed[0], atol=5e-3)
    assert np.abs(learning[1] - fixed[1]).max() > 1e-3


@pytest.mark.slow
def test_every_parameter_of_ranet_learns():
    """The ranking network too: through the straight-through factor of the maps it keeps."""
    found, (mean, metrics) = gradient(MICRO, HOW, PAIRS)
    assert not unmoved(found)
    assert float(mean.count) == float(metrics["iou"].count) == 6
    assert float(metrics["last_iou"].count) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("config", "how"), [(MICRO, FED), (LITE, SOFT)], ids=["ranet", "mrnet"])
def test_gradients_reach_through_the_masks_of_earlier_frames_only_if_asked(config, how):
    each = Objective(remat=False)
    through, (value, _) = gradient(config, how, each)
    cut, (same, _) = gradient(config, how, dataclasses.replace(each, gradient_through_masks=False))
    np.testing.assert_allclose(value.total, same.total, rtol=1e-6)
    assert norm(jax.tree.map(jnp.subtract, through, cut)) > 1e-3 * norm(cut)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "how"), [(MICRO, HOW), (LITE, SOFT), (STEM, SOFT)], ids=["ranet", "decoder", "stem"]
)
def test_recomputation_changes_nothing(config, how):
    kept, (mean, _) = gradient(config, how, Objective(0.5, remat=False))
    again, (mean_again, _) = gradient(config, how, Objective(0.5, remat=True))
    np.testing.assert_allclose(mean.total, mean_again.total, rtol=1e-5)
    assert_close(again, kept)
    if config is STEM:
        assert not unmoved(kept), "every parameter learns"


@pytest.mark.slow
def test_encoding_together_gives_the_gradients_of_encoding_each():
    together, (mean, _) = gradient(MICRO, HOW, PAIRS)
    each, (same, _) = gradient(MICRO, HOW, dataclasses.replace(PAIRS, encode_together=False))
    np.testing.assert_allclose(mean.total, same.total, rtol=1e-4)
    assert_close(together, each, tolerance=1e-1)


def unrolled(config, objective):
    """The loss and its gradient, frame by frame in Python, from the network's own methods."""
    variables, batch = variables_of(config), clips()
    image = lambda t: normalise(batch["images"][:, t], config.backbone)
    without_gradient = LENGTH - 1 - (objective.gradient_frames or LENGTH - 1)

    def total(params):
        weights = {**variables, "params": params}
        apply = lambda method, *arguments: MRNet(config).apply(weights, *arguments, method=method)
        previous = masks_of_labels(batch["labels"][:, 0], 2)
        memory = apply("remember", apply("encode", image(0), previous), previous, LENGTH - 1)
        losses = []
        for t in range(1, LENGTH):
            seen = apply("encode", image(t), previous)
            logits = aggregate(apply("read", memory, seen, previous)[0], batch["valid"])
            previous = jax.nn.sigmoid(logits) * batch["valid"][:, None, None].astype(jnp.float32)
            later = apply("write_recent", memory, seen, previous)
            if t <= without_gradient:
                later, previous = jax.lax.stop_gradient((later, previous))
                references = {name: getattr(memory, name) for name in ("reference_features", "reference_masks")}
                memory = later._replace(**references)
                continue
            memory = later
            masks = masks_of_labels(batch["labels"][:, t], 2)
            losses.append(mask_loss(logits, masks, batch["valid"], dice_weight=objective.dice_weight).total)
        return sum(losses)

    return jax.jit(jax.value_and_grad(total))(variables["params"])


@pytest.mark.slow
@pytest.mark.parametrize(("config", "frames"), [(LITE, 0), (STEM, 0), (STEM, 1)], ids=["decoder", "stem", "last frame"])
def test_the_scan_s_gradient_is_that_of_the_unrolled_loop(config, frames):
    objective = Objective(dice_weight=0.5, gradient_frames=frames)
    frames = frames or LENGTH - 1
    value, expected = unrolled(config, objective)
    found, (mean, metrics) = gradient(config, SOFT, objective)
    np.testing.assert_allclose(mean.total, value, rtol=1e-4)
    assert_close(found, expected)
    assert float(mean.count) == 3 * frames
    assert float(metrics["iou"].count) == 3 * frames
    assert float(metrics["last_iou"].count) == 3


@pytest.mark.parametrize(("config", "how"), [(MICRO, HOW), (LITE, SOFT)], ids=["ranet", "mrnet"])
def test_the_last_frames_of_a_truncated_rollout_are_those_of_the_whole(config, how):
    """Their gradient alone is cut; the loss is of them alone."""
    how, batch = how.for_training(presence=False, update=True), batch_of(config)
    _, probability, _ = predicted(config, how, Objective(), batch)
    last, last_probability, _ = predicted(config, how, Objective(gradient_frames=1), batch)
    assert last.shape[0] == 1
    np.testing.assert_allclose(last_probability[-1], probability[-1], atol=2e-3)
    mean, _ = loss_of(config, how, Objective(gradient_frames=1, update=True), batch)
    masks, valid = masks_of_labels(batch["labels"][:, -1], 2), batch["valid"]
    np.testing.assert_allclose(mean.total, mask_loss(last[-1], masks, valid).total, rtol=1e-4)


@pytest.mark.slow
def test_a_clip_shorter_than_the_frames_with_a_gradient_is_like_any_other():
    whole, (value, _) = gradient(LITE, SOFT, Objective())
    more, (same, _) = gradient(LITE, SOFT, Objective(gradient_frames=LENGTH))
    np.testing.assert_allclose(value.total, same.total, rtol=1e-6)
    assert_close(more, whole)


def test_impossible_objectives_are_named():
    with pytest.raises(InputError, match=r"objective\.gradient_frames is -1"):
        Objective(gradient_frames=-1)
    with pytest.raises(InputError, match="remat computes frame by frame: set it or encode_together"):
        Objective(encode_together=True)
    with pytest.raises(InputError, match="set it or encode_together, not both"):
        Objective.pairs(remat=True)
    assert Objective.pairs(remat=True, encode_together=False).gradient_through_masks is False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "how"), [(MICRO, HOW), (LITE, SOFT), (STEM, SOFT)], ids=["ranet", "decoder", "stem"]
)
def test_a_frozen_encoder_has_no_gradient_but_its_mask_channel_learns(config, how):
    found, _ = gradient(config, how, Objective(), frozen=True)
    whole, _ = gradient(config, how, Objective())
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found["backbone"]))
    assert np.any(whole["backbone"]["stem"]["kernel"])
    for name in found.keys() - {"backbone", "mask_stem"}:
        assert_close(found[name], whole[name], tolerance=2e-2)
    if config is STEM:
        assert np.any(found["mask_stem"]["kernel"])


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_recomputation_takes_less_memory():
    """Reported by `eval` for the real networks; here, that it is so at all."""
    config = dataclasses.replace(LITE, input_size=(64, 128))
    variables = expected_variables(config)
    batch = {
        "images": jax.ShapeDtypeStruct((1, 8, 64, 128, 3), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((1, 8, 64, 128), jnp.uint8),
        "valid": jax.ShapeDtypeStruct((1, 1), jnp.bool_),
    }
    sizes = {}
    for remat in (True, False):
        loss = clip_loss(config, SOFT, Objective(remat=remat), frozen=())
        gradient = jax.jit(jax.grad(lambda params, rest, batch, loss=loss: loss(params, rest, batch)[0].total))
        compiled = gradient.lower(variables["params"], variables.get("batch_stats", {}), batch).compile()
        sizes[remat] = compiled.memory_analysis().temp_size_in_bytes
    assert sizes[True] < 0.5 * sizes[False]


def test_the_rollout_names_the_frames_it_chose():
    _, probability, found = predicted(LITE, SOFT, Objective(), clips(size=1, length=8))
    chosen = found["selected"]
    assert probability.shape == (7, 1, 32, 64, 2)
    assert 0 <= float(probability.min()) <= float(probability.max()) <= 1
    assert chosen.frame.shape == (7, 1, 2)
    assert chosen.score.shape == (7, 1, 2, 2)
    for t, frames in enumerate(np.asarray(chosen.frame), start=1):
        assert set(frames.ravel().tolist()) <= {0, t - 2} & set(range(t))


def test_a_rollout_needs_no_more_memory_than_its_frames_can_use():
    """Of three frames, none is compared but the first: the ring buffer has no slot."""
    net, batch = bound(LITE, variables_of(LITE)), clips(size=1)
    seen = net.encode(jnp.zeros((1, 32, 64, 3)), jnp.zeros((1, 32, 64, 2)))
    assert [net.empty(seen, 2, 1, frames).features.shape[0] for frames in (2, 3, None)] == [0, 2, 2]
    found = predicted(
        LITE, SOFT, Objective(), {**batch, "images": batch["images"][:, :3], "labels": batch["labels"][:, :3]}
    )
    assert found[2]["selected"].score.shape == (2, 1, 2, 1)


@pytest.mark.parametrize(("config", "how"), [(MICRO, HOW), (LITE, SOFT)], ids=["ranet", "mrnet"])
def test_a_clip_without_any_object_is_no_nan(config, how):
    batch = {name: array[:1] for name, array in batch_of(config).items()}
    batch |= {"labels": jnp.zeros_like(batch["labels"]), "valid": jnp.zeros_like(batch["valid"])}
    found, (mean, _) = gradient(config, how, Objective(0.5), frozen=True, batch=batch)
    assert float(mean.total) == float(mean.count) == 0
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(found))


@pytest.mark.slow
def test_bfloat16_computes_nearly_the_same_loss_in_float32():
    configs = (MICRO, dataclasses.replace(MICRO, dtype="bfloat16"))
    losses = [loss_of(config, HOW, Objective.pairs(), make_batch(0, 2))[0].total for config in configs]
    assert losses[1].dtype == jnp.float32
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=0.05)
