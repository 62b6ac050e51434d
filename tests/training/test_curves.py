"""Training curves of fabricated runs."""

import json
import pathlib

import pytest
from PIL import Image

from eval.curves import main
from ranet_jax.training import curves


@pytest.fixture
def runs(tmp_path) -> pathlib.Path:
    for name, steps in (("long", 9), ("short", 3)):
        (tmp_path / name).mkdir()
        lines = [{"step": i, "loss": 1.0 / i, "iou": i / 10, "learning_rate": 1e-3} for i in range(1, steps)]
        lines.append({"step": steps, "evaluation/J-Mean": 70.0})
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_reports_are_read_and_evaluations_passed_over(runs):
    assert curves.read_metrics(runs / "short") == {"loss": [(1, 1.0), (2, 0.5)], "iou": [(1, 0.1), (2, 0.2)]}


@pytest.mark.parametrize("suffix", curves.FORMATS)
def test_the_same_runs_make_the_same_picture(runs, suffix, capsys):
    pytest.importorskip("matplotlib")
    pictures = []
    for name in ("first", "again"):
        target = runs / (name + suffix)
        assert main([f"a={runs / 'long'}", f"b={runs / 'short'}", "--out", str(target)]) == 0
        assert capsys.readouterr().out.strip() == str(target)
        pictures.append(target.read_bytes())
    assert pictures[0] == pictures[1]
    if suffix == ".png":
        with Image.open(target) as picture:
            assert picture.size == (800, 450)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read"), ('{"step": 1, "los', "is damaged"), ('{"step": 1, "loss": 2.0}', "reports no iou")],
)
def test_wrong_runs_are_one_line(runs, capsys, text, message):
    (runs / "other").mkdir()
    if text is not None:
        (runs / "other" / "metrics.jsonl").write_text(text)
    assert main([f"a={runs / 'other'}", "--out", str(runs / "a.svg")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (runs / "a.svg").exists()


def test_wrong_arguments_are_one_line(runs, capsys):
    for arguments, message in [
        ((str(runs / "long"), "--out", "a.svg"), "give NAME=FOLDER"),
        ((f"a={runs / 'long'}", "--out", "a.gif"), "choose .png or .svg"),
    ]:
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
