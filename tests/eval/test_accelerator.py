"""The one run that asks an accelerator everything, here on the CPU with micro networks. No test asserts a speed."""

import json

import ml_collections
import pytest

from eval.benchmarks import __main__ as benchmark
from eval.benchmarks import accelerator
from eval.benchmarks.accelerator import Plan, Row, run_plan
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.options import load_config
from ranet_jax.weights import Checkpoint, initial_variables


def micro_plan(**changes):
    config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6))
    checkpoint = Checkpoint("micro", config, TrackerConfig.lite(), initial_variables(config), {})
    recipe = ml_collections.ConfigDict(load_config("ranet_lite_davis16"))
    recipe.model.input_size = recipe.data.sample.size = (64, 96)
    recipe.model.backbone, recipe.model.template_grid, recipe.model.kept_maps = "resnet_micro", (4, 6), 16
    recipe.batch_size = 1
    small = {"videos": (2,), "objects": (1,), "frame_size": (48, 80), "repeats": 1, "frames": 3}
    # A budget that is below one sample: two sizes are compiled, and the search ends.
    return Plan(checkpoint, checkpoint, {"micro": recipe}, {"micro": recipe}, 1, **(small | changes))


@pytest.mark.slow
def test_everything_is_measured_in_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "BLOCK", 1)
    text = run_plan(micro_plan(), tmp_path / "new" / "out")
    content = json.loads((tmp_path / "new" / "out" / "accelerator.json").read_text())
    assert (tmp_path / "new" / "out" / "accelerator.md").read_text() == text
    assert content["platform"] == "cpu"
    rows = {row["what"]: row for row in content["rows"]}
    expected = {
        "released network, bfloat16, 2 videos": "frames/s",
        "released network, bfloat16, 2 videos: of the matrix rate": "share",
        "lite, bfloat16, 1 object": "frames/s",
        "lite, J of bfloat16 masks against float32 ones": "%",
        "lite, bfloat16, exported program": "frames/s",
        "its labels that are the tracker's": "share",
        "training micro": "samples/s",
        "training micro: MFU": "share",
        "training micro: batch that fits": "samples",
        "most memory in use": "GiB",
    }
    assert {what: row["unit"] for what, row in rows.items()} == expected, content["rows"]
    assert rows["training micro: batch that fits"]["value"] == 0
    assert all(row["value"] > 0 for what, row in rows.items() if not what.endswith("fits"))
    assert rows["its labels that are the tracker's"]["value"] > 0.95
    assert rows["lite, J of bfloat16 masks against float32 ones"]["value"] <= 100
    lines = text.splitlines()
    assert lines[2:4] == ["| what | value | aim | |", "|---|---|---|---|"]
    assert len(lines) == 4 + len(expected)
    assert " | 35% | " in text


def test_what_fails_or_comes_too_late_is_a_row(tmp_path, monkeypatch):
    def failing(plan):
        yield Row("before", 12345.6, "frames/s", 200.0)
        raise RuntimeError("no memory\nleft")

    parts = {"one": failing, "two": lambda plan: iter([Row("after", 0.5, "share")])}
    monkeypatch.setattr(accelerator, "PARTS", parts)
    text = run_plan(micro_plan(), tmp_path)
    assert text.splitlines()[4:] == [
        "| before | 1.235e+04 frames/s | 200 frames/s |  |",
        "| one |  |  | failed: no memory |",
        "| after | 50% |  |  |",
    ]
    late = run_plan(micro_plan(seconds=-1.0), tmp_path)
    assert [line.split("|")[4].strip() for line in late.splitlines()[4:]] == ["not run: 0 s had passed"] * 2
    assert len(json.loads((tmp_path / "accelerator.json").read_text())["rows"]) == 2


def test_a_machine_without_one_says_so(tmp_path, capsys):
    assert benchmark.main(["--accelerator", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "accelerator: skipped, as this machine has none\n"
    assert not (tmp_path / "out").exists()
