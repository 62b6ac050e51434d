"""Training checkpoints, and the order in which a run is resumed. The only module that knows Orbax's manager.

A checkpoint is a folder named after the steps done:

    500/
        state/          the train state after that step, written by Orbax
        data/           the position of the data iterator after the batch of that step, one file for each process
        config/         what decides the run
        sums/           the metrics summed since the last report
        digests.json    SHA-256 of every file above

It is written in the background, appears whole by a rename, digests included, and the newest are kept.

Order of a run, whether it is new or was killed at any moment:

1. The initial state is built: its shapes, dtypes and shardings are what is restored into.
2. The newest checkpoint whose files are what was written replaces the state's values and sets the iterator's position.
   Newer ones, which are damaged, are said and set aside; remains of an unfinished save are removed.
3. The next batch is drawn, the step runs, and after every `checkpoint_every` steps state and iterator are saved
   before another batch is drawn.

So the steps after a restart see the batches and the weights that they would have seen without it.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain.checkpoint
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import make_folder
from ranet_jax.io.digests import damaged_files, digests
from ranet_jax.training.step import TrainState

DIGESTS = "digests.json"
_CHANGED = "start again in another --workdir, or undo the change"
_NONE, _ALL_DAMAGED = -1, -2


class Position(NamedTuple):
    """Where a data iterator stood: saved as the iterator itself would be, whatever happened to it since."""

    state: Any

    def get_state(self) -> bytes:
        """As grain's checkpoints write it."""
        return json.dumps(self.state, indent=4).encode()


class Restored(NamedTuple):
    """What a run continues from.

    Attributes:
        state: the train state.
        sums: total and count of each metric since the last report, by name.
    """

    state: TrainState
    sums: dict[str, list[float]]


class Checkpoints:
    """The checkpoints of one run, in a folder.

    Use it as a context manager: leaving it waits for the save in progress.
    """

    def __init__(self, folder: str | pathlib.Path, *, keep: int, config: dict[str, Any]):
        """Opens or creates the folder.

        Args:
            folder: where the checkpoints lie.
            keep: how many of the newest stay.
            config: what decides the run, as JSON values; a checkpoint of another is refused.

        Raises:
            InputError: the folder cannot be created.
        """
        # Orbax reports every file it touches, and a failed save with its traceback before it raises the error.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").addFilter(_not_of_orbax)
        self._config = config
        self._folder = make_folder(folder).resolve()
        self._saving: int | None = None
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and jax.process_count() > 1:
            # The others end too, without having finished their part of the save that would be waited for.
            return
        self.wait()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Number of steps done in the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, iterator: Any, sums: Mapping[str, Sequence[float]] | None = None) -> None:
        """Saves the state after a step and the iterator as it stands; returns before the files are written.

        Args:
            state: may be donated to the next step at once.
            iterator: a grain iterator, or a `Position`.
            sums: total and count of each metric since the last report, by name; none by default.

        Raises:
            InputError: the save before this one, or this one, cannot be written.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        # A copy: writing goes on in the background while the next step reuses the state's own buffers.
        arrays = {name: jnp.copy(leaf) for name, leaf in _named_leaves(state).items()}
        with self._writing():
            self._manager.wait_until_finished()
            self._saving = step
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays),
                    data=grain.checkpoint.CheckpointSave(iterator),
                    config=ocp.args.JsonSave(self._config),
                    sums=ocp.args.JsonSave(dict(sums or {})),
                ),
            )

    def restore(self, state: TrainState, iterator: Any) -> Restored:
        """What the newest undamaged checkpoint holds; sets the iterator's position.

        Newer ones are damaged: one line on standard error names each, and it is set aside as `STEP.damaged`, which
        nothing reads.

        Args:
            state: the initial state: shapes, dtypes and shardings of the result; returned where there is no checkpoint.
            iterator: a grain iterator over the same data; changed.

        Raises:
            InputError: all checkpoints are damaged, or the newest other one belongs to another configuration, or was
                written by another version or number of processes.
        """
        self.wait()
        step = self._choose()
        if step is None:
            return Restored(state, {})
        where = self._folder / str(step)
        stored = _read_json(where / "config" / "metadata")
        if changed := _differences(stored, self._config):
            raise InputError(f"{self._folder} holds a run with another config ({'; '.join(changed[:3])}): {_CHANGED}")
        leaves = _named_leaves(state)
        target = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) for name, leaf in leaves.items()
        }
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                restored = checkpointer.restore(where / "state", target)
            grain.checkpoint.CheckpointHandler().restore(where / "data", iterator)
        except Exception as error:
            # Its files are what was written: this is no damage, and the checkpoints before it would fare no better.
            raise InputError(f"{where}: does not fit this run ({_reason(error)}): {_CHANGED}") from error
        sums = _read_json(where / "sums" / "metadata")
        return Restored(jax.tree.unflatten(jax.tree.structure(state), [restored[name] for name in leaves]), sums)

    def wait(self) -> None:
        """Blocks until the save in progress is complete.

        Raises:
            InputError: it cannot be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:  # Orbax and TensorStore raise either for a full disk
            step, self._saving = self._saving, None
            raise InputError(
                f"{self._folder}: the checkpoint of step {step} cannot be written ({_reason(error)}): "
                "make room or give permission, then the same command continues from the one before"
            ) from error

    def _seal(self) -> None:
        """Adds the digests to a checkpoint that is written whole but has not appeared yet."""
        if jax.process_index():
            return
        (written,) = self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        # What lies beside the items says when the checkpoint was committed, which has not happened, and nothing more.
        files = {name: digest for name, digest in digests(written).items() if "/" in name}
        (written / DIGESTS).write_text(json.dumps(files, indent=1) + "\n")

    def _choose(self) -> int | None:
        """The newest undamaged checkpoint, the same in every process; None where there is none at all."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        chosen, damage = _NONE, {}
        if not jax.process_index() and steps:
            for step in steps:
                if (what := _damage(self._folder / str(step))) is None:
                    chosen = step
                    break
                damage[step] = what
            else:
                chosen = _ALL_DAMAGED
            if chosen != _ALL_DAMAGED:
                for step, what in damage.items():
                    self._set_aside(step, what, chosen)
        if jax.process_count() > 1:
            # One decision: files may still be arriving while several look at them.
            chosen = int(multihost_utils.broadcast_one_to_all(np.int32(chosen)))
        if chosen == _ALL_DAMAGED:
            what = damage.get(steps[0], "as the first process found")
            raise InputError(
                f"{self._folder / str(steps[0])}: the checkpoint is damaged or cut off ({what}), as are all before it: "
                "copy one of them again, or start in another --workdir"
            )
        self._manager.reload()
        return None if chosen == _NONE else chosen

    def _set_aside(self, step: int, what: str, instead: int) -> None:
        damaged = self._folder / str(step)
        aside = damaged.with_name(f"{step}.damaged")
        print(
            f"{damaged}: the checkpoint is damaged or cut off ({what}): set aside as {aside.name}, "
            f"continuing from {instead}",
            file=sys.stderr,
            flush=True,
        )
        shutil.rmtree(aside, ignore_errors=True)
        damaged.rename(aside)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    """Leaves out what asyncio says of the tasks that Orbax gives up after one has failed: the error is raised, too."""
    return "orbax" not in record.getMessage()


def _damage(folder: pathlib.Path) -> str | None:
    """What is wrong with a checkpoint's files; None if they are those that were written."""
    try:
        expected = _read_json(folder / DIGESTS)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        return f"it has no {DIGESTS}" if missing else f"{DIGESTS} cannot be read"
    if not isinstance(expected, dict) or not expected:
        return f"{DIGESTS} cannot be read"
    damaged = damaged_files(folder, expected)
    return damaged[0] if damaged else None


def _read_json(file: pathlib.Path) -> Any:
    return json.loads(file.read_text())


def _reason(error: BaseException) -> str:
    """What an error says, short enough for a message: the operating system's words, where they are in it."""
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _named_leaves(state: TrainState) -> dict[str, jax.Array]:
    """The state as one flat dictionary: independent of the optimizer's container types."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _differences(stored: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """`name: stored value, now value` of every leaf in which two nested dictionaries differ."""
    changed = []
    for name in sorted(set(stored) | set(given)):
        old, new = stored.get(name), given.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changed += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            changed.append(f"{prefix}{name} was {old!r}, now {new!r}")
    return changed
