"""Kills a training at random moments, and compares what it reports with an unbroken run.

    python -m tests.reliability.kills --count 20 --seed 0

The training is a real program on a small made-up DAVIS folder: RANet with a micro backbone, a checkpoint every three
steps, a report every four. A third of the kills come while the program starts, a third while it saves, a third at any
moment between; then the same command is given again. Everything in `metrics.jsonl` but the speed, and the weights that
come out, must equal the unbroken run's to the bit; the exit code is 1 if they do not.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
FIELDS = {
    "model.backbone": "resnet_micro",
    "model.input_size": (64, 96),
    "model.template_grid": (4, 6),
    "model.kept_maps": 16,
    "data.sample.size": (64, 96),
    "data.parts.longboard.weight": 0,
    "data.cache_gigabytes": 0.1,
    "backbone_checkpoint": "",
    "batch_size": 2,
    "loop.log_every": 4,
    "loop.checkpoint_every": 3,
    "loop.evaluate_every": 0,
    "loop.picture_every": 0,
}
LONGEST = 600.0
"""Seconds until a program that does not come on has failed."""


def main() -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="how many kills")
    parser.add_argument("--steps", type=int, default=160, help="of the training; enough to be killed so often")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        _write_data(folder / "data")
        whole, cut = folder / "whole", folder / "cut"
        _finish(_start(folder, whole, options.steps))
        counts = dict.fromkeys(("starting", "saving", "between"), 0)
        for number in range(options.count):
            moment = list(counts)[number % len(counts)]
            counts[_kill(_start(folder, cut, options.steps), cut, moment, rng)] += 1
            print(f"kill {number + 1} while {moment}, after step {_newest(cut)}", flush=True)
        _finish(_start(folder, cut, options.steps))
        different = _compare(whole, cut)
    where = ", ".join(f"{count} while {moment}" for moment, count in counts.items())
    print(
        f"{options.count} kills ({where}) in {options.steps} steps: {different or 'every line and every weight equal'}"
    )
    return 1 if different else 0


def _write_data(root: pathlib.Path) -> None:
    from ranet_jax.io.masks import write_label_map
    from tests.data.fabricated import COLOURS, blobs, write_jpeg

    tree = root / "DAVIS"
    for i in range(6):
        labels = blobs(2, shift=2 * i)
        write_jpeg(tree / "JPEGImages" / "480p" / "walk" / f"{i:05d}.jpg", COLOURS[labels])
        write_label_map(tree / "Annotations" / "480p" / "walk" / f"{i:05d}.png", labels)
    (tree / "ImageSets" / "2016").mkdir(parents=True)
    (tree / "ImageSets" / "2016" / "train.txt").write_text("walk\n")


def _start(folder: pathlib.Path, workdir: pathlib.Path, steps: int) -> subprocess.Popen:
    fields = {**FIELDS, "data.root": folder / "data", "loop.steps": steps}
    command = [sys.executable, "-m", "train.ranet", "--config", "configs/ranet_lite_davis16.py", "--workdir", workdir]
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    # A killed process might leave half a program in a cache that it shares with others. Compiling is most of the time.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    log = (folder / "log").open("w")
    return subprocess.Popen([*map(str, command), *overrides], cwd=ROOT, env=environment, stdout=log, stderr=log)


def _finish(process: subprocess.Popen) -> None:
    if process.wait(LONGEST * 10):
        raise SystemExit(f"the training ended with exit code {process.returncode}")


def _lines(workdir: pathlib.Path) -> list[dict[str, float]]:
    file = workdir / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    # The last line may be half written; the whole ones end with a line feed.
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


def _newest(workdir: pathlib.Path) -> int:
    """Steps of the newest checkpoint; 0 where there is none."""
    return max((int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def _kill(process: subprocess.Popen, workdir: pathlib.Path, moment: str, rng: random.Random) -> str:
    """Kills a training at a moment of a kind, which is returned."""
    before, end = len(_lines(workdir)), time.monotonic() + LONGEST

    def come() -> bool:
        if moment == "starting":
            return True
        if moment == "saving":
            return any((workdir / "checkpoints").glob("*tmp*")) and _newest(workdir) > newest
        return len(_lines(workdir)) >= before + more

    newest, more = _newest(workdir), rng.randint(1, 2)
    while not come():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the training could not be killed while {moment}: it ended with {process.returncode}")
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, {"starting": 12.0, "saving": 0.03, "between": 0.3}[moment]))
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("the training was over before it could be killed: give more --steps")
    return moment


def _compare(whole: pathlib.Path, cut: pathlib.Path) -> str:
    """The first thing in which two runs differ; empty if there is none."""
    import jax

    from ranet_jax.weights import load_checkpoint

    ours, theirs = _lines(cut), _lines(whole)
    if len(ours) != len(theirs):
        return f"{len(ours)} lines for {len(theirs)}"
    for one, other in zip(ours, theirs, strict=True):
        if one != other:
            return f"{one} for {other}"
    weights = [load_checkpoint(run / "inference").variables for run in (whole, cut)]
    return "" if all(jax.tree.leaves(jax.tree.map(np.array_equal, *weights))) else "the weights differ"


if __name__ == "__main__":
    sys.exit(main())
