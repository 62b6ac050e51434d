"""Averages of checkpoints, and what cannot be averaged."""

import dataclasses

import jax
import numpy as np
import pytest

from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import Presence, TrackerConfig
from ranet_jax.training.average import average_weights
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint
from train import average

HOW = TrackerConfig.lite()
CONFIG = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16)


@pytest.fixture
def checkpoints(tmp_path):
    """Three of one network, the last stored in half precision, and one that differs in two fields."""
    variables = [initial_variables(CONFIG, seed=seed) for seed in range(3)]
    for seed, dtype in enumerate((np.float32, np.float32, np.float16)):
        card = {"licence": "CC BY-NC 4.0"} if seed else {}
        save_checkpoint(tmp_path / str(seed), CONFIG, HOW, variables[seed], dtype=dtype, card=card)
    other = dataclasses.replace(CONFIG, score_scale=0.3), dataclasses.replace(HOW, presence=Presence(cell=8))
    save_checkpoint(tmp_path / "other", *other, variables[0])
    return tmp_path, variables


def test_the_average_is_the_mean_of_every_parameter(checkpoints, capsys):
    folder, variables = checkpoints
    names = [str(folder / str(seed)) for seed in range(3)]
    assert average.main([*names, "--out", str(folder / "average")]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "average")
    found = load_checkpoint(folder / "average")
    assert (found.config, found.tracker) == (CONFIG, HOW)
    assert found.card == {"average of": names, "licence": "CC BY-NC 4.0"}
    expected = jax.tree.map(lambda *x: sum(np.asarray(y, np.float64) for y in x) / 3, *variables)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-3), found.variables, expected)
    exact = average_weights(names[:2]).variables
    expected = jax.tree.map(lambda x, y: (np.asarray(x) + np.asarray(y)) / 2, *variables[:2])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-7), exact, expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0",), "give two checkpoints or more"),
        (("0", "other"), "in presence, score_scale: average runs of one recipe"),
        (("0", "absent"), "absent: no such checkpoint"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(checkpoints, capsys, names, message):
    folder, _ = checkpoints
    assert average.main([*(str(folder / name) for name in names), "--out", str(folder / "average")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "average").exists()
