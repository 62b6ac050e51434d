import random
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.training.checkpoint import Checkpoints, Position
from tests.training.micro import make_dataset, toy_step

SUMS = {"loss": [0.1 + 0.2, 3.0], "iou": [1e-17, 1.0]}
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
        checkpoints.save(state, iterator, SUMS)
    expected = next(iterator)
    again = iter(make_dataset())
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        assert checkpoints.latest_step == 7
        restored, sums = checkpoints.restore(placed, again)
    assert sums == SUMS
    _assert_equal(restored, state)
    _assert_equal(next(again), expected)
    assert all(
        leaf.sharding == original.sharding
        for leaf, original in zip(jax.tree.leaves(restored), jax.tree.leaves(placed), strict=True)
    )


def test_without_a_checkpoint_the_initial_state_is_returned(tmp_path, placed):
    iterator = iter(make_dataset())
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        assert checkpoints.restore(placed, iterator) == (placed, {})
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
        _assert_equal(checkpoints.restore(state, iterator).state, before)


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
        assert int(checkpoints.restore(placed, iterator).state.step) == 3


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


def test_a_position_saves_where_the_iterator_stood(tmp_path, placed):
    iterator = iter(make_dataset())
    next(iterator)
    position = Position(iterator.get_state())
    expected = next(iterator)
    with Checkpoints(tmp_path, keep=2, config=CONFIG) as checkpoints:
        checkpoints.save(placed, position)
        again = iter(make_dataset())
        checkpoints.restore(placed, again)
    _assert_equal(next(again), expected)


def _at(placed, step):
    """The state after so many steps, with weights that tell which."""
    return placed.replace(
        step=jnp.full_like(placed.step, step), params=jax.tree.map(lambda p: jnp.full_like(p, step), placed.params)
    )


@pytest.fixture
def three(tmp_path, placed):
    """A folder with checkpoints of steps 1, 2 and 3."""
    folder = tmp_path / "three"
    with Checkpoints(folder, keep=3, config=CONFIG) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(_at(placed, step), iter(make_dataset()), {"loss": [float(step), 1.0]})
    return folder


def _files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _damage(path, how, rng):
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes({"flip": content, "cut": content[: len(content) // 2], "empty": b""}.get(how, content))
    if how == "missing":
        path.unlink()


def _restore(folder, placed, keep=3):
    with Checkpoints(folder, keep=keep, config=CONFIG) as checkpoints:
        return checkpoints.restore(placed, iter(make_dataset()))


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "missing"])
def test_damage_to_any_file_is_never_restored_as_another_value(tmp_path, placed, three, capfd, how):
    """What says only when a checkpoint was committed may be anything; all else goes back to the one before."""
    rng = random.Random(how)
    for name in _files(three / "3"):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(three, folder)
        _damage(folder / "3" / name, how, rng)
        restored = _restore(folder, placed)
        expected = 3 if name.name == "_CHECKPOINT_METADATA" or str(name) == "commit_success.txt" else 2
        _assert_equal(restored.state, _at(placed, expected))
        assert restored.sums == {"loss": [float(expected), 1.0]}
        lines = capfd.readouterr().err.splitlines()
        if expected == 3:
            assert lines == []
            continue
        (line,) = lines
        assert line.startswith(f"{folder / '3'}: the checkpoint is damaged or cut off (")
        assert line.endswith("set aside as 3.damaged, continuing from 2")
        assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3.damaged"]


def test_after_going_back_the_same_step_is_saved_anew_and_good_ones_are_kept(placed, three, capfd):
    _damage(three / "3" / "sums" / "metadata", "flip", random.Random(0))
    with Checkpoints(three, keep=2, config=CONFIG) as checkpoints:
        assert int(checkpoints.restore(placed, iter(make_dataset())).state.step) == 2
        checkpoints.save(_at(placed, 3), iter(make_dataset()))
    assert sorted(path.name for path in three.iterdir()) == ["2", "3", "3.damaged"]
    assert len(capfd.readouterr().err.splitlines()) == 1
    _assert_equal(_restore(three, placed).state, _at(placed, 3))
    assert capfd.readouterr().err == ""


def test_where_all_are_damaged_the_newest_is_named_and_none_is_moved(placed, three, capfd):
    for step in ("1", "2", "3"):
        _damage(three / step / "digests.json", "cut", random.Random(0))
    with pytest.raises(
        InputError, match=rf"^{three / '3'}: .*damaged or cut off \(digests.json .*all before it"
    ) as caught:
        _restore(three, placed)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert sorted(path.name for path in three.iterdir()) == ["1", "2", "3"]


def test_a_checkpoint_that_does_not_fit_is_no_damage(placed, three):
    changed = placed.replace(params={"other": placed.params["head"]["bias"]})
    with pytest.raises(InputError, match=rf"^{three / '3'}: does not fit this run") as caught:
        _restore(three, changed)
    assert "\n" not in str(caught.value)
    assert (three / "3").is_dir()


# What Orbax began and gives up may end after its event loop, and write into its temporary folder until then.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_save_that_cannot_be_written_is_one_line_and_leaves_the_one_before(tmp_path, placed, capfd):
    """As on a full disk: no file may grow beyond some bytes."""
    large = placed.replace(params={"head": jnp.asarray(np.random.default_rng(0).normal(size=200_000))})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        pytest.raises(InputError, match=r"the checkpoint of step 2 cannot be written \(.*make room") as caught,
        Checkpoints(tmp_path, keep=1, config=CONFIG) as checkpoints,
    ):
        checkpoints.save(_at(placed, 1), iter(make_dataset()))
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
        try:
            checkpoints.save(large.replace(step=_at(placed, 2).step), iter(make_dataset()))
            checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    _assert_equal(_restore(tmp_path, placed).state, _at(placed, 1))
    assert [path.name for path in tmp_path.iterdir() if "tmp" not in path.name] == ["1"]
