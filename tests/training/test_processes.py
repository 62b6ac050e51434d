"""Training in processes of its own: killed at any moment, and spread over several."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = [sys.executable, "-W", "ignore", "-m", "tests.training.toy_program"]
STEPS = 30

pytestmark = pytest.mark.slow


def _start(*arguments):
    # A killed process would leave half a program in the tests' shared cache.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    # Compiling is nearly all that a run does.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment = {**kept, **quick, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def _finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def _lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


def _saved(folder):
    """Steps whose checkpoints are complete, and those whose saving goes on."""
    names = [path.name for path in (folder / "checkpoints").glob("*")]
    return {int(n) for n in names if n.isdigit()}, {int(n.split(".")[0]) for n in names if not n.isdigit()}


class _TooLate(Exception):
    """What was to be interrupted was over already."""


def _kill_when(process, condition):
    while not condition():
        if process.poll() is not None:
            raise _TooLate
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def _run_with_kills(cut):
    """Raises `_TooLate` if a moment was missed."""
    # In the middle of a save; as soon as one is complete; and at whatever moment comes.
    _kill_when(_start(cut, STEPS, 1, "pmap"), lambda: any(step >= 4 for step in _saved(cut)[1]))
    complete, unfinished = _saved(cut)
    if not unfinished:
        raise _TooLate
    newest = max(complete, default=0)
    _kill_when(_start(cut, STEPS, 1, "pmap"), lambda: any(step >= newest + 5 for step in _saved(cut)[0]))
    for _ in range(2):
        process = _start(cut, STEPS, 1, "pmap")
        lines = len(_lines(cut))
        deadline = time.monotonic() + 100
        _kill_when(process, lambda lines=lines, end=deadline: len(_lines(cut)) > lines + 2 or time.monotonic() > end)
    if max(_saved(cut)[0]) >= STEPS:
        raise _TooLate
    _finish(_start(cut, STEPS, 1, "pmap"))


def test_killed_at_any_moment_the_same_command_gives_the_losses_of_an_unbroken_run(tmp_path):
    whole = tmp_path / "whole"
    _finish(_start(whole, STEPS, 1, "pmap"))
    for attempt in range(5):
        cut = tmp_path / f"cut{attempt}"
        with contextlib.suppress(_TooLate):
            _run_with_kills(cut)
            break
    else:
        pytest.fail("no run was killed at the moments wanted")
    assert _lines(cut) == _lines(whole), "bit for bit"
    assert [line["step"] for line in _lines(cut)] == list(range(1, STEPS + 1))


def _free_address():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def _start_several(folder, steps, backend, *, count=2, fault=""):
    address = _free_address()
    return [_start(folder, steps, 2, backend, f"{address},{count},{index}", fault) for index in range(count)]


def _wait_for_checkpoint(folder, processes, step):
    deadline = time.monotonic() + 200
    while not any(saved >= step for saved in _saved(folder)[0]):
        assert all(process.poll() is None for process in processes), "a process ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _own_lines(process):
    """What a process says beside what Gloo says of its connections; waits for its end."""
    _, errors = process.communicate(timeout=300)
    return [line for line in errors.splitlines() if line and "[Gloo]" not in line and "peer ranks" not in line]


def test_a_signal_to_one_process_stops_all_after_the_same_step_and_saves(tmp_path):
    """To the one that does not write. More steps than there is time for, so that the run cannot end first."""
    processes = _start_several(tmp_path, 100000, "pmap")
    _wait_for_checkpoint(tmp_path, processes, 3)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 128 + signal.SIGTERM, errors
    complete, unfinished = _saved(tmp_path)
    last = _lines(tmp_path)[-1]["step"]
    assert max(complete) == last
    assert not unfinished
    for process in _start_several(tmp_path, last + 2, "pmap"):
        _finish(process)
    assert [line["step"] for line in _lines(tmp_path)] == list(range(1, last + 3))


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_two_processes_of_two_devices_do_what_one_of_four_does(tmp_path, backend):
    one, two = tmp_path / "one", tmp_path / "two"
    _finish(_start(one, 6, 4, backend))
    # Four steps, and in new processes the other two: the checkpoint is that of both.
    for steps in (4, 6):
        for process in _start_several(two, steps, backend):
            _finish(process)
    ours, theirs = _lines(two), _lines(one)
    assert [line["step"] for line in ours] == list(range(1, 7))
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-4)
    assert (two / "checkpoints" / "6").is_dir()


@pytest.mark.parametrize(("count", "victim"), [(2, 1), (2, 0), (3, 1)])
def test_a_killed_process_ends_the_others_at_once_with_its_name(tmp_path, count, victim):
    processes = _start_several(tmp_path, 100000, "pmap", count=count)
    _wait_for_checkpoint(tmp_path, processes, 3)
    processes[victim].kill()
    start = time.monotonic()
    what = "was killed or cannot be reached any more; start all of them again to continue"
    for index, process in enumerate(processes):
        lines = _own_lines(process)
        if index != victim:
            assert process.returncode == 2, "no abort"
            # Of the first process JAX itself notices the end, and may be sooner to say so.
            assert lines[-1] == f"error: process {victim} of {count} {what}"
            assert len(lines) == 1 or victim == 0
    assert time.monotonic() - start < 10
    # They continue from what was saved.
    newest = max(_saved(tmp_path)[0])
    for process in _start_several(tmp_path, newest + 2, "pmap", count=count):
        _finish(process)
    assert _lines(tmp_path)[-1]["step"] == newest + 2


@pytest.mark.parametrize(("fault", "code"), [("input", 2), ("internal", 1)])
def test_a_process_that_fails_ends_the_others_with_its_name(tmp_path, fault, code):
    first, last = _start_several(tmp_path, 100000, "pmap", fault=fault)
    lines = _own_lines(last)
    assert last.returncode == code
    if fault == "input":
        assert lines == ["error: a sample is wrong: mend it"]
    else:
        assert any(line.startswith("RuntimeError: a fault of ours") for line in lines), "its traceback stays"
    said = _own_lines(first)
    assert (first.returncode, said) == (
        2,
        ["error: process 1 of 2 failed: see what it says; start all of them again to continue"],
    )
