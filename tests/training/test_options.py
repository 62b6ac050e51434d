import dataclasses

import ml_collections
import pytest

from ranet_jax.data.config import PerturbationConfig, SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.processes import start_distributed
from ranet_jax.training.options import build, fields, given_fields, load_config, override, recipe_names

CONFIG = """
import ml_collections
def get_config(argument="plain"):
    inner = {"rate": 0.1, "size": (1, 2), "on": False, "name": "x", "count": 3}
    return ml_collections.ConfigDict({"argument": argument, "inner": inner})
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.py"
    file.write_text(CONFIG)
    return file


def test_a_config_is_loaded_with_its_argument_and_locked(path):
    assert load_config(str(path)).argument == "plain"
    config = load_config(f"{path}:a:b")
    assert config.argument == "a:b"
    assert config.is_locked


def test_overrides_keep_the_types(path):
    arguments = ["inner.rate=1", "inner.size=(3,4)", "inner.on=true", "inner.name=3", "inner.count=7"]
    config = override(load_config(str(path)), [f"--config.{a}" for a in arguments])
    assert config.inner.to_dict() == {"rate": 1.0, "size": (3, 4), "on": True, "name": "3", "count": 7}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.inner.rte=1", "no field inner.rte; inner has count, name, on, rate, size"),
        ("--config.outer.rate=1", "no field outer.rate"),
        ("--config.inner.rate.x=1", "no field inner.rate.x"),
        ("--config.inner.count=0.5", "inner.count must be int such as 3"),
        ("--config.inner.rate=fast", "inner.rate must be float such as 0.1"),
        ("--config.inner.on=2", "inner.on must be bool"),
        ("--config.inner.size=(1,", "inner.size must be tuple"),
        ("--config.inner=2", "inner must be changed field by field: it has count, name"),
        ("--config.inner.rate", "unknown argument"),
        ("--confg.inner.rate=1", "unknown argument"),
    ],
)
def test_wrong_overrides_are_explained(path, argument, message):
    with pytest.raises(InputError) as caught:
        override(load_config(str(path)), [argument])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_makes_no_configuration_is_an_input_error(tmp_path):
    for argument in (str(tmp_path / "absent.py"), "absent", "__init__", "../recipes/ranet_static"):
        with pytest.raises(InputError, match=r"no such recipe; give a \.py file, or one of mrnet_ablations, "):
            load_config(argument)
    for text, message in [
        ("x = 1\n", "has no function get_config"),
        ("get_config = dict\n", "its get_config returns dict, not an ml_collections.ConfigDict"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def get_config(:\n", "SyntaxError"),
    ]:
        (tmp_path / "other.py").write_text(text)
        with pytest.raises(InputError, match=message):
            load_config(str(tmp_path / "other.py"))


def test_recipes_of_the_package_are_known_by_name():
    assert "ranet_lite_davis16" in recipe_names()
    assert load_config("ranet_static:multi").model.objects == "multi"


def test_given_fields_are_named():
    assert given_fields(["--config.loop.steps=3", "--config.curriculum=((0,4),)"]) == {"loop.steps", "curriculum"}


def test_fields_and_build_are_inverse():
    for original in (SampleConfig(), SampleConfig(perturbation=None, size=(64, 96))):
        assert build(SampleConfig, fields(original)) == original
    changed = fields(SampleConfig())
    changed.perturbation.geometry.rotation = 1.0
    geometry = dataclasses.replace(PerturbationConfig().geometry, rotation=1.0)
    assert build(SampleConfig, changed).perturbation == PerturbationConfig(geometry)


def test_build_names_unknown_fields():
    with pytest.raises(InputError, match="BoxConfig has no field sale"):
        build(SampleConfig, ml_collections.ConfigDict({"box": {"sale": (1.0, 2.0)}}))


def test_distributed_options_are_checked():
    start_distributed(None)
    with pytest.raises(InputError, match="HOST:PORT,COUNT,INDEX"):
        start_distributed("localhost:1234")
