"""`ranet-jax evaluate`: options of tracking without it, and what it hands over with it."""

import numpy as np
import pytest
from PIL import Image

from ranet_jax import cli
from ranet_jax.evaluation import tracking
from ranet_jax.io.masks import write_label_map

SIZE = (48, 80)


@pytest.fixture
def davis(tmp_path):
    for name in ("ant", "bee"):
        for kind in ("JPEGImages", "Annotations"):
            (tmp_path / "DAVIS" / kind / "480p" / name).mkdir(parents=True)
        for i in range(4):
            truth = np.zeros(SIZE, np.uint8)
            truth[10:30, 10:40] = 255
            Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / f"DAVIS/JPEGImages/480p/{name}/{i:05d}.jpg")
            Image.fromarray(truth).save(tmp_path / f"DAVIS/Annotations/480p/{name}/{i:05d}.png")
    (tmp_path / "DAVIS/ImageSets/2016").mkdir(parents=True)
    (tmp_path / "DAVIS/ImageSets/2016/val.txt").write_text("ant\nbee\n")
    return tmp_path / "DAVIS"


@pytest.fixture
def tracked(monkeypatch):
    """A tracker that knows the truth, and what it was told."""
    seen = []

    def track_split(tree, sequences, checkpoint, results, **options):
        seen.append((tuple(sequences), checkpoint.name, options["batch"]))
        for name in sequences:
            for path in tree.annotations(name):
                write_label_map(results / name / path.name, tree.label_map(path))
        return dict.fromkeys(sequences, 12.5)

    monkeypatch.setattr(tracking, "track_split", track_split)
    return seen


def evaluate(davis, *more):
    arguments = ["evaluate", "--davis", str(davis), "--results", str(davis.parent / "results"), "--no-cache", *more]
    return cli.main(arguments if "--track" in more else [a for a in arguments if a != "--no-cache"])


def test_with_track_the_split_is_tracked_and_then_scored(davis, tracked, capsys):
    out = davis.parent / "tables"
    assert evaluate(davis, "--track", "--batch", "2", "--model", "mrnet", "--out", str(out)) == 0
    assert tracked == [(("ant", "bee"), "mrnet-lite", 2)]
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].split()[-1] == "ms/frame"
    assert "12.5" in shown
    assert (out / "global_results-val.csv").exists()


def test_what_was_tracked_is_scored_without_times(davis, tracked, capsys):
    assert evaluate(davis, "--track", "--sequences", "bee") == 0
    assert tracked == [(("bee",), "lite", 1)]
    capsys.readouterr()
    assert evaluate(davis, "--sequences", "bee") == 0
    shown = capsys.readouterr().out
    assert "1 object(s) of 1 sequence(s)" in shown
    assert "ms/frame" not in shown
    assert evaluate(davis) == 2
    assert "ant" in capsys.readouterr().err
    assert len(tracked) == 1


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--checkpoint", "lite"), "--checkpoint say"),
        (("--model", "ranet", "--batch", "4"), "--model and --batch say"),
        (("--online-steps", "3"), "--online-steps say"),
        (("--no-cache",), "--no-cache say"),
        (("--distributed", "auto"), "--distributed say"),
    ],
)
def test_options_of_tracking_without_it_are_refused(davis, tracked, capsys, more, named):
    arguments = ["evaluate", "--davis", str(davis), "--results", str(davis.parent / "results"), *more]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert f"{named} how to track: add --track" in error
    assert error.count("\n") == 1
    assert tracked == []


def test_an_unknown_sequence_is_named_before_anything_is_tracked(davis, tracked, capsys):
    assert evaluate(davis, "--track", "--sequences", "cow") == 2
    assert "has no sequence cow" in capsys.readouterr().err
    assert tracked == []
