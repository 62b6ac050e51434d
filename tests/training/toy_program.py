"""Trains the toy network in a process of its own, to be killed or to be one of several.

Arguments: workdir, steps, local devices, backend, and HOST:PORT,COUNT,INDEX for one of several processes. The exit
code is that of the training programs: 128 and the signal that stopped it.
"""

import pathlib
import sys

import jax

from ranet_jax.processes import start_distributed


def main(workdir: str, steps: str, devices: str, backend: str, distributed: str = "") -> None:
    jax.config.update("jax_num_cpu_devices", int(devices))
    start_distributed(distributed or None)

    from rich.console import Console

    from ranet_jax.training.checkpoint import Checkpoints
    from ranet_jax.training.loop import LoopConfig, run
    from ranet_jax.training.reporting import Reporter
    from ranet_jax.training.step import initial_state
    from tests.training.micro import VARIABLES, make_dataset, toy_function, toy_step

    folder = pathlib.Path(workdir)
    processes, index = jax.process_count(), jax.process_index()
    reporter = lambda first: Reporter(
        folder, steps=int(steps), first_step=first, console=Console(quiet=True), active=index == 0
    )
    with Checkpoints(folder / "checkpoints", keep=2, config={}) as checkpoints:
        outcome = run(
            toy_step(backend),
            initial_state(VARIABLES, toy_function().optimizer),
            make_dataset(4 // processes, process=slice(index, None, processes)),
            config=LoopConfig(int(steps), log_every=1, checkpoint_every=1, picture_every=0),
            checkpoints=checkpoints,
            reporter=reporter,
        )
    sys.exit(0 if outcome.stopped_by is None else 128 + outcome.stopped_by)


if __name__ == "__main__":
    main(*sys.argv[1:])
