"""What holds of every recipe: its file in `configs`, its commands, and what is exported of it."""

import importlib.util
import pathlib
import re
import shlex

import pytest

from ranet_jax.errors import InputError
from ranet_jax.training.options import RECIPES, load_config, override, recipe_names
from ranet_jax.training.recipe import program_of
from ranet_jax.training.run import exported_model
from ranet_jax.weights import load_checkpoint

ROOT = pathlib.Path(__file__).parents[2]


def commands(name):
    """Arguments of every `ranet-jax train` in a recipe's docstring."""
    text = re.sub(r"\\\n\s*", "", (RECIPES / f"{name}.py").read_text().split('"""')[1])
    # A quoted value may go over several lines.
    return [shlex.split(found) for found in re.findall(r"^    ranet-jax train ((?:'[^']*'|[^'\n])*)$", text, re.M)]


def test_every_recipe_is_a_file_of_configs_and_no_other_is():
    configs = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"__init__"}
    assert configs == set(recipe_names())
    for name in configs:
        spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.get_config.__module__ == f"ranet_jax.recipes.{name}"


@pytest.mark.parametrize("name", recipe_names())
def test_the_documented_commands_are_understood(name):
    found = commands(name)
    assert found
    for recipe, *arguments in found:
        assert recipe.split(":")[0] == name
        assert "--workdir" in arguments
        override(load_config(recipe), [a for a in arguments if a.startswith("--config.")])


@pytest.mark.parametrize(("name", "shipped"), [("ranet_lite_davis16", "lite"), ("mrnet_lite_davis16", "mrnet-lite")])
def test_the_recipe_of_a_shipped_network_exports_what_was_shipped(name, shipped):
    for recipe, *arguments in commands(name):
        config = override(load_config(recipe), [a for a in arguments if a.startswith("--config.")])
        assert exported_model(config) == load_checkpoint(shipped).config


def test_both_runs_of_mrnet_lite_train_without_dropping_parts():
    found = commands("mrnet_lite_davis16")
    assert len(found) == 2
    for recipe, *arguments in found:
        config = override(load_config(recipe), [a for a in arguments if a.startswith("--config.")])
        assert (config.model.parts, exported_model(config).parts) == ("all", "connected")


def test_a_configuration_that_is_none_is_named():
    config = load_config("ranet_static").copy_and_resolve_references()
    config.unlock()
    config.network = "unet"
    with pytest.raises(InputError, match="network is 'unet': choose one of ranet, mrnet"):
        program_of(config)
    del config["keep"]
    with pytest.raises(InputError, match="lacks keep: make it with ranet_jax"):
        program_of(config)
