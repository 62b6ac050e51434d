import itertools
import json
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest
from rich.console import Console

from ranet_jax.training.checkpoint import Checkpoints
from ranet_jax.training.loop import Hooks, LoopConfig, NonFiniteLossError, run
from ranet_jax.training.reporting import Reporter
from ranet_jax.training.step import initial_state
from tests.training.micro import VARIABLES, make_dataset, toy_function, toy_step

STEPS = 8


def _train(folder, *, steps=STEPS, hooks=None, variables=VARIABLES, dataset=None, **rhythm):
    config = LoopConfig(steps, **({"log_every": 1, "checkpoint_every": 3, "picture_every": 0} | rhythm))
    step = toy_step()
    reporter = lambda first: Reporter(folder, steps=steps, first_step=first, console=Console(quiet=True))
    with Checkpoints(folder / "checkpoints", keep=2, config={}) as checkpoints:
        outcome = run(
            step,
            initial_state(variables, toy_function().optimizer),
            dataset or make_dataset(4),
            config=config,
            checkpoints=checkpoints,
            reporter=reporter,
            hooks=hooks,
        )
    assert step.traces <= 1, "no silent recompilation"
    return outcome


def _lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


def test_a_run_reports_every_step_and_ends_with_a_checkpoint(tmp_path):
    outcome = _train(tmp_path)
    assert outcome.stopped_by is None
    assert int(outcome.state.step) == STEPS
    lines = _lines(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(line.keys() == {"step", "loss", "iou", "gradient_norm"} for line in lines)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["6", "8"]


def test_averages_are_over_the_steps_since_the_last_report(tmp_path):
    _train(tmp_path / "each")
    _train(tmp_path / "fourth", log_every=4)
    each, fourth = _lines(tmp_path / "each"), _lines(tmp_path / "fourth")
    assert [line["step"] for line in fourth] == [4, 8]
    np.testing.assert_allclose(fourth[0]["gradient_norm"], np.mean([line["gradient_norm"] for line in each[:4]]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_continues_with_the_same_losses(tmp_path, number):
    _train(tmp_path / "whole")

    def interrupt(variables, batch):
        os.kill(os.getpid(), number)
        return np.zeros((4, 4, 3), np.uint8)

    exported = {}
    hooks = Hooks(lambda variables, step: exported.update({step: variables}), picture=interrupt)
    # The picture comes after step 4; the signal is seen before the next batch is waited for.
    stopped = _train(tmp_path / "cut", hooks=hooks, picture_every=4)
    assert (stopped.stopped_by, int(stopped.state.step)) == (number, 4)
    assert list(exported) == [3, 4]
    jax.tree.map(np.testing.assert_array_equal, exported[4], jax.tree.map(np.asarray, stopped.state.variables))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finished = _train(tmp_path / "cut")
    assert finished.stopped_by is None
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")


@pytest.mark.parametrize("cut", [5, 6, 7])
def test_reports_of_several_steps_are_those_of_an_unbroken_run(tmp_path, cut):
    """To the bit, wherever the run was cut: between reports, at one, after one."""
    rhythm = {"steps": 12, "log_every": 3, "checkpoint_every": 5}
    _train(tmp_path / "whole", **rhythm)

    def interrupt(variables, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return np.zeros((4, 4, 3), np.uint8)

    stopped = _train(tmp_path / "cut", hooks=Hooks(picture=interrupt), picture_every=cut, **rhythm)
    assert int(stopped.state.step) == cut
    _train(tmp_path / "cut", **rhythm)
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")
    assert [line["step"] for line in _lines(tmp_path / "cut")] == [3, 6, 9, 12]


def test_a_run_whose_newest_checkpoint_is_damaged_repeats_those_steps(tmp_path, capfd):
    _train(tmp_path / "whole", log_every=2)
    _train(tmp_path / "cut", log_every=2)
    newest = tmp_path / "cut" / "checkpoints" / "8"
    (newest / "config" / "metadata").write_bytes(b"")
    _train(tmp_path / "cut", log_every=2)
    assert "continuing from 6" in capfd.readouterr().err
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")


def _stalling(batches, number):
    """The usual dataset, which gives no more after some batches, and a signal instead."""
    made, released = itertools.count(), threading.Event()

    def stall(sample):
        place = next(made)
        if place == 4 * batches + 1:  # one sample of the next batch is taken out, but the batch never delivered
            time.sleep(1.0)  # while the loop comes to wait for it
            os.kill(os.getpid(), number)
        if place > 4 * batches:
            released.wait()
        return sample

    return make_dataset(4, change=stall), released


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_a_batch_and_loses_none(tmp_path, number):
    _train(tmp_path / "whole")
    data, released = _stalling(4, number)
    stopped = _train(tmp_path / "cut", dataset=data)
    released.set()
    assert (stopped.stopped_by, int(stopped.state.step)) == (number, 4)
    _train(tmp_path / "cut")
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")


def test_a_signal_before_the_first_batch_leaves_nothing(tmp_path):
    exported = []
    hooks = Hooks(lambda variables, step: exported.append(step))
    data, released = _stalling(0, signal.SIGTERM)
    stopped = _train(tmp_path, dataset=data, hooks=hooks)
    released.set()
    assert (stopped.stopped_by, int(stopped.state.step)) == (signal.SIGTERM, 0)
    assert exported == []
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_finished_run_does_nothing_more(tmp_path):
    first = _train(tmp_path)
    again = _train(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, first.state, again.state)


def test_hooks_get_the_averaged_weights_in_their_rhythm(tmp_path):
    seen = {"export": [], "evaluate": [], "picture": 0}

    def export(variables, step):
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables))
        assert variables.keys() == {"params", "batch_stats"}
        seen["export"].append(step)

    def evaluate(variables, step):
        seen["evaluate"].append(step)
        return {"J": 0.5}

    def picture(variables, batch):
        seen["picture"] += 1
        assert batch["images"].shape == (4, 2, 64, 96, 3)
        return np.zeros((4, 4, 3), np.uint8)

    hooks = Hooks(export, evaluate, picture, learning_rate=lambda step: step / 10)
    _train(tmp_path, hooks=hooks, evaluate_every=5, picture_every=4)
    assert seen == {"export": [3, 6, 8], "evaluate": [5, 8], "picture": 2}
    lines = _lines(tmp_path)
    assert [line["step"] for line in lines if "evaluation/J" in line] == [5, 8]
    assert [line["learning_rate"] for line in lines if "loss" in line] == [i / 10 for i in range(STEPS)]


def test_a_loss_that_is_not_finite_stops_with_step_and_samples_and_saves_nothing(tmp_path):
    weights = jax.tree.map(np.copy, VARIABLES)
    weights["params"]["head"]["bias"][0] = np.nan
    names = next(iter(make_dataset(4)))["name"]
    with pytest.raises(NonFiniteLossError, match=f"nan at step 1, samples {', '.join(names)}:"):
        _train(tmp_path, variables=weights)
    assert not list((tmp_path / "checkpoints").iterdir())
