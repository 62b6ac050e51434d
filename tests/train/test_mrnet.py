"""MRNet's recipes: their fields build, the curriculum cuts clips, and the real recipe, shrunk, runs and continues."""

import json
import pathlib

import jax
import ml_collections
import numpy as np
import pytest

from configs.mrnet_ablations import CHANGES
from ranet_jax.data.config import SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.models import MRNetConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mrnet import MRNetObjective
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.weights import load_checkpoint
from train.mrnet import PROGRAM, curriculum
from train.options import Options, build, load_config, override
from train.program import decisive, train

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
RECIPES = (
    "mrnet_davis16.py",
    "mrnet_davis17.py",
    "mrnet_lite_davis16.py",
    *(f"mrnet_ablations.py:{name}{base}" for name in CHANGES for base in ("", ":lite")),
)


@pytest.mark.parametrize("name", RECIPES)
def test_fields_build(name):
    config = load_config(str(CONFIGS / name))
    model = MRNetConfig.from_dict(config.model.to_dict())
    sample = build(SampleConfig, config.data.sample)
    assert sample.size == model.input_size
    assert build(LoopConfig, config.loop).steps > 0
    build(OptimizerConfig, config.optimizer)
    build(MRNetObjective, config.objective)
    curriculum(config)
    json.dumps(decisive(config))
    assert all(part.sample == "clip" for part in config.data.parts.values())
    first = CONFIGS / name.split(":")[0]
    assert f"python -m train.mrnet --config configs/{first.name}" in first.read_text()


@pytest.mark.parametrize(("base", "recipe"), [("", "mrnet_davis16.py"), (":lite", "mrnet_lite_davis16.py")])
def test_an_ablation_differs_from_the_recipe_by_its_change_alone(base, recipe):
    for name, change in CHANGES.items():
        expected = load_config(str(CONFIGS / recipe)).to_dict()
        expected["model"] |= change
        assert load_config(str(CONFIGS / f"mrnet_ablations.py:{name}{base}")).to_dict() == expected


def test_unknown_ablations_are_named():
    for argument in ("fast", "full:big"):
        with pytest.raises(InputError, match=argument):
            load_config(str(CONFIGS / f"mrnet_ablations.py:{argument}"))


def _stages(*stages):
    return ml_collections.ConfigDict({"curriculum": stages, "data": {"sample": {"clip_length": 12}}})


def test_the_curriculum_cuts_clips_by_the_steps_done():
    cut = curriculum(_stages((0, 3), (10, 12)))
    batch = {
        "images": np.zeros((2, 12, 4, 4, 3), np.uint8),
        "labels": np.zeros((2, 12, 4, 4), np.uint8),
        "valid": np.ones((2, 1), bool),
    }
    for step, length in ((0, 3), (9, 3), (10, 12), (500, 12)):
        changed = cut(step, batch)
        assert changed["images"].shape[:2] == changed["labels"].shape[:2] == (2, length)
        assert changed["valid"] is batch["valid"]
    assert curriculum(_stages()) is None


@pytest.mark.parametrize("stages", [((1, 4),), ((0, 4), (0, 8)), ((0, 2),), ((0, 4), (5, 13))])
def test_an_impossible_curriculum_is_named(stages):
    with pytest.raises(InputError, match="lengths of 3 to 12"):
        curriculum(_stages(*stages))


@pytest.mark.slow
def test_the_real_recipe_shrunk_runs_to_its_end_and_a_second_run_changes_nothing(data_root, tmp_path, capsys):
    config = override(load_config(str(CONFIGS / "mrnet_lite_davis16.py")), [f"--config.data.root={data_root}"])
    try:
        for _ in range(2):
            assert train(PROGRAM, Options(config, tmp_path / "run", smoke=True, distributed=None)) == 0
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    assert "done: 6 steps" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all({"loss", "iou", "last_iou", "gradient_norm"} <= line.keys() for line in lines)
    checkpoint = load_checkpoint(tmp_path / "run" / "inference")
    assert isinstance(checkpoint.config, MRNetConfig)
    assert checkpoint.card["steps"] == 6
