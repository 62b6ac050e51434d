"""Run by test_ready.py in a process of its own: a folder of checkpoints, and what of a tracker is asked for."""

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


def tracked(tracker, variables, annotate):
    """Label maps and probabilities of a video's frames after the first."""
    frames, labels = video()
    first = np.where(labels == 3, 3, 0).astype(np.uint8)
    to_come = {"objects": [200], "references": 2} if annotate else {}
    state, found = tracker.init(variables, frames[0], first, **to_come), []
    for number, frame in enumerate(frames[1:]):
        if annotate and number == 1:
            state, label_map, probability = tracker.annotate(variables, state, frame, labels)
        else:
            state, label_map, probability = tracker.step(variables, state, frame)
        found += [np.asarray(label_map), np.asarray(probability)]
    return found


def main(checkpoint, out, annotate):
    """Tracks with what is kept, or compiles it; writes down what came out, and whether a network was imported."""
    compile_anew()
    kept = KeptFunctions()
    stored = ranet_jax.stored.read_stored(checkpoint)
    found = tracked(ready.ReadyTracker(stored, SIZE, 2 if annotate else 1, kept), stored.variables, annotate)
    np.savez(out, *found)
    imported = [name for name in ("flax", "orbax", "ranet_jax.networks", "jax.export") if name in sys.modules]
    print(json.dumps(imported))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "annotate")
