import jax
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.training.step import train_step
from tests.training.micro import make_batch, toy_function, toy_step


def _three_steps(step, state):
    state = step.place_state(state)
    losses = []
    for seed in range(3):
        state, metrics = step(state, step.place_batch(make_batch(seed, 8)))
        losses.append({name: tuple(map(float, mean)) for name, mean in metrics.items()})
    return jax.tree.map(np.asarray, state), losses


@pytest.fixture
def one_device(state):
    step = jax.jit(lambda s, b: train_step(s, b, function=toy_function()))
    losses = []
    for seed in range(3):
        state, metrics = step(state, jax.device_put(make_batch(seed, 8)))
        losses.append({name: tuple(map(float, mean)) for name, mean in metrics.items()})
    return jax.tree.map(np.asarray, state), losses


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_four_devices_do_what_one_does(state, one_device, backend):
    """Also where the devices' shares hold different numbers of objects, as here."""
    assert jax.device_count() == 4
    step = toy_step(backend)
    new, losses = _three_steps(step, state)
    for ours, theirs in zip(losses, one_device[1], strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), new, one_device[0])
    assert step.traces == 1, "no silent recompilation"


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_the_state_is_donated_and_the_callers_arrays_are_not(state, backend):
    step = toy_step(backend)
    placed = step.place_state(state)
    new, _ = step(placed, step.place_batch(make_batch(0, 4)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


def test_a_batch_that_does_not_divide_is_an_input_error():
    with pytest.raises(InputError, match="batch of 6 does not divide by 4 devices"):
        toy_step().place_batch(make_batch(0, 6))
