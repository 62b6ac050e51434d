"""A smoke run shrinks what was not given, and looks for the weights that are named."""

import pytest

from ranet_jax.errors import InputError
from ranet_jax.training.options import given_fields, load_config, override
from ranet_jax.training.recipe import open_step
from ranet_jax.training.smoke import smoke


def shrunk(recipe, *changes):
    arguments = [f"--config.{change}" for change in changes]
    return smoke(override(load_config(recipe), arguments), given_fields(arguments))


def test_a_recipe_is_shrunk():
    config = shrunk("mrnet_lite_davis16")
    assert (config.loop.steps, config.model.backbone, config.model.input_size) == (6, "resnet_micro", (64, 96))
    assert config.curriculum == ((0, 3), (4, 4))
    assert config.data.sample.clip_length == 4
    assert config.is_locked
    assert load_config("mrnet_lite_davis16").loop.steps == 1400


@pytest.mark.parametrize("recipe", ["ranet_lite_davis16", "ranet_static:multi", "mrnet_lite_davis16", "mrnet_davis17"])
def test_what_is_given_stays(recipe):
    changes = {
        "loop.steps": 120,
        "loop.log_every": 7,
        "batch_size": 12,
        "model.backbone": "efficientnet_lite0",
        "data.cache_gigabytes": 1.5,
        "loop.evaluate_every": 60,
    }
    config = shrunk(recipe, *(f"{name}={value}" for name, value in changes.items()))
    for name, value in changes.items():
        group, _, field = name.rpartition(".")
        found = config[field] if not group else config[group][field]
        assert found == value, name
    assert config.loop.checkpoint_every == 3


@pytest.mark.parametrize("field", ["model.input_size", "data.sample.size"])
def test_a_size_that_is_given_is_that_of_model_and_samples(field):
    config = shrunk("ranet_lite_davis16", f"{field}=(96,128)")
    assert tuple(config.model.input_size) == tuple(config.data.sample.size) == (96, 128)
    open_step(config)


def test_clips_are_as_long_as_is_given():
    config = shrunk("mrnet_lite_davis16", "data.sample.clip_length=8")
    assert (config.data.sample.clip_length, config.curriculum) == (8, ((0, 3), (4, 8)))
    config = shrunk("mrnet_lite_davis16", "curriculum=((0,5),(3,7))")
    assert (config.data.sample.clip_length, config.curriculum) == (7, ((0, 5), (3, 7)))
    assert shrunk("mrnet_davis16").curriculum == ()


def test_weights_that_are_named_are_looked_for_and_left_out(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"")
    for field, value, absent in [
        ("backbone_checkpoint", str(tmp_path / "net.pth"), str(tmp_path / "other.pth")),
        ("initial_checkpoint", "lite", str(tmp_path / "inference")),
    ]:
        assert shrunk("ranet_lite_davis16", f"{field}={value}")[field] == ""
        with pytest.raises(InputError, match=absent):
            shrunk("ranet_lite_davis16", f"{field}={absent}")
