import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ranet_jax.training.ranet import RANetObjective, predict, ranet_loss

from ranet_jax.backbones import normalise
from ranet_jax.networks import RANet
from ranet_jax.training.losses import mask_loss, masks_of_labels
from ranet_jax.training.optimizer import WHOLE_BACKBONE
from ranet_jax.weights import initial_variables
from tests.training.micro import MICRO, make_batch


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(np.asarray, initial_variables(MICRO))


@pytest.fixture(scope="module")
def batch():
    return make_batch(0, 2)


@pytest.fixture(scope="module")
def two_frames(batch):
    other = make_batch(1, 2)
    return {**batch, "next_image": other["image"], "next_labels": other["labels"]}


@pytest.fixture(scope="module")
def gradients(variables, two_frames):
    """Metrics and gradients of a rollout, by whether the gradient reaches through the first prediction."""

    def run(objective, frozen=False):
        loss = ranet_loss(MICRO, objective, frozen=WHOLE_BACKBONE if frozen else ())
        total = lambda params: (lambda t, m: (t.total, (t, m)))(
            *loss(params, variables["batch_stats"], jax.tree.map(jnp.asarray, two_frames))
        )
        return jax.jit(jax.grad(total, has_aux=True))(variables["params"])

    return {through: run(RANetObjective(0.5, rollout_gradient=through)) for through in (True, False)} | {
        "remat": run(RANetObjective(0.5, remat=True), frozen=True)
    }


def _norm(tree):
    return float(sum(jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(tree)))


def test_the_loss_is_that_of_the_model_called_frame_by_frame(variables, batch):
    """Encoding template and frame in one pass changes nothing, and every object counts by `valid`."""
    loss = ranet_loss(MICRO, RANetObjective(dice_weight=0.5), frozen=())
    total, metrics = jax.jit(loss)(variables["params"], variables["batch_stats"], batch)
    model = RANet(MICRO)

    @jax.jit
    def frame_by_frame(variables, batch):
        image = lambda name: normalise(batch[name], MICRO.backbone)
        objects = lambda name: masks_of_labels(batch[name], 2)
        template = (image("template_image"), objects("template_labels"))
        template = model.apply(variables, *template, method="encode_template")
        logits = model.apply(variables, image("image"), template, objects("previous_labels"))[0]
        return jax.nn.sigmoid(logits), mask_loss(logits, objects("labels"), batch["valid"], dice_weight=0.5)

    probability, expected = frame_by_frame(variables, jax.tree.map(jnp.asarray, batch))
    predicted = jax.jit(predict, static_argnums=0)(MICRO, variables, batch)
    np.testing.assert_allclose(predicted, probability, atol=1e-5)
    np.testing.assert_allclose(total.total, expected.total, rtol=1e-4)
    assert float(total.count) == float(metrics["iou"].count) == 3


@pytest.mark.slow
def test_every_parameter_learns(gradients):
    """The ranking network too: through the straight-through factor of the maps it keeps."""
    gradient, (total, metrics) = gradients[False]
    still = [jax.tree_util.keystr(k) for k, g in jax.tree_util.tree_leaves_with_path(gradient) if not jnp.any(g)]
    assert not still
    assert float(total.count) == 6
    assert float(metrics["iou"].count) == float(metrics["next_iou"].count) == 3


@pytest.mark.slow
def test_the_gradient_reaches_through_the_first_prediction_only_if_asked(gradients):
    through, cut = gradients[True], gradients[False]
    np.testing.assert_allclose(through[1][0].total, cut[1][0].total, rtol=1e-6)
    assert _norm(jax.tree.map(jnp.subtract, through[0], cut[0])) > 1e-4 * _norm(cut[0])


@pytest.mark.slow
def test_remat_changes_nothing_and_a_frozen_backbone_has_no_gradient(gradients):
    plain, again = gradients[False][0], gradients["remat"][0]
    assert _norm(again["backbone"]) == 0
    for name in ("decoder", "matching_head", "ranking"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-5), plain[name], again[name])


@pytest.mark.slow
def test_the_second_frame_starts_from_the_first_prediction(variables, batch, two_frames, gradients):
    probability = jax.jit(predict, static_argnums=0)(MICRO, variables, batch)
    assert probability.shape == (2, 64, 96, 2)

    def second(variables):
        model = RANet(MICRO)
        masks = masks_of_labels(jnp.asarray(batch["template_labels"]), 2)
        image = lambda name: normalise(jnp.asarray(two_frames[name]), MICRO.backbone)
        template = model.apply(variables, image("template_image"), masks, method="encode_template")
        previous = probability * batch["valid"][:, None, None].astype(np.float32)
        logits, _ = model.apply(variables, image("next_image"), template, previous)
        labels = masks_of_labels(jnp.asarray(two_frames["next_labels"]), 2)
        return mask_loss(logits, labels, jnp.asarray(batch["valid"]), dice_weight=0.5)

    loss = ranet_loss(MICRO, RANetObjective(dice_weight=0.5), frozen=())
    first, _ = jax.jit(loss)(variables["params"], variables["batch_stats"], batch)
    whole = gradients[False][1][0]
    np.testing.assert_allclose(whole.total, first.total + jax.jit(second)(variables).total, rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_computes_nearly_the_same_loss_in_float32(variables, batch):
    config = dataclasses.replace(MICRO, dtype="bfloat16")
    losses = [
        jax.jit(ranet_loss(c, RANetObjective(), frozen=()))(variables["params"], variables["batch_stats"], batch)[
            0
        ].total
        for c in (MICRO, config)
    ]
    assert losses[1].dtype == jnp.float32
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=0.05)
