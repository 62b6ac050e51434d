"""Back-propagation through time: the scan against an unrolled loop, recomputation, memory, what learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ranet_jax.training.mrnet import MRNetObjective, mrnet_loss, predict, rollout, start, temporary_bytes

from ranet_jax.backbones import normalise
from ranet_jax.errors import InputError
from ranet_jax.networks import MRNet, MRNetConfig
from ranet_jax.training.losses import mask_loss, masks_of_labels
from ranet_jax.training.optimizer import WHOLE_BACKBONE
from ranet_jax.weights import initial_variables

LENGTH = 4
# Frames are compared with the one before last, so that the last of four does not only see frame 0.
LITE = MRNetConfig.lite(backbone="resnet_micro", input_size=(32, 64), decoder_features=(8, 8), candidates=1, interval=2)
STEM = dataclasses.replace(LITE, mask_input="stem")


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


def gradient(config, objective, frozen=False):
    loss = mrnet_loss(config, objective, frozen=WHOLE_BACKBONE if frozen else ())

    def total(params, statistics, batch):
        mean, metrics = loss(params, statistics, batch)
        return mean.total, (mean, metrics)

    variables = variables_of(config)
    return jax.jit(jax.grad(total, has_aux=True))(variables["params"], variables["batch_stats"], clips())


def _unrolled(config, objective):
    """The same, frame by frame in Python."""
    model, variables, batch = MRNet(config), variables_of(config), clips()

    def total(params):
        weights = {**variables, "params": params}
        memory = start(model, weights, batch["images"][:, 0], batch["labels"][:, 0], 2)
        losses = []
        without_gradient = LENGTH - 1 - (objective.gradient_frames or LENGTH - 1)
        for t in range(1, LENGTH):
            image = normalise(batch["images"][:, t], config.backbone)
            if t <= without_gradient:
                later, _, _ = model.apply(weights, memory, image, method="step")
                later = jax.lax.stop_gradient(later)
                memory = later._replace(first_feature=memory.first_feature, first_mask=memory.first_mask)
                continue
            memory, logits, _ = model.apply(weights, memory, image, method="step")
            masks = masks_of_labels(batch["labels"][:, t], 2)
            losses.append(mask_loss(logits, masks, batch["valid"], dice_weight=objective.dice_weight).total)
        return sum(losses)

    return jax.jit(jax.value_and_grad(total))(variables["params"])


def assert_close(a, b, tolerance=5e-3):
    """Every leaf, by the length of the difference: a recurrence carries float32's rounding far."""
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        difference = float(jnp.linalg.norm(jnp.ravel(x - y)))
        assert difference <= tolerance * float(jnp.linalg.norm(jnp.ravel(y))) + 1e-7, jax.tree_util.keystr(path)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "frames"), [(LITE, 0), (STEM, 0), (STEM, 1)], ids=["decoder", "stem", "last frame"])
def test_the_scan_s_gradient_is_that_of_the_unrolled_loop(config, frames):
    objective = MRNetObjective(dice_weight=0.5, gradient_frames=frames)
    frames = frames or LENGTH - 1
    value, expected = _unrolled(config, objective)
    found, (mean, metrics) = gradient(config, objective)
    np.testing.assert_allclose(mean.total, value, rtol=1e-4)
    assert_close(found, expected)
    assert float(mean.count) == 3 * frames
    assert float(metrics["iou"].count) == 3 * frames
    assert float(metrics["last_iou"].count) == 3


@pytest.mark.slow
def test_a_clip_shorter_than_the_frames_with_a_gradient_is_like_any_other():
    whole, (value, _) = gradient(LITE, MRNetObjective())
    more, (same, _) = gradient(LITE, MRNetObjective(gradient_frames=LENGTH))
    np.testing.assert_allclose(value.total, same.total, rtol=1e-6)
    assert_close(more, whole)


def test_a_negative_number_of_frames_is_named():
    with pytest.raises(InputError, match=r"objective\.gradient_frames is -1"):
        MRNetObjective(gradient_frames=-1)


@pytest.mark.slow
def test_every_parameter_learns_and_recomputation_changes_nothing():
    kept, (mean, _) = gradient(STEM, MRNetObjective(remat=False))
    again, (mean_again, _) = gradient(STEM, MRNetObjective(remat=True))
    still = [jax.tree_util.keystr(k) for k, g in jax.tree_util.tree_leaves_with_path(kept) if not jnp.any(g)]
    assert not still
    np.testing.assert_allclose(mean.total, mean_again.total, rtol=1e-5)
    assert_close(again, kept)


@pytest.mark.slow
@pytest.mark.parametrize("config", [LITE, STEM], ids=["decoder", "stem"])
def test_a_frozen_encoder_has_no_gradient_but_its_mask_channel_learns(config):
    found, _ = gradient(config, MRNetObjective(), frozen=True)
    whole, _ = gradient(config, MRNetObjective())
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found["backbone"]))
    assert_close(found["decoder"], whole["decoder"])
    if config is STEM:
        assert np.any(found["mask_stem"]["kernel"])


@pytest.mark.slow
def test_gradients_reach_through_the_masks_of_earlier_frames_unless_told_otherwise():
    through, (value, _) = gradient(LITE, MRNetObjective())
    cut, (same, _) = gradient(LITE, MRNetObjective(gradient_through_masks=False))
    np.testing.assert_allclose(value.total, same.total, rtol=1e-6)
    size = lambda tree: sum(float(jnp.sum(jnp.abs(x))) for x in jax.tree.leaves(tree))
    assert size(jax.tree.map(jnp.subtract, through, cut)) > 1e-3 * size(cut)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_recomputation_takes_less_memory():
    """Reported by `eval` for the real networks; here, that it is so at all."""
    sizes = {
        remat: temporary_bytes(
            dataclasses.replace(LITE, input_size=(64, 128)), MRNetObjective(remat=remat), batch_size=1, clip_length=8
        )
        for remat in (True, False)
    }
    assert sizes[True] < 0.5 * sizes[False]


def test_the_rollout_names_the_frames_it_chose():
    variables, batch = variables_of(LITE), clips(size=1, length=8)
    probability, chosen = jax.jit(rollout, static_argnums=0)(LITE, variables, batch)
    assert probability.shape == (7, 1, 32, 64, 2)
    assert 0 <= float(probability.min()) <= float(probability.max()) <= 1
    assert chosen["frame"].shape == (7, 1, 2)
    assert chosen["score"].shape == (7, 1, 2, 2)
    for t, frames in enumerate(np.asarray(chosen["frame"]), start=1):
        assert set(frames.ravel().tolist()) <= {0, t - 2} & set(range(t))
    last = jax.jit(predict, static_argnums=0)(LITE, variables, batch)
    np.testing.assert_allclose(last, probability[-2:], atol=1e-5)


def test_a_clip_without_any_object_is_no_nan():
    variables, batch = variables_of(LITE), clips(size=1)
    batch |= {"labels": jnp.zeros_like(batch["labels"]), "valid": jnp.zeros_like(batch["valid"])}
    loss = mrnet_loss(LITE, MRNetObjective(0.5), frozen=WHOLE_BACKBONE)
    total = lambda params: loss(params, variables["batch_stats"], batch)[0].total
    value, found = jax.jit(jax.value_and_grad(total))(variables["params"])
    assert float(value) == 0
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(found))
