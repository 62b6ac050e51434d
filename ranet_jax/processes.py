"""Several processes that do one thing together: how a program joins the others, and how they end together."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from ranet_jax.errors import InputError


def start_distributed(option: str | None) -> None:
    """Connects this process to the others of the run; before JAX is used.

    Args:
        option: "auto" on a TPU pod or under Slurm; else the address of the first process, how many there are, and
            which this is, from 0, as "HOST:PORT,COUNT,INDEX"; None for one process.

    Raises:
        InputError: the option is not of its form.
    """
    if option is None:
        return
    if option == "auto":
        jax.distributed.initialize()
        return
    try:
        address, count, index = option.split(",")
        jax.distributed.initialize(address, int(count), int(index))
    except ValueError as error:
        raise InputError(f"--distributed {option}: give auto, or HOST:PORT,COUNT,INDEX") from error


def together(work: Callable[[], Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Does every process's part of the work, waits for all parts, and puts their values together.

    Args:
        work: this process's part; gives float32 values to some of the names.
        names: all of them, the same in every process.

    Returns:
        The values of all processes, in every process, in the order of `names`.

    Raises:
        InputError: another process failed.
        Exception: whatever `work` raises; the other processes then end, too.
    """
    # Connections have shorter time limits than work may take, so they are made before it.
    multihost_utils.sync_global_devices("start")
    values: Mapping[str, float] = {}
    failure = None
    try:
        values = work()
    except Exception as error:  # the others wait for this process
        failure = error
    row = np.array([*(values.get(name, np.nan) for name in names), failure is not None], np.float32)
    rows = np.asarray(multihost_utils.process_allgather(row)).reshape(-1, row.size)
    if failure is not None:
        raise failure
    if len(failed := np.flatnonzero(rows[:, -1])):
        raise InputError(f"process {', '.join(map(str, failed))} of {len(rows)} failed: see what it says")
    present = {name: column[~np.isnan(column)] for name, column in zip(names, rows.T[:-1], strict=True)}
    return {name: float(column[0]) for name, column in present.items() if column.size}
