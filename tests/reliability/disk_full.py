"""Fills the disk at random moments under a training and under a segmentation.

    python -m tests.reliability.disk_full --count 20 --seed 0

The disk is a small file system in memory, mounted in a user namespace of its own (Linux, without root). Its size is
drawn between nothing and what the whole run writes. The command must end with exit code 2 and one line; what it left
must be whole; and once there is room, the same command must give what it gives on a large disk, to the bit. The exit
code is 1 if one does not.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable

from tests.reliability.damage import _captured, _digests, _unfinished

STEPS = 12
_INSIDE = "RANET_JAX_IN_NAMESPACE"


def main() -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="how many disks, for the two commands in turn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if _INSIDE not in os.environ:
        again = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.reliability.disk_full"]
        return subprocess.call([*again, *sys.argv[1:]], env={**os.environ, _INSIDE: "1"})
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        from tests.reliability.inputs import make_inputs

        make_inputs(folder / "inputs")
        commands = {"segment": (_segment, _masks), "train": (_train, _metrics)}
        failures = []
        for number in range(options.count):
            command = list(commands)[number % len(commands)]
            what = _try(folder, *commands[command], rng)
            print(f"{command}: {what}", flush=True)
            failures += [what] if what.startswith("FAILED") else []
    print(f"{options.count} full disks, {len(failures)} failures")
    return 1 if failures else 0


def _try(
    folder: pathlib.Path,
    command: Callable[[pathlib.Path, pathlib.Path], int],
    result: Callable[[pathlib.Path], object],
    rng: random.Random,
) -> str:
    """What happened on one small disk."""
    large, disk = folder / command.__name__, folder / "disk"
    if not large.exists():
        large.mkdir()
        if _run(command, folder, large)[0]:
            raise SystemExit(f"{command.__name__} fails on a large disk")
    needed = sum(-(-path.stat().st_size // 4096) * 4096 for path in large.rglob("*") if path.is_file())
    size = rng.randrange(4096, needed, 4096)
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        before = f"{size // 1024} of {needed // 1024} KiB"
        code, said = _run(command, folder, disk)
        lines = [line for line in said.splitlines() if line.strip()]
        if (code, len(lines)) != (2, 1) or "Traceback" in said:
            return f"FAILED, {before}: exit code {code}, {' | '.join(lines)[:600]}"
        left = [f"{path.relative_to(disk)} {what}" for path, what in _unfinished(disk)]
        if left:
            return f"FAILED, {before}: {left[0]}"
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
        again, said = _run(command, folder, disk)
        if again or result(disk) != result(large):
            return f"FAILED, {before}: with room again exit code {again} or other results, {said[:200]}"
        return f"{before}: {lines[0]}"
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _run(
    command: Callable[[pathlib.Path, pathlib.Path], int], folder: pathlib.Path, out: pathlib.Path
) -> tuple[int, str]:
    with _captured(folder / "stderr", folder / "stdout"):
        code = command(folder / "inputs", out)
    return code, (folder / "stderr").read_text(errors="replace")


def _segment(inputs: pathlib.Path, out: pathlib.Path) -> int:
    from ranet_jax import cli

    arguments = ["segment", str(inputs / "png_frames"), "--mask", str(inputs / "mask.png"), "--out", str(out / "masks")]
    return cli.main([*arguments, "--overlay", str(out / "overlay.mp4"), "--checkpoint", str(inputs / "ranet")])


def _masks(out: pathlib.Path) -> object:
    return _digests(out / "masks")


def _train(inputs: pathlib.Path, out: pathlib.Path) -> int:
    """What a training program does, with the toy network."""
    from rich.console import Console

    from ranet_jax import cli
    from ranet_jax.training.checkpoint import Checkpoints
    from ranet_jax.training.loop import LoopConfig, run
    from ranet_jax.training.reporting import Reporter
    from ranet_jax.training.step import initial_state
    from tests.training.micro import VARIABLES, make_dataset, toy_function, toy_step

    def train() -> None:
        with Checkpoints(out / "checkpoints", keep=2, config={}) as checkpoints:
            run(
                toy_step(),
                initial_state(VARIABLES, toy_function().optimizer),
                make_dataset(4),
                config=LoopConfig(STEPS, log_every=2, checkpoint_every=3, picture_every=0),
                checkpoints=checkpoints,
                reporter=lambda first: Reporter(out, steps=STEPS, first_step=first, console=Console(quiet=True)),
            )

    return cli.run(train, debug=False)


def _metrics(out: pathlib.Path) -> object:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "samples_per_second"} for line in lines]


if __name__ == "__main__":
    sys.exit(main())
