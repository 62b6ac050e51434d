import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.training.checkpoint import Checkpoints
from tests.training.micro import make_dataset, toy_step

CONFIG = {"optimizer": {"learning_rate": 0.1, "schedule": "cosine"}, "seed": 1}


def _assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def placed(state):
    return toy_step().place_state(state)


def test_state_and_iterator_come_back_exactly(tmp_path, placed):
    iterator = iter(make_dataset())
    next(iterator), next(iterator)
    state = placed.replace(step=placed.step + 7, params=jax.tree.map(lambda p: p + 0.1, placed.params))
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(state, iterator)
    expected = next(iterator)
    again = iter(make_dataset())
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        assert checkpoints.latest_step == 7
        restored = checkpoints.restore(placed, again)
    _assert_equal(restored, state)
    _assert_equal(next(again), expected)
    assert all(
        leaf.sharding == original.sharding
        for leaf, original in zip(jax.tree.leaves(restored), jax.tree.leaves(placed), strict=True)
    )


def test_without_a_checkpoint_the_initial_state_is_returned(tmp_path, placed):
    iterator = iter(make_dataset())
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        assert checkpoints.restore(placed, iterator) is placed
    _assert_equal(next(iterator), next(iter(make_dataset())))


def test_saving_survives_the_donation_of_the_state(tmp_path, placed):
    iterator = iter(make_dataset())
    add = jax.jit(lambda s: jax.tree.map(lambda x: x + jnp.ones_like(x), s), donate_argnums=0)
    before = jax.tree.map(np.array, placed)
    state = placed
    with Checkpoints(tmp_path, keep=9, config=CONFIG) as checkpoints:
        checkpoints.save(state, iterator)
        for _ in range(20):
            state = add(state)
    with Checkpoints(tmp_path, keep=9, config=CONFIG) as checkpoints:
        _assert_equal(checkpoints.restore(state, iterator), before)


def test_the_newest_are_kept_and_remains_of_a_save_are_ignored(tmp_path, placed):
    iterator = iter(make_dataset())
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(placed.replace(step=jnp.full_like(placed.step, step)), iterator)
            checkpoints.save(placed.replace(step=jnp.full_like(placed.step, step)), iterator)
            checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        assert checkpoints.latest_step == 3
        assert int(checkpoints.restore(placed, iterator).step) == 3


def test_another_configuration_is_refused_by_name(tmp_path, placed):
    iterator = iter(make_dataset())
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        checkpoints.save(placed, iterator)
    other = {**CONFIG, "optimizer": {"learning_rate": 0.2, "schedule": "cosine"}}
    with (
        Checkpoints(tmp_path, keep=2, config=other) as checkpoints,
        pytest.raises(InputError, match=r"optimizer.learning_rate was 0.1, now 0.2"),
    ):
        checkpoints.restore(placed, iterator)
