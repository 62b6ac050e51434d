"""The benchmark program: what it measures of a training step, and wrong arguments. No test asserts a speed."""

import pathlib

import ml_collections
import numpy as np
import pytest

from eval import benchmark
from eval.training_step import measure_training_step, noise
from ranet_jax.evaluation import speed
from train.options import load_config

ROOT = pathlib.Path(__file__).parents[2]


def test_noise_is_a_valid_batch():
    batch = noise(2, 3, (64, 96))
    assert batch["image"].shape == (2, 64, 96, 3)
    assert batch["valid"].shape == (2, 3)
    for name in ("template_labels", "labels", "previous_labels"):
        assert set(np.unique(batch[name])) == {0, 1, 2, 3}


def test_what_is_measured_exists():
    for path, batch_size in benchmark.TRAINING_STEPS:
        assert batch_size > 0
        load_config(str(ROOT / path))
    assert speed.Yardstick()() > 0
    assert speed.peak_memory() is None or speed.peak_memory() > 0


@pytest.mark.slow
def test_a_training_step_is_measured(capsys, monkeypatch):
    config = ml_collections.ConfigDict(load_config(str(ROOT / "configs/ranet_lite_davis16.py")))
    config.model.input_size, config.model.template_grid, config.model.kept_maps = (64, 96), (4, 6), 16
    config.model.backbone = "resnet_micro"
    found = measure_training_step(config, 2, repeats=2)
    assert (found.size, found.dtype) == ((64, 96), "float32")
    assert found.operations > 1e6
    assert found.compiled_bytes > sum(x.nbytes for x in noise(2, 1, (64, 96)).values())
    assert found.seconds > 0
    monkeypatch.setattr(benchmark, "measure_training_step", lambda config, batch_size, repeats: found)
    monkeypatch.chdir(ROOT)
    assert benchmark.main(["--train", "--repeats", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + len(benchmark.TRAINING_STEPS)
    assert all("float32" in line for line in lines[3:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "nothing to measure"), (("--train", "--repeats", "0"), "give 1 or more"), (("--model", "x"), "x: no such")],
)
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    assert benchmark.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
