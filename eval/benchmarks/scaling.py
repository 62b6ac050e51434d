"""Does the input side keep up with more devices and processes? `python -m eval.benchmarks --scaling DAVIS` prints it.

Every row is one training on the samples of `lite`'s recipe in processes of their own (`python -m
eval.benchmarks.scaling`), of a network that takes next to no time: what is left over is the input side, batches on
their way to the devices, and the step's sum over them. If part of that were serial, steps would take longer as devices
or processes are added.
"""

import dataclasses
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ranet_jax.data.davis import DavisTree
from ranet_jax.training.options import load_config

ROOT = pathlib.Path(__file__).parents[2]
RECIPE = "ranet_lite_davis16"


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        processes: of the training, on this machine.
        devices: virtual CPU devices of each.
        threads: that make samples in each.
    """

    processes: int
    devices: int
    threads: int


SETTINGS = (Setting(1, 1, 1), Setting(1, 1, 2), Setting(1, 2, 2), Setting(1, 4, 2), Setting(2, 1, 1))
"""One thread or two, and then two always, on more devices and in two processes."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What one process of a row does.

    Attributes:
        davis: folder.
        setting: the row.
        index: which process this is.
        address: HOST:PORT of the first; "" for one process alone.
        batch_size: samples of a step, of all devices and processes together.
        seconds: how long the input side is timed alone.
        steps: of the loop that are timed.
    """

    davis: str
    setting: Setting
    index: int
    address: str
    batch_size: int
    seconds: float
    steps: int


class Scaling(NamedTuple):
    """What a row came to.

    Attributes:
        setting: the row.
        input_rate: samples a second that the input sides of all processes make, with nothing else running.
        step: seconds of a step in the loop, on average; the slowest process's.
        waiting: of which it waits for a batch; the process's that waits longest.
    """

    setting: Setting
    input_rate: float
    step: float
    waiting: float


def measure_scaling(davis: pathlib.Path, setting: Setting, *, batch_size: int, seconds: float, steps: int) -> Scaling:
    """Starts the processes of a row and waits for them.

    Args:
        davis: a DAVIS folder.
        setting: the row.
        batch_size: samples of a step, of all devices and processes together.
        seconds: how long the input side is timed alone.
        steps: of the loop that are timed.

    Raises:
        InputError: the folder is not DAVIS.
        RuntimeError: a process failed; the message has its last line.
    """
    DavisTree(davis, 2016).sequences("train")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}" if setting.processes > 1 else ""
    # These processes are CPUs' alone, whatever this one runs on.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    started = []
    for index in range(setting.processes):
        task = Task(str(davis.resolve()), setting, index, address, batch_size, seconds, steps)
        command = [sys.executable, "-m", "eval.benchmarks.scaling", json.dumps(dataclasses.asdict(task))]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes))  # type: ignore[call-overload]
    try:
        found = [_result(process, setting) for process in started]
    finally:
        # Where one failed, or this program is interrupted, the others would wait for it.
        for process in started:
            process.kill()
            process.wait()
    return Scaling(
        setting,
        sum(values["input_rate"] for values in found),
        max(values["step"] for values in found),
        max(values["waiting"] for values in found),
    )


def _result(process: subprocess.Popen[str], setting: Setting) -> dict[str, float]:
    output, errors = process.communicate()
    if process.returncode:
        last = (errors.strip() or "without a word").splitlines()[-1]
        raise RuntimeError(f"a process of {setting} failed: {last}")
    return json.loads(output.splitlines()[-1])


def tiny_loss(params: Any, batch_stats: Any, batch: Any) -> tuple[Any, Any]:
    """A loss whose network is one linear map of every pixel's colour; see `ranet_jax.training.step.LossFunction`."""
    from ranet_jax.training.losses import mask_loss, masks_of_labels

    valid, image = batch["valid"], batch["images"][:, -1].astype(jnp.float32) / 128.0 - 1.0
    logits = jnp.einsum("bhwc,cn->bhwn", image, params["head"]["kernel"])
    return mask_loss(logits, masks_of_labels(batch["labels"][:, -1], valid.shape[1]), valid), {}


def run_task(task: Task) -> dict[str, float]:
    """One process's part of a row: its `input_rate`, `step` and `waiting`, see `Scaling`."""
    jax.config.update("jax_num_cpu_devices", task.setting.devices)
    if task.address:
        jax.distributed.initialize(task.address, task.setting.processes, task.index)

    from jax.experimental import multihost_utils

    from eval.benchmarks.input_side import davis_batches, time_loop
    from ranet_jax.data.pipeline import measure_pipeline
    from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
    from ranet_jax.training.parallel import data_parallel
    from ranet_jax.training.step import StepFunction, initial_state, train_step

    config, processes = load_config(RECIPE), task.setting.processes
    make = functools.partial(
        davis_batches,
        config,
        pathlib.Path(task.davis),
        batch_size=task.batch_size // processes,
        process_index=task.index,
        process_count=processes,
        threads=task.setting.threads,
    )
    multihost_utils.sync_global_devices("all processes make batches at the same time")
    rate = measure_pipeline(make(), task.seconds)
    multihost_utils.sync_global_devices("and only then train")
    function = StepFunction(tiny_loss, build_optimizer(OptimizerConfig(), steps=1000), ema_decay=0.999)
    step = data_parallel(functools.partial(train_step, function=function), config.backend)
    kernel = jnp.zeros((3, config.data.sample.max_objects))
    state = step.place_state(initial_state({"params": {"head": {"kernel": kernel}}}, function.optimizer))
    timing = time_loop(step, state, make(), task.steps)
    return {"input_rate": rate, "step": timing.seconds, "waiting": timing.waiting}


def main(text: str) -> None:
    """Runs one process of a row and prints what it found, in JSON."""
    values = json.loads(text)
    task = Task(**(values | {"setting": Setting(**values["setting"])}))
    print(json.dumps(run_task(task)))


if __name__ == "__main__":
    main(sys.argv[1])
