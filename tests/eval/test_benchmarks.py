"""The benchmark program: what it measures of a training step, and wrong arguments. No test asserts a speed."""

import pathlib

import ml_collections
import numpy as np
import pytest
from eval.training_step import ClipMemory, StepReport, measure_clip_memory, measure_training_step, noise
from train.options import load_config

from eval import benchmark, roofline, training_step
from ranet_jax.evaluation import speed
from ranet_jax.networks import RANetConfig
from ranet_jax.training.optimizer import WHOLE_BACKBONE
from ranet_jax.weights import initial_variables

ROOT = pathlib.Path(__file__).parents[2]


def test_noise_is_a_valid_batch():
    batch = noise(2, 3, (64, 96))
    assert batch["image"].shape == (2, 64, 96, 3)
    assert batch["valid"].shape == (2, 3)
    for name in ("template_labels", "labels", "previous_labels"):
        assert set(np.unique(batch[name])) == {0, 1, 2, 3}


def test_what_is_measured_exists():
    for path, batch_size in benchmark.TRAINING_STEPS + benchmark.CLIP_GRADIENTS:
        assert batch_size > 0
        load_config(str(ROOT / path))
    assert speed.Yardstick()() > 0
    assert speed.peak_memory() is None or speed.peak_memory() > 0


@pytest.mark.slow
def test_a_step_is_held_against_what_bounds_it(monkeypatch, capsys):
    monkeypatch.setattr(roofline, "PASSED_FLOATS", 2**16)
    config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6))
    variables = initial_variables(config)
    one, two = (roofline.bound_step(config, variables, videos=videos, repeats=2) for videos in (1, 2))
    assert one.seconds > 0
    assert 1.5 < two.operations / one.operations < 2.5
    assert 1.2 < two.traffic / one.traffic < 2.5
    assert one.roof == min(one.product_rate, one.intensity * one.memory_rate)
    roofline.print_roofline("micro", config, variables, 1)
    assert len(capsys.readouterr().out.splitlines()) == 3
    roofline.print_lockstep("micro", config, variables, (1,), 1)
    assert capsys.readouterr().out.endswith("skipped, as this machine has no accelerator\n")


@pytest.mark.slow
def test_a_training_step_is_measured():
    config = ml_collections.ConfigDict(load_config(str(ROOT / "configs/ranet_lite_davis16.py")))
    config.model.input_size, config.model.template_grid, config.model.kept_maps = (64, 96), (4, 6), 16
    config.model.backbone = "resnet_micro"
    found = measure_training_step(config, 2, repeats=2)
    assert (found.size, found.dtype) == ((64, 96), "float32")
    assert found.operations > 1e6
    assert found.compiled_bytes > sum(x.nbytes for x in noise(2, 1, (64, 96)).values())
    assert found.seconds > 0


def test_training_is_reported_a_line_each(capsys, monkeypatch):
    step = StepReport((64, 96), "float32", 0.5, 1e9, 1e10, 2**30, None)
    memory = ClipMemory((64, 96), "float32", 12, 2**29, 2**31)
    monkeypatch.setattr(benchmark, "measure_training_step", lambda config, batch_size, repeats: step)
    monkeypatch.setattr(benchmark, "measure_clip_memory", lambda config, batch_size: memory)
    monkeypatch.chdir(ROOT)
    for more, clips in ((), 1), (("--full-clips",), 2):
        assert benchmark.main(["--train", "--repeats", "2", *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        steps = len(benchmark.TRAINING_STEPS)
        assert len(lines) == 3 + steps + 2 + clips
        assert all("float32" in line for line in lines[3 : 3 + steps] + lines[-clips:])
    assert lines[-1].split() == ["mrnet_davis16", "64x96", "float32", "1", "12", "0.50", "2.00", "4.0"]


def test_the_memory_of_a_recipe_is_measured_with_its_own_fields(monkeypatch):
    asked = []

    def temporary_bytes(config, objective, **settings):
        asked.append((objective.remat, settings))
        return 1 if objective.remat else 3

    monkeypatch.setattr(training_step, "temporary_bytes", temporary_bytes)
    found = measure_clip_memory(load_config(str(ROOT / "configs/mrnet_lite_davis16.py")), 2)
    assert found == ClipMemory((256, 448), "float32", 12, 1, 3)
    settings = {"batch_size": 2, "clip_length": 12, "objects": 1, "frozen": WHOLE_BACKBONE}
    assert asked == [(True, settings), (False, settings)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "nothing to measure"), (("--train", "--repeats", "0"), "give 1 or more"), (("--model", "x"), "x: no such")],
)
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    assert benchmark.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
