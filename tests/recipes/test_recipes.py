"""What holds of every recipe: its file in `configs`, its commands, and what is exported of it."""

import importlib.util
import pathlib
import re
import shlex

import pytest

from ranet_jax.errors import InputError
from ranet_jax.tracker import Presence
from ranet_jax.training.mixture import open_mixture
from ranet_jax.training.options import RECIPES, load_config, override, recipe_names
from ranet_jax.training.recipe import configs_of, open_step
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
        checkpoint = load_checkpoint(shipped)
        assert configs_of(config)[:2] == (checkpoint.config, checkpoint.tracker)


def test_both_runs_of_mrnet_lite_train_on_all_that_is_predicted():
    found = commands("mrnet_lite_davis16")
    assert len(found) == 2
    for recipe, *arguments in found:
        config = override(load_config(recipe), [a for a in arguments if a.startswith("--config.")])
        _, tracker, objective = configs_of(config)
        assert (tracker.presence, objective.presence) == (Presence(), False)


def test_the_recipe_of_one_s_own_in_the_documentation_is_one(tmp_path):
    text = (ROOT / "docs" / "training.md").read_text()
    (code,) = re.findall(r"```python\n(# mine\.py.*?)```", text, re.S)
    (tmp_path / "mine.py").write_text(code)
    config = load_config(str(tmp_path / "mine.py"))
    assert open_step(config).objects == 3
    assert config.data.parts.stills.masks == "stills/png"
    with pytest.raises(InputError, match="there is no folder data/horses/JPEGImages"):
        open_mixture(config.data, crop="box", batch_size=4, seed=0)
    table = text.split("## Recipes")[1].split("Each one")[0]
    assert set(re.findall(r"`(\w+_\w+)[`:]", table)) == set(recipe_names())


@pytest.mark.parametrize("name", [name for name in recipe_names() if "ablations" not in name])
def test_every_field_of_a_recipe_is_asked_for(name):
    for field in load_config(name):
        config = load_config(name).copy_and_resolve_references().unlock()
        del config[field]
        with pytest.raises(InputError, match=f"lacks {field}: "):
            configs_of(config)


def test_a_configuration_that_is_none_is_named():
    config = load_config("ranet_static").copy_and_resolve_references()
    config.unlock()
    config.network = "unet"
    with pytest.raises(InputError, match="no network is called 'unet': choose one of mrnet, ranet"):
        configs_of(config)
    del config["keep"]
    with pytest.raises(InputError, match="lacks keep: make it with ranet_jax"):
        configs_of(config)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ranet_lite_davis16", {"tracker.window.kind": "Porthole"}, r"window\.kind is 'Porthole'"),
        ("ranet_lite_davis16", {"tracker.aggregation": "loud"}, "aggregation is 'loud': choose one of 'hard', 'soft'"),
        ("ranet_lite_davis16", {"tracker.target": None}, "reads 1 hint.* gives 0: set tracker.target"),
        ("ranet_lite_davis16", {"objective.remat": True}, "set it or encode_together, not both"),
        ("mrnet_davis16", {"model.interval": 0}, "interval is 0: it must be at least 1"),
    ],
)
def test_fields_that_do_not_fit_are_named(name, changes, message):
    config = load_config(name).copy_and_resolve_references().unlock()
    for field, value in changes.items():
        *groups, last = field.split(".")
        group = config
        for part in groups:
            group = group[part]
        with group.ignore_type():
            group[last] = value
    with pytest.raises(InputError, match=message):
        configs_of(config)


def test_clips_and_pairs_are_not_one_training():
    config = load_config("ranet_davis17").copy_and_resolve_references().unlock()
    config.data.parts.clips = next(iter(load_config("mrnet_davis17").data.parts.values()))
    with pytest.raises(InputError, match="clips and pairs have different lengths"):
        open_step(config)
    config.data.parts.clips.weight = 0.0
    assert open_step(config).frames == 2


def test_samples_are_of_the_network_s_size():
    config = load_config("ranet_davis17").copy_and_resolve_references().unlock()
    config.data.sample.size = (64, 96)
    with pytest.raises(InputError, match=r"data.sample.size is \(64, 96\) and model.input_size \(480, 864\): differ"):
        open_step(config)


def test_recomputation_asked_for_replaces_encoding_together():
    config = load_config("ranet_lite_davis16")
    assert (open_step(config).objective.remat, open_step(config).objective.encode_together) == (False, True)
    again = open_step(config, remat=True).objective
    assert (again.remat, again.encode_together) == (True, False)
    assert not open_step(load_config("mrnet_lite_davis16"), remat=False).objective.remat
