"""Two checkouts side by side: the same steps by turns in one process tree, so that both see the same machine."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from ranet_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
WORKER = pathlib.Path(__file__).with_name("worker.py")
LEAST_STEPS, BLOCK = 30, 5
"""Fewest timed steps of each, and how many one takes before it is the other's turn."""
SETTLING = 0.3
"""Seconds before a turn: threads of the one before still wait busily for more work."""


class Comparison(NamedTuple):
    """Medians over the steps.

    Attributes:
        theirs: seconds of a step of the other checkout.
        ours: seconds of a step of this one.
        ratio: ours to theirs, the median of the turns' ratios.
        steps: of each that were timed.
    """

    theirs: float
    ours: float
    ratio: float
    steps: int


class Checkout:
    """A worker process in a checkout."""

    def __init__(self, folder: pathlib.Path):
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, str(WORKER)]
        self._folder = folder
        self._process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)

    def ask(self, **command: Any) -> dict[str, Any]:
        """Has a command done, and returns the answer.

        Raises:
            InputError: the worker ended; what it said is on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InputError(f"{self._folder}: its library cannot be measured, see above")
        return json.loads(line)

    def close(self) -> None:
        """Ends the worker."""
        self._process.kill()
        self._process.communicate()


def compare(other: pathlib.Path, model: str, object_counts: Sequence[int], steps: int) -> dict[int, Comparison]:
    """Times a network's step in another checkout and in this one, by turns.

    Args:
        other: the root of the other checkout.
        model: "released", or a checkpoint's name or absolute path.
        object_counts: a comparison for each.
        steps: timed steps of each checkout; at least `LEAST_STEPS` are taken.

    Raises:
        InputError: the other checkout has no library, or a worker failed.
    """
    require_checkout(other)
    turns = -(-max(steps, LEAST_STEPS) // BLOCK)
    checkouts = [Checkout(other.resolve())]
    try:
        checkouts.append(Checkout(ROOT))
        return {objects: _take_turns(checkouts, model, objects, turns) for objects in object_counts}
    finally:
        for checkout in checkouts:
            checkout.close()


def require_checkout(folder: pathlib.Path) -> None:
    """Raises InputError where a folder is not the root of a checkout."""
    if not (folder / "ranet_jax" / "__init__.py").is_file():
        raise InputError(f"--against {folder}: no ranet_jax there; give the root of another checkout")


def _take_turns(checkouts: Sequence[Checkout], model: str, objects: int, turns: int) -> Comparison:
    for checkout in checkouts:
        checkout.ask(open=model, objects=objects)
    seconds: list[list[float]] = [[] for _ in checkouts]
    ratios = []
    for turn in range(turns):
        medians = [0.0, 0.0]
        # Whoever comes second finds the machine warmer: they change places.
        for index in (0, 1) if turn % 2 == 0 else (1, 0):
            time.sleep(SETTLING)
            block = checkouts[index].ask(steps=BLOCK)["seconds"]
            seconds[index] += block
            medians[index] = statistics.median(block)
        ratios.append(medians[1] / medians[0])
    theirs, ours = map(statistics.median, seconds)
    return Comparison(theirs, ours, statistics.median(ratios), len(seconds[0]))


def print_comparison(other: pathlib.Path, model: str, object_counts: Sequence[int], steps: int) -> None:
    """Prints one row for each number of objects; the last columns are relative to the first number of objects."""
    found = compare(other, model, object_counts, steps)
    first = found[object_counts[0]]
    device = jax.devices()[0].device_kind
    print(f"{model}: a step at 480x854 in {other} and here by turns, {device}, {first.steps} steps each")
    relative = f"to {object_counts[0]} object" + ("s" if object_counts[0] > 1 else "")
    print(f"objects  there ms  here ms  here/there  there, {relative}  here, {relative}")
    for objects, values in found.items():
        print(
            f"{objects:7d}  {1e3 * values.theirs:8.1f}  {1e3 * values.ours:7.1f}  {values.ratio:10.3f}"
            f"  {values.theirs / first.theirs:{len(relative) + 7}.2f}"
            f"  {values.ours / first.ours:{len(relative) + 6}.2f}",
            flush=True,
        )
