"""The benchmark program: tracking, side by side with another checkout, and wrong arguments. No test asserts a speed."""

import textwrap

import numpy as np
import pytest

from eval.benchmarks import __main__ as benchmark
from eval.benchmarks import against, commands, roofline
from ranet_jax.errors import InputError
from ranet_jax.evaluation import speed, tracking_speed
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.video import open_frames
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import Checkpoint, initial_variables


def micro_checkpoint():
    config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6))
    return Checkpoint("micro", config, TrackerConfig.lite(), initial_variables(config), {})


@pytest.mark.slow
def test_a_step_is_held_against_what_bounds_it(monkeypatch, capsys):
    monkeypatch.setattr(roofline, "PASSED_FLOATS", 2**16)
    micro = micro_checkpoint()
    one, two = (roofline.bound_step(micro, videos=videos, repeats=2) for videos in (1, 2))
    assert one.seconds > 0
    assert 1.5 < two.operations / one.operations < 2.5
    assert 1.2 < two.traffic / one.traffic < 2.5
    assert one.roof == min(one.product_rate, one.intensity * one.memory_rate)
    roofline.print_roofline(micro, 1)
    assert len(capsys.readouterr().out.splitlines()) == 3
    roofline.print_lockstep(micro, (1,), 1)
    assert capsys.readouterr().out.endswith("skipped, as this machine has no accelerator\n")


TRACKER = """
    import time
    from types import SimpleNamespace
    import jax.numpy as jnp

    class Tracker:
        def init(self, variables, frame, labels):
            return jnp.asarray(labels).max()

        def step(self, variables, state, frame):
            time.sleep({seconds} * int(state))
            return state, frame, None

    def make_tracker(config, frame_size):
        assert (config, frame_size) == ("config", (480, 854))
        return Tracker()
"""
WEIGHTS = """
    def load_checkpoint(name):
        print("this is no answer")
        fields = {fields}
        return SimpleNamespace(config="config", variables={{"weights": 1.0}}, **fields)
"""


def checkout(root, module, seconds):
    """A library that has no more than the worker asks for: its tracker in a module, or, without one, a checkpoint's."""
    package = root / "ranet_jax"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    tracker, weights = (textwrap.dedent(text) for text in (TRACKER, WEIGHTS))
    tracker = tracker.format(seconds=seconds)
    if module is None:
        own = "{'tracker_for': lambda size: make_tracker('config', size)}"
        (package / "weights.py").write_text(tracker + weights.format(fields=own))
        return root
    (package / module[0]).mkdir()
    (package / module[0] / "__init__.py").touch()
    (package / module[0] / f"{module[1]}.py").write_text(tracker)
    (package / "weights.py").write_text("from types import SimpleNamespace\n" + weights.format(fields={}))
    return root


def test_another_checkout_of_an_older_layout_is_timed_by_turns(tmp_path, monkeypatch, capsys):
    there = checkout(tmp_path / "there", ("tracking", "tracker"), 0.004)
    here = checkout(tmp_path / "here", None, 0.002)
    monkeypatch.setattr(against, "ROOT", here)
    monkeypatch.setattr(against, "SETTLING", 0.0)
    found = against.compare(there, "lite", [1, 3], steps=7)
    assert found[1].steps == found[3].steps == against.LEAST_STEPS
    assert found[1].theirs >= 0.004
    assert found[3].theirs >= 0.012
    assert found[1].ours >= 0.002
    assert found[1].ratio < 1 > found[3].ratio
    monkeypatch.setattr(against, "compare", lambda *_: {1: against.Comparison(0.1, 0.08, 0.8, 30)})
    assert benchmark.main(["--model", "lite", "--against", str(there)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "100.0", "80.0", "0.800", "1.00", "1.00"]


CLI = """
import pathlib, sys, time
video, mask, out = (sys.argv[sys.argv.index(name) + 1] for name in ("segment", "--mask", "--out"))
held = bytearray(({mebibytes} if "large" in video else 1) << 20)
assert sys.argv[sys.argv.index("--checkpoint") + 1] == "lite"
assert pathlib.Path(video).is_file() and pathlib.Path(mask).is_file()
pathlib.Path(out).mkdir()
for number in range(3):
    (pathlib.Path(out) / f"{{number}}.png").touch()
    time.sleep({seconds})
"""


def test_commands_of_two_checkouts_are_run_by_turns(tmp_path, monkeypatch, capsys):
    for name, values in (("there", {"seconds": 0.2, "mebibytes": 300}), ("here", {"seconds": 0.05, "mebibytes": 100})):
        (tmp_path / name / "ranet_jax").mkdir(parents=True)
        (tmp_path / name / "ranet_jax" / "__init__.py").touch()
        (tmp_path / name / "ranet_jax" / "cli.py").write_text(CLI.format(**values))
    monkeypatch.setattr(commands, "ROOT", tmp_path / "here")
    monkeypatch.setattr(commands, "LARGE", (54, 96))
    assert (
        benchmark.main(["--model", "lite", "--start-up", "--against", str(tmp_path / "there"), "--repeats", "1"]) == 0
    )
    title, heads, *rows = capsys.readouterr().out.splitlines()
    assert title.endswith("median of 1 runs each")
    assert heads.split() == ["there", "here", "here/there"]
    assert len(rows) == 3
    for row in rows:
        theirs, ours, ratio = map(float, row.split()[-3:])
        assert ours < theirs
        assert ratio == pytest.approx(ours / theirs, abs=0.1)
    assert "96x54, 3 objects: peak MiB resident" in rows[2]
    assert float(rows[2].split()[-3]) > 300
    with pytest.raises(InputError, match="no ranet_jax there"):
        commands.compare_commands(tmp_path, "lite", 1)


def test_the_large_video_shows_three_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "LARGE", (108, 192))
    video, mask = commands.large_video(tmp_path)
    with open_frames(str(video)) as frames:
        assert frames.size == (108, 192)
        assert len(list(frames)) == commands.LARGE_FRAMES
    labels = read_label_map(mask)
    assert labels.shape == (108, 192)
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_a_checkout_that_cannot_be_measured_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no ranet_jax there"):
        against.compare(tmp_path, "lite", [1], steps=30)
    (tmp_path / "ranet_jax").mkdir()
    (tmp_path / "ranet_jax" / "__init__.py").touch()
    with pytest.raises(InputError, match=f"{tmp_path}: its library cannot be measured"):
        against.compare(tmp_path, "lite", [1], steps=30)


def test_rectangles_of_noise_are_objects_of_every_size():
    for objects, size in ((1, (480, 854)), (16, (48, 80)), (5, (1080, 1920))):
        frames, labels = tracking_speed.labelled_noise(objects, size)
        assert frames.shape == (2, *size, 3)
        assert set(np.unique(labels)) == set(range(objects + 1))


@pytest.mark.slow
def test_steps_are_timed_and_counted(capsys):
    micro = micro_checkpoint()
    tracking_speed.print_steps(micro, [1, 9], 2, frame_size=(48, 80))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("micro: frames 48x80, network input 64x96, ")
    assert [line.split()[:2] for line in lines[2:]] == [["1", "1"], ["9", "10"]]
    assert all(float(line.split()[2]) > 0 for line in lines[2:])
    with pytest.raises(InputError, match="17 objects: a tracker has room for 16"):
        tracking_speed.print_steps(micro, [17], 1)


def test_what_is_compiled_on_the_way_is_told():
    import jax

    square = jax.jit(lambda x: x * x)
    square(np.ones(3, np.float32)).block_until_ready()
    with tracking_speed.nothing_compiled() as check:
        square(np.ones(3, np.float32)).block_until_ready()
        check()
        square(np.ones(4, np.float32)).block_until_ready()
        with pytest.raises(RuntimeError, match="compiled again"):
            check()


def test_yardsticks_measure():
    assert speed.Yardstick()() > 0
    assert speed.peak_memory() is None or speed.peak_memory() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "nothing to measure"), (("--video",), "give --model, too"), (("--model", "x"), "x: no such")],
)
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    assert benchmark.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
