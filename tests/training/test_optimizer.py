import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ranet_jax.errors import InputError
from ranet_jax.training.optimizer import (
    WHOLE_BACKBONE,
    OptimizerConfig,
    build_optimizer,
    frozen_backbone,
    learning_rate_schedule,
    update_average,
)

PARAMS = {"backbone": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}


def _updates(config, gradient, steps=1):
    optimizer = build_optimizer(config, 100)
    state = optimizer.init(PARAMS)
    for _ in range(steps):
        updates, state = optimizer.update(gradient, state, PARAMS)
    return updates, state


@pytest.mark.parametrize("schedule", ["constant", "cosine", "polynomial"])
def test_schedules_warm_up_and_end_where_they_should(schedule):
    config = OptimizerConfig(0.1, schedule, warmup_steps=10, final_factor=0.1, power=2.0)
    rate = learning_rate_schedule(config, 110)
    rates = np.array([rate(step) for step in range(111)])
    np.testing.assert_allclose(rates[:10], 0.1 * np.arange(1, 11) / 10, rtol=1e-6)
    assert rates[10] == pytest.approx(0.1)
    assert rates[110] == pytest.approx(0.1 if schedule == "constant" else 0.01, rel=1e-4)
    middle = {"constant": 0.1, "cosine": 0.055, "polynomial": 0.01 + 0.09 / 4}[schedule]
    assert rates[60] == pytest.approx(middle, rel=1e-4)


def test_a_frozen_backbone_does_not_move_and_has_no_optimizer_state():
    gradient = jax.tree.map(jnp.ones_like, PARAMS)
    config = OptimizerConfig(0.1, "constant", backbone_factor=0.0, weight_decay=0.1)
    updates, state = _updates(config, gradient)
    assert not jnp.any(updates["backbone"]["kernel"])
    assert jnp.all(updates["head"]["kernel"] < 0)
    # Two moments of the head and two counters, of Adam and of its schedule.
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * (4 + 2) + 2


def test_modules_of_the_backbone_can_be_frozen_by_name():
    kernel = {"kernel": jnp.ones((2, 2))}
    params = {"backbone": {"stem": kernel, "stage0_block0": kernel, "stage1_block0": kernel}, "stem": kernel}
    config = OptimizerConfig(0.1, "constant", backbone_factor=0.1, frozen_modules=("stem", "stage0"), weight_decay=0.1)
    gradient = jax.grad(lambda p: sum(jnp.sum(x) for x in jax.tree.leaves(frozen_backbone(p, config.frozen))))(params)
    optimizer = build_optimizer(config, 100)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    # A module of that name outside the backbone learns.
    for tree, moved in ((gradient, lambda x: x == 1), (updates, lambda x: x < 0)):
        backbone, other = tree["backbone"], tree["stem"]
        assert not jnp.any(backbone["stem"]["kernel"])
        assert not jnp.any(backbone["stage0_block0"]["kernel"])
        assert jnp.all(moved(backbone["stage1_block0"]["kernel"]))
        assert jnp.all(moved(other["kernel"]))


def test_frozen_modules_that_do_not_exist_are_named():
    with pytest.raises(InputError, match="begins with 'stage9': it has kernel"):
        frozen_backbone(PARAMS, ("kernel", "stage9"))


def test_the_backbone_has_a_rate_of_its_own():
    gradient = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = _updates(OptimizerConfig(0.1, "constant", backbone_factor=0.1), gradient)
    np.testing.assert_allclose(updates["backbone"]["kernel"], 0.1 * updates["head"]["kernel"], rtol=1e-6)


def test_weight_decay_is_decoupled_and_spares_biases():
    nothing = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = _updates(OptimizerConfig(0.1, "constant", weight_decay=0.5), nothing)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.05, rtol=1e-6)
    assert not jnp.any(updates["head"]["bias"])


def test_clipping_looks_at_the_whole_gradient():
    gradient = jax.tree.map(lambda p: 100 * jnp.ones_like(p), PARAMS)
    config = OptimizerConfig(0.1, "constant", clip_norm=1.0)
    _, clipped = _updates(config, gradient)
    _, small = _updates(dataclasses.replace(config, clip_norm=0.0), jax.tree.map(lambda g: g / 100 / 10**0.5, gradient))
    moments = lambda state: [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    for a, b in zip(moments(clipped), moments(small), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_defaults_are_plain_adam():
    gradient = jax.tree.map(lambda p: 0.3 * jnp.ones_like(p), PARAMS)
    config = OptimizerConfig(0.1, "constant", clip_norm=0.0)
    ours, _ = _updates(config, gradient, steps=3)
    adam = optax.adam(0.1)
    state = adam.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(3):
            theirs, state = adam.update(gradient, state, PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


def test_frozen_backbone_cuts_its_gradient_only():
    gradient = jax.grad(lambda p: sum(jnp.sum(x) for x in jax.tree.leaves(frozen_backbone(p, WHOLE_BACKBONE))))(PARAMS)
    assert not jnp.any(gradient["backbone"]["kernel"])
    assert jnp.all(gradient["head"]["kernel"] == 1)


def test_running_average_forgets_the_start_and_then_decays():
    average = jnp.zeros(())
    for step in range(1000):
        average = update_average(average, jnp.ones(()), jnp.asarray(step), 0.999)
    # With a constant decay of 0.999 it would be 1 - 0.999**1000 = 0.63.
    assert float(average) > 0.999
    assert float(update_average(jnp.zeros(()), jnp.ones(()), jnp.asarray(10**6), 0.9)) == pytest.approx(0.1, rel=1e-5)
    assert float(update_average(jnp.zeros(()), jnp.ones(()), jnp.asarray(0), 0.0)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"ema_decay": 1.0}, "ema_decay"),
    ],
)
def test_impossible_values_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        OptimizerConfig(**changes)
