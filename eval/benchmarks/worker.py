"""One checkout's tracker, stepping on command; `eval.benchmarks.against` starts one for each of two checkouts.

Run with a checkout as working folder: its library is imported, in whichever of the layouts below it has. Commands are
lines of JSON on standard input, `{"open": MODEL, "objects": N}` and `{"steps": COUNT}`; each is answered by a line on
standard output: `{"ready": true}` or `{"seconds": [...]}`.
"""

import contextlib
import importlib
import json
import sys
import time
from typing import Any

import jax
import numpy as np

# Where a checkout has the networks' configurations, the newest layout first.
CONFIGS = ("ranet_jax.networks", "ranet_jax.models")
FRAME_SIZE = (480, 854)


def first_module(names: tuple[str, ...]) -> Any:
    """The first of these modules that there is.

    Raises:
        ModuleNotFoundError: there is none.
    """
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    raise ModuleNotFoundError(f"none of {', '.join(names)} is in this checkout")


def released_checkpoint(weights: Any, config: Any) -> Any:
    """The released network with random weights, in a layout with or without a tracker's configuration."""
    fields: dict[str, Any] = {"name": "released", "config": config, "variables": weights.initial_variables(config)}
    if "tracker" in weights.Checkpoint._fields:
        fields["tracker"] = importlib.import_module("ranet_jax.tracker").TrackerConfig()
    return weights.Checkpoint(card={}, **fields)


def tracker_of(checkpoint: Any) -> Any:
    """The tracker of a checkpoint, which has one, or whose layout makes it of the network's configuration."""
    if hasattr(checkpoint, "tracker_for"):
        return checkpoint.tracker_for(FRAME_SIZE)
    return importlib.import_module("ranet_jax.tracking.tracker").make_tracker(checkpoint.config, FRAME_SIZE)


class Worker:
    """A tracker between its steps."""

    def open(self, model: str, objects: int) -> None:
        """Starts a video of noise with `objects` rectangles, and takes the steps that compile."""
        weights = importlib.import_module("ranet_jax.weights")
        if model == "released":
            ranet = first_module(CONFIGS).RANetConfig
            config = ranet(objects="single" if objects == 1 else "multi", dtype="float32")
            checkpoint = released_checkpoint(weights, config)
        else:
            checkpoint = weights.load_checkpoint(model)
        self._variables = jax.device_put(checkpoint.variables)
        self._tracker = tracker_of(checkpoint)
        self._frames = np.random.default_rng(0).integers(0, 256, (2, *FRAME_SIZE, 3), dtype=np.uint8)
        labels = np.zeros(FRAME_SIZE, np.uint8)
        for i in range(objects):
            labels[120:360, 40 + i * 780 // objects : 40 + (i + 1) * 780 // objects - 20] = i + 1
        self._state = self._tracker.init(self._variables, self._frames[0], labels)
        self.steps(2)

    def steps(self, count: int) -> list[float]:
        """Seconds of each of so many steps."""
        seconds = []
        for i in range(count):
            start = time.perf_counter()
            self._state, *_ = jax.block_until_ready(
                self._tracker.step(self._variables, self._state, self._frames[i % 2])
            )
            seconds.append(time.perf_counter() - start)
        return seconds


def main() -> None:
    """Answers commands until standard input ends."""
    worker, answers = Worker(), sys.stdout
    # Nothing else may be said on the channel of the answers.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        command = json.loads(line)
        if "open" in command:
            worker.open(command["open"], command["objects"])
            answer: dict[str, Any] = {"ready": True}
        else:
            answer = {"seconds": worker.steps(command["steps"])}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
