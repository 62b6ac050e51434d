"""MRNet's recipes: their fields build, the curriculum cuts clips, and the real recipe, shrunk, runs and continues."""

import dataclasses
import functools
import json
import operator
import shutil

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from ranet_jax.backbones import backbone
from ranet_jax.convert.torch_backbones import backbone_from_torch, resnet_entries
from ranet_jax.convert.torch_file import read_torch_file, write_torch_file
from ranet_jax.data.config import SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.mrnet.network import MRNet
from ranet_jax.networks import MRNetConfig
from ranet_jax.recipes.mrnet_ablations import CHANGES
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.options import build, load_config, override
from ranet_jax.training.programs import curriculum
from ranet_jax.training.recipe import configs_of, open_step
from ranet_jax.training.run import Options, decisive, start_variables, train
from ranet_jax.weights import load_checkpoint

RECIPES = (
    "mrnet_davis16",
    "mrnet_davis17",
    "mrnet_lite_davis16",
    *(f"mrnet_ablations:{name}{base}" for name in CHANGES for base in ("", ":lite")),
)


@pytest.mark.parametrize("name", RECIPES)
def test_fields_build(name):
    config = load_config(name)
    model, tracker, objective = configs_of(config)
    assert isinstance(model, MRNetConfig)
    assert tracker == dataclasses.replace(TrackerConfig.mrnet(), presence=tracker.presence)
    assert not objective.presence, "trained on all that is predicted"
    sample = build(SampleConfig, config.data.sample)
    assert sample.size == model.input_size
    assert build(LoopConfig, config.loop).steps > 0
    build(OptimizerConfig, config.optimizer)
    assert open_step(config).frames == sample.clip_length
    assert open_step(config).crop == "frame", "as the tracker's window has it"
    curriculum(config)
    json.dumps(decisive(config))
    assert all(part.sample == "clip" for part in config.data.parts.values())


@pytest.mark.parametrize(("base", "recipe"), [("", "mrnet_davis16"), (":lite", "mrnet_lite_davis16")])
def test_an_ablation_differs_from_the_recipe_by_its_change_alone(base, recipe):
    for name, change in CHANGES.items():
        expected = load_config(recipe).to_dict()
        expected["model"] |= change
        assert load_config(f"mrnet_ablations:{name}{base}").to_dict() == expected


def test_unknown_ablations_are_named():
    for argument in ("fast", "full:big"):
        with pytest.raises(InputError, match=argument):
            load_config(f"mrnet_ablations:{argument}")


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
def test_the_real_recipe_shrunk_runs_to_its_end_and_continues_as_if_it_had_never_stopped(data_root, tmp_path, capsys):
    config = override(load_config("mrnet_lite_davis16"), [f"--config.data.root={data_root}"])
    weights = lambda: load_checkpoint(tmp_path / "run" / "inference").variables
    try:
        assert train(Options(config, tmp_path / "run", smoke=True)) == 0
        assert "done: 6 steps" in capsys.readouterr().out
        whole = weights()
        for kill in (False, True):
            if kill:  # in the second half: the newest checkpoint is then that of step 3
                shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
                shutil.rmtree(tmp_path / "run" / "inference")
            assert train(Options(config, tmp_path / "run", smoke=True)) == 0
            jax.tree.map(np.testing.assert_array_equal, weights(), whole)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all({"loss", "iou", "last_iou", "gradient_norm"} <= line.keys() for line in lines)
    checkpoint = load_checkpoint(tmp_path / "run" / "inference")
    assert isinstance(checkpoint.config, MRNetConfig)
    assert checkpoint.tracker == configs_of(config)[1]
    assert checkpoint.card["steps"] == 6


@pytest.mark.slow
def test_torchvision_s_resnet_50_becomes_the_encoder_and_sees_no_mask_at_first(tmp_path, rng):
    """From a file in torchvision's naming to features: those of the network of three channels, whatever the mask."""
    module = backbone("resnet50", norm="batch")
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    stored = {"fc.weight": np.zeros((1000, 2048), np.float32), "fc.bias": np.zeros(1000, np.float32)}
    for name, path, layout in resnet_entries((3, 4, 6, 3), prefix="", path=(), statistics=True):
        leaf = functools.reduce(operator.getitem, path, shapes)
        shape = leaf.shape if layout == "vector" else (leaf.shape[3], leaf.shape[2], *leaf.shape[:2])
        value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        stored[name] = np.float32(1 + 0.1 * np.abs(value) if layout == "vector" else value)
    write_torch_file(tmp_path / "resnet50.pth", stored)
    model = MRNetConfig(input_size=(64, 96))
    config = load_config("mrnet_davis16")
    config.backbone_checkpoint = str(tmp_path / "resnet50.pth")
    variables = start_variables(model, config)
    image = jnp.asarray(rng.normal(size=(1, 64, 96, 3)), jnp.float32)
    masks = jnp.asarray(rng.uniform(size=(1, 64, 96, 2)), jnp.float32)
    encoded = jax.jit(functools.partial(MRNet(model).apply, method="encode"))(variables, image, masks)
    own = backbone_from_torch(read_torch_file(tmp_path / "resnet50.pth"), "resnet50", norm="batch")
    expected = jax.jit(module.apply)(own, image)
    assert encoded.feature.shape == (1, 2, 2, 3, 2048)
    for i in range(2):
        np.testing.assert_allclose(encoded.feature[:, i], expected.c5, rtol=1e-4, atol=1e-4 * float(expected.c5.max()))
