"""`ranet-jax train` and `python -m train.NETWORK`: what they hand over, and one line for what is wrong."""

import pathlib
import sys

import pytest

from ranet_jax import cli
from ranet_jax.commands.train import main
from ranet_jax.training import run

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture
def trained(monkeypatch):
    """What trainings were told; each ends as if SIGTERM had stopped it."""
    seen = []
    monkeypatch.setattr(run, "train", lambda options: seen.append(options) or 143)
    return seen


def one_line(capsys, code):
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    return error


def test_a_recipe_by_name_and_by_file_is_handed_over(trained):
    arguments = ["--workdir", "runs/x", "--smoke", "--config.loop.steps=9", "--distributed", "auto"]
    assert cli.main(["train", "ranet_static:multi", *arguments]) == 143
    assert main("ranet", ["--config", f"{CONFIGS / 'ranet_static.py'}:multi", *arguments]) == 143
    for options in trained:
        assert (options.config.loop.steps, options.config.model.objects) == (9, "multi")
        assert (options.workdir, options.smoke, options.distributed) == (pathlib.Path("runs/x"), True, "auto")
        assert options.given == {"loop.steps"}


def test_a_program_trains_its_own_network_only(trained, capsys):
    arguments = ["--config", str(CONFIGS / "mrnet_davis16.py"), "--workdir", "runs/x"]
    assert main("mrnet", arguments) == 143
    assert "is a recipe of mrnet: python -m train.mrnet" in one_line(capsys, main("ranet", arguments))
    assert len(trained) == 1


def test_a_users_mistake_is_one_line(trained, capsys):
    arguments = ["train", "ranet_davis16", "--workdir", "runs/x"]
    for more, message in [
        ("--config.loop.step=9", "--config.loop.step=9: the config has no field loop.step; loop has checkpoint_every"),
        ("--smoked", "--smoked: unknown argument; fields are changed by --config.FIELD=VALUE"),
    ]:
        assert message in one_line(capsys, cli.main([*arguments, more]))
    assert cli.main([*arguments, "--debug", "--config.loop.step=9"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert trained == []


def test_other_commands_take_no_fields(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["info", "--config.loop.steps=9"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --config.loop.steps=9" in capsys.readouterr().err


def test_without_the_extra_it_is_named(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("ranet_jax.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    error = one_line(capsys, cli.main(["train", "ranet_davis16", "--workdir", "runs/x"]))
    assert "training needs ml_collections: pip install 'ranet-jax[train]'" in error
