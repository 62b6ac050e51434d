"""Training checkpoints, and the order in which a run is resumed. The only module that knows Orbax's manager.

A checkpoint holds the train state after some step, the position of the data iterator after the batch of that step,
and the configuration. It is written in the background, appears by an atomic rename, and the newest are kept.

Order of a run, whether it is new or was killed at any moment:

1. The initial state is built: its shapes, dtypes and shardings are what is restored into.
2. The newest complete checkpoint, if there is one, replaces the state's values and sets the iterator's position.
   Remains of an unfinished save are ignored and removed.
3. The next batch is drawn, the step runs, and after every `checkpoint_every` steps state and iterator are saved
   before another batch is drawn.

So the steps after a restart see the batches and the weights that they would have seen without it.
"""

import logging
import pathlib
from typing import Any

import grain.checkpoint
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import make_folder
from ranet_jax.training.step import TrainState

_CHANGED = "start again in another --workdir, or undo the change"


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
        # Orbax reports every file it touches; its warnings are kept.
        logging.getLogger("absl").setLevel(logging.WARNING)
        self._config = config
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(make_folder(folder).resolve(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Number of steps done in the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, iterator: Any) -> None:
        """Saves the state after a step and the iterator as it stands; returns before the files are written.

        Args:
            state: may be donated to the next step at once.
            iterator: a grain iterator.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        # A copy: writing goes on in the background while the next step reuses the state's own buffers.
        arrays = {name: jnp.copy(leaf) for name, leaf in _named_leaves(state).items()}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                data=grain.checkpoint.CheckpointSave(iterator),
                config=ocp.args.JsonSave(self._config),
            ),
        )

    def restore(self, state: TrainState, iterator: Any) -> TrainState:
        """The newest checkpoint's state; sets the iterator's position.

        Args:
            state: the initial state: shapes, dtypes and shardings of the result; returned where there is no checkpoint.
            iterator: a grain iterator over the same data; changed.

        Raises:
            InputError: the checkpoint belongs to another configuration.
        """
        step = self.latest_step
        if step is None:
            return state
        stored = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        changed = _differences(stored, self._config)
        if changed:
            where = self._manager.directory
            raise InputError(f"{where} holds a run with another config ({'; '.join(changed[:3])}): {_CHANGED}")
        leaves = _named_leaves(state)
        target = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) for name, leaf in leaves.items()
        }
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target), data=grain.checkpoint.CheckpointRestore(iterator)
            ),
        )["state"]
        return jax.tree.unflatten(jax.tree.structure(state), [restored[name] for name in leaves])

    def wait(self) -> None:
        """Blocks until the save in progress is complete."""
        self._manager.wait_until_finished()


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
