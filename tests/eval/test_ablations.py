"""The reports of the paper's ablations: rows, missing runs, files; tracking itself is replaced."""

import csv
import pathlib

import numpy as np
import pytest

from configs import mrnet_ablations, ranet_ablations
from eval import ablations, variants
from ranet_jax.evaluation.davis import DavisScores, ObjectScores
from ranet_jax.evaluation.metrics import Statistics
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.runtime.stream import StreamReport
from ranet_jax.weights import Checkpoint
from train.options import load_config

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def davis(tmp_path):
    (tmp_path / "DAVIS" / "ImageSets" / "2016").mkdir(parents=True)
    return tmp_path / "DAVIS"


@pytest.fixture
def tracked(monkeypatch):
    """What was tracked: checkpoint name, masks folder, config, sequences. J falls by 1 with every call, from 80."""
    calls = []

    def track_and_score(tree, split, checkpoint, results, *, sequences, adapt, devices, notify):
        if adapt is not None:
            adapt(checkpoint.variables, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8))
        calls.append((checkpoint.name, results, checkpoint.config, sequences))
        notify("cow", StreamReport(frames=10, median_milliseconds_per_frame=50.0, seconds=1.0))
        region, boundary = Statistics(0.81 - 0.01 * len(calls), 1.0, 0.0), Statistics(0.6, 1.0, 0.0)
        return DavisScores((ObjectScores("cow", 1, region, boundary, (0.8,), (0.6,)),)), {"cow": 50.0}

    monkeypatch.setattr(ablations, "track_and_score", track_and_score)
    configs = {"ranet": RANetConfig.lite(), "mrnet": MRNetConfig.lite()}
    load = lambda path, model: Checkpoint(path or f"shipped {model}", configs[model], {}, {})
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
    assert rows[0] == ["ablation", "change", "J&F", "J", "F", "J - full", "paper's J", "ms/frame"]
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


def test_variants_of_mrnet_are_compared_by_what_their_paper_reports(davis, tracked, capsys):
    runs = davis.parent / "runs"
    for name in ("full", "mrnet-full", "mrnet-mask-ranking-off"):
        (runs / name / "inference").mkdir(parents=True)
    code, results = report(davis, "--table", "mrnet", "--runs", str(runs))
    assert code == 0
    assert [name for name, *_ in tracked] == [
        str(runs / "mrnet-full" / "inference"),
        str(runs / "mrnet-mask-ranking-off" / "inference"),
    ]
    assert tracked[0][1] == results / "table-mrnet" / "full"
    rows = rows_of(results / "table-mrnet.csv")
    assert rows[0][5:7] == ["J&F - full", "paper's J&F"]
    assert [row[0] for row in rows[1:]] == list(mrnet_ablations.CHANGES)
    assert rows[1][2:] == ["70.0", "80.0", "60.0", "+0.0", "85.0", "50.0"]
    assert rows[2][2:] == ["-", "-", "-", "-", "82.6", "-"]
    assert rows[3][2:] == ["69.5", "79.0", "60.0", "-0.5", "81.1", "50.0"]
    shown = capsys.readouterr().out
    assert f"similarity-map-off is not trained: there is no {runs / 'mrnet-similarity-map-off' / 'inference'}" in shown


@pytest.mark.parametrize(
    ("name", "variant"), [(name, v.name) for name, table in variants.TABLES.items() for v in table.variants]
)
def test_the_commands_that_train_a_variant_name_recipes_that_exist(name, variant, monkeypatch):
    monkeypatch.chdir(ROOT)
    table = variants.TABLES[name]
    recipes = {"ranet": ranet_ablations, "mrnet": mrnet_ablations}[table.network]
    assert variant in recipes.CHANGES
    commands = variants.training_commands(table, variant, pathlib.Path("runs"))
    arguments = [dict(zip(c.split()[3::2], c.split()[4::2], strict=False)) for c in commands]
    assert arguments[-1]["--workdir"] == str(table.folder(variant, pathlib.Path("runs")))
    for command, argument in zip(commands, arguments, strict=True):
        assert command.startswith(f"python -m train.{table.network} ")
        assert load_config(argument["--config"]).model.to_dict().items() >= recipes.CHANGES[variant].items()


@pytest.mark.parametrize(("field", "values"), [("candidates", (0, 1, 6)), ("interval", (3, 10))])
def test_a_sweep_scores_one_checkpoint_with_every_value(davis, tracked, field, values):
    code, results = report(davis, "--sweep", f"{field}={','.join(map(str, values))}", "--sequences", "cow")
    assert code == 0
    assert {name for name, *_ in tracked} == {"shipped mrnet"}
    assert [config for *_, config, _ in tracked] == [MRNetConfig.lite(**{field: value}) for value in values]
    assert [masks for _, masks, *_ in tracked] == [results / f"sweep-{field}" / str(value) for value in values]
    rows = rows_of(results / f"sweep-{field}.csv")
    assert rows[0] == [field, "J&F", "J", "F", "ms/frame"]
    assert rows[1] == [str(values[0]), "70.0", "80.0", "60.0", "50.0"]
    assert [row[0] for row in rows[1:]] == list(map(str, values))
    settings = (results / f"sweep-{field}.md").read_text().splitlines()[0]
    assert settings.startswith(f"Sweep of {field}: shipped mrnet (trained with candidates 4, interval 5), DAVIS 2016")


def test_without_the_module_there_is_nothing_to_sweep(davis, tracked, capsys, monkeypatch):
    plain = Checkpoint("plain", MRNetConfig.lite(mask_ranking=False), {}, {})
    monkeypatch.setattr(ablations, "open_checkpoint", lambda path, model: plain)
    code, results = report(davis, "--sweep", "candidates=1,2")
    assert code == 2
    assert "plain: has no Mask-Ranking Module" in capsys.readouterr().err
    assert tracked == []
    assert not results.exists()


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
            "NAME=PATH with a name of Table 4: full, ranking-none",
        ),
        (("--table", "5", "--checkpoints", "full"), "--checkpoints full: give NAME=PATH"),
        (("--table", "6", "--steps", "0,ten"), "give numbers separated by commas"),
        (("--table", "6", "--steps", "0,-1"), "steps from 0 on"),
        (("--table", "6", "--learning-rates", "nan"), "positive rates"),
        (("--sweep", ""), "give a field and whole numbers"),
        (("--sweep", "candidates"), "give a field and whole numbers, such as candidates=1,2,4,6"),
        (("--sweep", "candidates=1,2.5"), "give a field and whole numbers"),
        (("--sweep", "backbone=1"), "no such field; choose candidates or interval"),
        (("--sweep", "candidates=1,-1"), "candidates is -1: it must be at least 0"),
        (("--sweep", "interval=0"), "interval is 0: it must be at least 1"),
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
