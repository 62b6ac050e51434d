"""Functions that are compiled once and found again: the same masks, nothing imported, nothing of another kind found.

Compiled in processes of their own: one process that has compiled hundreds of programs is no place to write one down.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ranet_jax.compilation import KeptFunctions
from ranet_jax.networks import RANetConfig
from ranet_jax.runtime import ready
from ranet_jax.runtime.ready import ReadyTracker
from ranet_jax.stored import read_stored
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint
from tests.runtime.ready_program import SIZE
from tests.runtime.ready_program import tracked as video_tracked

PROGRAM = pathlib.Path(__file__).with_name("ready_program.py")
CONFIG = RANetConfig.lite(
    backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net"
    save_checkpoint(path, CONFIG, TrackerConfig.lite(), initial_variables(CONFIG, seed=1))
    return path


def tracked(checkpoint, folder, out):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, str(PROGRAM), str(checkpoint), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        return [arrays[name] for name in arrays.files], json.loads(done.stdout)


@pytest.mark.slow
def test_a_later_run_finds_what_an_earlier_one_compiled(checkpoint, tmp_path):
    kept = tmp_path / "kept"
    compiled, imported = tracked(checkpoint, kept, tmp_path / "first.npz")
    assert "ranet_jax.networks" in imported
    labels = compiled[::2]
    assert set(np.unique(labels[0])) == {0, 3}
    assert {3, 200} <= set(np.unique(labels[1]))
    files = sorted(kept.iterdir())
    # For one object of one reference, and for two of two.
    assert [path.name.partition("-")[0] for path in files] == ["annotate", "init", "seen", "step", "step"]
    before = [path.stat().st_ino for path in files]
    found, imported = tracked(checkpoint, kept, tmp_path / "second.npz")
    assert imported == []
    for one, other in zip(compiled, found, strict=True):
        np.testing.assert_array_equal(one, other)
    made = load_checkpoint(checkpoint)
    plain = video_tracked(made.tracker_for(SIZE), made.variables)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert [path.stat().st_ino for path in sorted(kept.iterdir())] == before, "nothing was written again"


class Everything(KeptFunctions):
    """A place where every function is kept: it takes down what was asked for."""

    def __init__(self):
        self.asked = []

    def __contains__(self, key):
        self.asked.append(key)
        return True


def test_what_differs_is_another_function(checkpoint, monkeypatch):
    stored, everything = read_stored(checkpoint), Everything()
    look = lambda stored=stored, size=(48, 80): ReadyTracker(stored, size, everything)
    look()
    look()
    assert len(set(everything.asked)) == 1
    look(size=(80, 48))
    description = stored.description
    look(stored._replace(description=description | {"config": description["config"] | {"kept_maps": 8}}))
    look(stored._replace(description=description | {"tracker": description["tracker"] | {"aggregation": "soft"}}))
    look(stored._replace(variables=stored.variables | {"params/more": np.zeros(1, np.float32)}))
    monkeypatch.setattr(ready, "_environment", ready._environment.__wrapped__)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    look()
    monkeypatch.setattr(ready, "_SOURCES", ready._SOURCES[:-1])
    look()
    assert len(set(everything.asked)) == len(everything.asked) - 1
    monkeypatch.undo()
    # What decides nothing of what is compiled is another checkpoint to look into, of the same functions.
    look(stored._replace(description=description | {"card": {"steps": 1}}, name="another"))
    assert everything.asked[-1] != everything.asked[0]
    assert everything.asked[-1].rpartition("-")[0] == everything.asked[0].rpartition("-")[0]
