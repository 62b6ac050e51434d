"""Kills one of the processes of a training at random moments, and measures how long the others stay.

    python -m tests.reliability.peers --count 10 --seed 0

A toy network on two processes of two devices each, which save after every step. The other one must name the one that
has gone, with exit code 2 and no abort; the exit code is 1 if it does not. Where the first process is killed, JAX
notices too, and its own lines may come before ours.
"""

import argparse
import pathlib
import random
import statistics
import sys
import tempfile
import time

from tests.training.test_processes import _own_lines, _start_several, _wait_for_checkpoint

PROCESSES = 2


def main() -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    failures, times = 0, []
    for _ in range(options.count):
        victim = rng.randrange(PROCESSES)
        with tempfile.TemporaryDirectory() as name:
            processes = _start_several(pathlib.Path(name), 100000, "pmap", count=PROCESSES)
            _wait_for_checkpoint(pathlib.Path(name), processes, 2)
            time.sleep(rng.uniform(0, 2))
            processes[victim].kill()
            start = time.monotonic()
            for index, process in enumerate(processes):
                if index == victim:
                    continue
                process.wait(timeout=300)
                times.append(time.monotonic() - start)
                lines = _own_lines(process)
                good = process.returncode == 2 and len(lines) == 1 and f"process {victim} of {PROCESSES}" in lines[0]
                failures += not good
                print(
                    f"process {victim} killed: {times[-1]:.2f} s, exit code {process.returncode}, {' | '.join(lines)}"
                )
            processes[victim].communicate()
    print(
        f"{options.count} kills, {failures} failures; from the kill to the other's end: "
        f"median {statistics.median(times):.2f} s, longest {max(times):.2f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
