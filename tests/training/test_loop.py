import json
import os
import signal

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
    # The picture comes after step 4; the signal is seen after the step that follows.
    stopped = _train(tmp_path / "cut", hooks=hooks, picture_every=4)
    assert (stopped.stopped_by, int(stopped.state.step)) == (number, 5)
    assert list(exported) == [3, 5]
    jax.tree.map(np.testing.assert_array_equal, exported[5], jax.tree.map(np.asarray, stopped.state.variables))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finished = _train(tmp_path / "cut")
    assert finished.stopped_by is None
    assert _lines(tmp_path / "cut") == _lines(tmp_path / "whole")


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
