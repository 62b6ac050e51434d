"""A few cases of the seeded programs beside this file, which `docs/reliability.md` runs in full."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_damaged_training_checkpoints_are_refused_or_read_as_what_they_were():
    program = [sys.executable, "-W", "ignore", "-m", "tests.reliability.damage"]
    command = [*program, "--count", "150", "--only", "training checkpoint"]
    # Damaged programs are compiled, too: not for the cache that the tests share.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 damaged inputs, 0 findings" in done.stdout
