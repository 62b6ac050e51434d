import dataclasses
import pathlib
import sys

import ml_collections
import pytest

from ranet_jax.data.config import PerturbationConfig, SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.processes import start_distributed
from train.options import Options, build, fields, load_config, main, override

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


def test_a_missing_or_foreign_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such configuration"):
        load_config(str(tmp_path / "absent.py"))
    (tmp_path / "other.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="no function get_config"):
        load_config(str(tmp_path / "other.py"))


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


def _exit_code(monkeypatch, program, *arguments):
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main(program, "A program.")
    return caught.value.code


def test_main_hands_over_the_options(monkeypatch, path):
    seen: list[Options] = []
    program = lambda options: seen.append(options) or 0
    arguments = ("--config", path, "--workdir", "runs/x", "--smoke", "--config.inner.count=9")
    assert _exit_code(monkeypatch, program, *arguments) == 0
    assert seen[0].config.inner.count == 9
    assert (seen[0].workdir, seen[0].smoke, seen[0].distributed) == (pathlib.Path("runs/x"), True, None)


def test_a_users_mistake_is_one_line_and_exit_code_2(monkeypatch, path, capsys):
    arguments = ("--config", path, "--workdir", "runs/x", "--config.inner.cont=9")
    assert _exit_code(monkeypatch, lambda options: 0, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --config.inner.cont=9: the config has no field inner.cont")
    assert error.count("\n") == 1
    assert _exit_code(monkeypatch, lambda options: 0, *arguments, "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_dressed_up(monkeypatch, path):
    def program(options):
        raise RuntimeError("ours")

    monkeypatch.setattr(sys, "argv", ["program", "--config", str(path), "--workdir", "x"])
    with pytest.raises(RuntimeError, match="ours"):
        main(program, "A program.")


def test_distributed_options_are_checked():
    start_distributed(None)
    with pytest.raises(InputError, match="HOST:PORT,COUNT,INDEX"):
        start_distributed("localhost:1234")
