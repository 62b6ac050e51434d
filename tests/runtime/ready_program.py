"""Run by test_ready.py in a process of its own, with a checkpoint and the file for what comes out."""

import json
import pathlib
import sys

import numpy as np

import ranet_jax.stored
from ranet_jax.compilation import KeptFunctions, compile_anew
from ranet_jax.runtime import ready

SIZE = (48, 80)


def video():
    """Two bright objects that stand still on dark noise; the second is given with the third frame."""
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 5:35], labels[15:35, 40:70] = 3, 200
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 100, (*SIZE, 3)) + 100 * (labels > 0)[..., None]
    return (scene + rng.integers(0, 20, (4, *SIZE, 3))).astype(np.uint8), labels


def tracked(tracker, variables):
    """Label maps and probabilities of a video's frames after the first, of which the second has a mask."""
    frames, labels = video()
    first = np.where(labels == 3, 3, 0).astype(np.uint8)
    state, found = tracker.init(variables, frames[0], first), []
    for number, frame in enumerate(frames[1:]):
        if number == 1:
            state, label_map, probability = tracker.annotate(variables, state, frame, labels)
        else:
            state, label_map, probability = tracker.step(variables, state, frame)
        found += [np.asarray(label_map), np.asarray(probability)]
    return found


def main(checkpoint, out):
    """Tracks with what is kept, or compiles it; writes down what came out, and what of a network was imported."""
    compile_anew()
    stored = ranet_jax.stored.read_stored(checkpoint)
    found = tracked(ready.ReadyTracker(stored, SIZE, KeptFunctions()), stored.variables)
    np.savez(out, *found)
    print(json.dumps([name for name in ("flax", "orbax", "ranet_jax.networks") if name in sys.modules]))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
