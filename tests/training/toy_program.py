"""Trains the toy network in a process of its own, to be killed or to be one of several.

Arguments: workdir, steps, local devices, backend, HOST:PORT,COUNT,INDEX for one of several processes, and what goes
wrong in the fifth sample of the last one: "input", "internal" or nothing. The exit code is that of the training
programs: 2 for an `InputError`, and 128 and the signal that stopped it.
"""

import itertools
import pathlib
import sys
from typing import Any

import jax

from ranet_jax.errors import InputError
from ranet_jax.processes import start_distributed

BATCH = 12
"""Divides by one, two and three processes of two devices, and by four devices."""


def main(workdir: str, steps: str, devices: str, backend: str, distributed: str = "", fault: str = "") -> None:
    jax.config.update("jax_num_cpu_devices", int(devices))
    start_distributed(distributed or None)

    from rich.console import Console

    from ranet_jax.training.checkpoint import Checkpoints
    from ranet_jax.training.loop import LoopConfig, run
    from ranet_jax.training.reporting import Reporter
    from ranet_jax.training.step import initial_state
    from tests.training.micro import VARIABLES, make_dataset, toy_function, toy_step

    made = itertools.count()

    def fail(sample: dict[str, Any]) -> dict[str, Any]:
        if fault and index == processes - 1 and next(made) == 4:
            raise InputError("a sample is wrong: mend it") if fault == "input" else RuntimeError("a fault of ours")
        return sample

    folder = pathlib.Path(workdir)
    processes, index = jax.process_count(), jax.process_index()
    reporter = lambda first: Reporter(
        folder, steps=int(steps), first_step=first, console=Console(quiet=True), active=index == 0
    )
    try:
        with Checkpoints(folder / "checkpoints", keep=2, config={}) as checkpoints:
            outcome = run(
                toy_step(backend),
                initial_state(VARIABLES, toy_function().optimizer),
                make_dataset(BATCH // processes, process=slice(index, None, processes), change=fail),
                config=LoopConfig(int(steps), log_every=1, checkpoint_every=1, picture_every=0),
                checkpoints=checkpoints,
                reporter=reporter,
            )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if outcome.stopped_by is None else 128 + outcome.stopped_by)


if __name__ == "__main__":
    main(*sys.argv[1:])
