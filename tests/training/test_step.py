import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.training.step import initial_state, train_step
from tests.training.micro import OPTIMIZER, VARIABLES, make_batch, toy_function, toy_loss


def _run(state, batch, **arguments):
    return jax.jit(functools.partial(train_step, function=toy_function(**arguments)))(state, batch)


def _assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.fixture(scope="module")
def batch():
    return make_batch(0, 4)


def test_a_step_changes_what_it_should(state, batch):
    new, metrics = _run(state, batch)
    assert int(new.step) == 1
    _assert_close(new.batch_stats, state.batch_stats, rtol=0)
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, new.params)
    assert all(jax.tree.leaves(moved))
    assert float(metrics["loss"].count) == float(metrics["iou"].count) == 6, "8 slots, of which 2 hold nothing"
    # Update number 0 keeps a tenth of the initial weights: the decay is still 1 / 10.
    tenth = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, state.params, new.params)
    _assert_close(new.ema_params, tenth, rtol=1e-5, atol=1e-7)


def test_the_gradient_is_that_of_the_mean_over_objects(state, batch):
    def mean(params):
        total, count = toy_loss(params, VARIABLES["batch_stats"], jax.tree.map(jnp.asarray, batch))[0]
        return total / count

    gradient = jax.jit(jax.grad(mean))(state.params)
    expected = sum(float(jnp.sum(jnp.square(g))) for g in jax.tree.leaves(gradient)) ** 0.5
    assert float(_run(state, batch)[1]["gradient_norm"].total) == pytest.approx(expected, rel=1e-4)


def test_the_loss_falls_on_one_batch(state, batch):
    step = jax.jit(functools.partial(train_step, function=toy_function()))
    losses = []
    for _ in range(15):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"].total / metrics["loss"].count))
    assert losses[-1] < 0.8 * losses[0]


def test_accumulation_gives_the_update_of_the_whole_batch(state, batch):
    whole, whole_metrics = _run(state, batch)
    parts, part_metrics = _run(state, batch, accumulate=2)
    _assert_close(whole_metrics, part_metrics, rtol=2e-5)
    _assert_close(whole.params, parts.params, rtol=1e-4, atol=1e-6)


def test_labels_of_absent_objects_do_not_matter(state, batch):
    one = {**batch, "valid": np.pad(batch["valid"][:, :1], ((0, 0), (0, 1)))}
    changed = {**one, "labels": np.where(batch["labels"] == 2, 0, batch["labels"]).astype(np.uint8)}
    (new, metrics), (other, other_metrics) = _run(state, one), _run(state, changed)
    assert float(metrics["loss"].count) == 4
    _assert_close(metrics, other_metrics, rtol=0)
    _assert_close(new.params, other.params, rtol=0)


def test_a_batch_without_any_object_is_no_division_by_zero(state, batch):
    new, metrics = _run(state, {**batch, "valid": np.zeros_like(batch["valid"])})
    _assert_close(new.params, state.params, rtol=0)
    assert float(metrics["gradient_norm"].total) == 0


def test_a_frozen_backbone_stays(batch):
    frozen = dataclasses.replace(OPTIMIZER, backbone_factor=0.0, weight_decay=0.1)
    state = initial_state(VARIABLES, toy_function(frozen).optimizer)
    new, _ = _run(state, batch, optimizer=frozen)
    _assert_close(new.params["backbone"], state.params["backbone"], rtol=0)
    assert jnp.any(new.params["head"]["kernel"] != state.params["head"]["kernel"])
