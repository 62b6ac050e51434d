"""The reports of the paper's ablations: rows, missing runs, files; tracking itself is replaced."""

import csv
import pathlib

import numpy as np
import pytest

from configs import ranet_ablations
from eval import ablations
from ranet_jax.evaluation.davis import DavisScores, ObjectScores
from ranet_jax.evaluation.metrics import Statistics
from ranet_jax.models import RANetConfig
from ranet_jax.tracking.stream import StreamReport
from ranet_jax.weights import Checkpoint
from train.options import load_config

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def davis(tmp_path):
    (tmp_path / "DAVIS" / "ImageSets" / "2016").mkdir(parents=True)
    return tmp_path / "DAVIS"


@pytest.fixture
def tracked(monkeypatch):
    """What was tracked: checkpoint name, masks folder, sequences. J falls by 1 with every call, from 80."""
    calls = []

    def track_and_score(tree, split, checkpoint, results, *, sequences, adapt, notify):
        if adapt is not None:
            adapt(checkpoint.variables, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8))
        calls.append((checkpoint.name, results, sequences))
        notify("cow", StreamReport(frames=10, median_milliseconds_per_frame=50.0, seconds=1.0))
        region, boundary = Statistics(0.81 - 0.01 * len(calls), 1.0, 0.0), Statistics(0.6, 1.0, 0.0)
        return DavisScores((ObjectScores("cow", 1, region, boundary, (0.8,), (0.6,)),)), {"cow": 50.0}

    monkeypatch.setattr(ablations, "track_and_score", track_and_score)
    load = lambda path, model="ranet": Checkpoint(str(path), RANetConfig.lite(), {}, {})
    monkeypatch.setattr(ablations, "load_checkpoint", load)
    monkeypatch.setattr(ablations, "open_checkpoint", load)
    return calls


def report(davis, *arguments):
    results = davis.parent / "results"
    return ablations.main(["--davis", str(davis), "--results", str(results), *arguments]), results


def rows_of(path):
    return list(csv.reader(path.read_text().splitlines()))


def test_variants_are_scored_against_the_full_one_and_missing_ones_named(davis, tracked, capsys):
    runs = davis.parent / "runs"
    (runs / "full" / "inference").mkdir(parents=True)
    (runs / "ranking-maximum-static" / "inference").mkdir(parents=True)
    code, results = report(davis, "--table", "4", "--runs", str(runs), "--checkpoints", "ranking-none=elsewhere")
    assert code == 0
    assert [name for name, *_ in tracked] == [str(runs / "full" / "inference"), "elsewhere"]
    assert tracked[1][1] == results / "table4" / "ranking-none"
    rows = rows_of(results / "table4.csv")
    assert rows[0] == list(ablations.VARIANT_HEADER)
    assert rows[1] == ["full", "nothing", "70.0", "80.0", "60.0", "+0.0", "85.5", "50.0"]
    assert rows[2][3:7] == ["79.0", "60.0", "-1.0", "81.9"]
    assert rows[3][2:] == ["-", "-", "-", "-", "81.1", "-"]
    markdown = (results / "table4.md").read_text().splitlines()
    assert markdown[0].startswith("Table 4: DAVIS 2016 val, ")
    assert markdown[3].startswith("| --- | ---: |")
    assert markdown[4] == "| full | nothing | 70.0 | 80.0 | 60.0 | +0.0 | 85.5 | 50.0 |"
    shown = capsys.readouterr().out
    assert f"ranking-maximum is not trained: there is no {runs / 'ranking-maximum' / 'inference'}" in shown
    assert f"--config.initial_checkpoint={runs / 'ranking-maximum-static' / 'inference'}" in shown
    assert "ranking-maximum:static" not in shown, "this stage is done"


def test_without_any_run_the_table_says_what_to_do(davis, tracked, capsys):
    code, results = report(davis, "--table", "5", "--runs", str(davis / "absent"))
    assert code == 0
    assert tracked == []
    assert len(rows_of(results / "table5.csv")) == 6
    assert capsys.readouterr().out.count("is not trained") == 5


@pytest.mark.parametrize("variant", sorted({v.name for table in ablations.VARIANTS.values() for v in table}))
def test_the_commands_that_train_a_variant_name_recipes_that_exist(variant, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert variant in ranet_ablations.CHANGES
    commands = ablations.training_commands(variant, pathlib.Path("runs"))
    arguments = [dict(zip(c.split()[3::2], c.split()[4::2], strict=False)) for c in commands]
    assert arguments[-1]["--workdir"] == f"runs/{variant}"
    for argument in arguments:
        load_config(argument["--config"])


def test_online_learning_is_scored_for_every_amount_and_timed_without_compilation(davis, tracked, monkeypatch):
    calls = []

    def adapt(config, variables, frame, labels, *, steps, learning_rate):
        calls.append((steps, learning_rate))
        return variables

    monkeypatch.setattr("ranet_jax.training.online.adapt", adapt)
    more = ("--steps", "0,10,50", "--learning-rates", "1e-6,1e-4", "--sequences", "cow")
    code, results = report(davis, "--table", "6", "--checkpoint", "net", *more)
    assert code == 0
    assert calls == [(1, 1e-6), (10, 1e-6), (1, 1e-6), (50, 1e-6), (1, 1e-4), (10, 1e-4), (1, 1e-4), (50, 1e-4)]
    assert {sequences for *_, sequences in tracked} == {("cow",)}
    rows = rows_of(results / "table6.csv")
    assert [row[:2] for row in rows[1:]] == [
        ["0", "-"],
        ["10", "1e-06"],
        ["50", "1e-06"],
        ["10", "0.0001"],
        ["50", "0.0001"],
    ]
    assert rows[1][2:] == ["70.0", "80.0", "60.0", "0.0", "0.05"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--table", "4", "--checkpoints", "ranking-non=x"),
            "NAME=PATH with a name of table 4: full, ranking-none",
        ),
        (("--table", "5", "--checkpoints", "full"), "--checkpoints full: give NAME=PATH"),
        (("--table", "6", "--steps", "0,ten"), "give numbers separated by commas"),
        (("--table", "6", "--steps", "0,-1"), "steps from 0 on"),
        (("--table", "6", "--learning-rates", "nan"), "positive rates"),
    ],
)
@pytest.mark.usefixtures("tracked")
def test_wrong_arguments_are_one_line(davis, capsys, arguments, message):
    code, results = report(davis, *arguments)
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not results.exists()
