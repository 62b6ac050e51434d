"""Data parallelism: one step function, compiled over all devices of all processes, by `jax.pmap` or `jax.shard_map`."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ranet_jax.errors import InputError
from ranet_jax.training.step import Metrics, TrainState

AXIS = "batch"


ParallelStep = Callable[..., tuple[TrainState, Metrics]]
"""A pure step `(state, batch, *, axis_name) -> (state, metrics)` that sums over the mapped axis itself."""


class DataParallel:
    """A compiled step whose state is whole on every device and whose batch is shared out between them.

    Both backends give the same results, on one device or many, in one process or several.

    Attributes:
        backend: "pmap" or "shard_map".
        traces: how often the step has been traced: 1 unless a shape or dtype changed on the way.
    """

    def __init__(self, step: ParallelStep, backend: Literal["pmap", "shard_map"] = "pmap"):
        """Prepares a step.

        Args:
            step: what to compile.
            backend: how.

        Raises:
            InputError: there is no such backend.
        """
        self.backend = backend
        self.traces = 0
        # What pmap takes and returns lives on this process's devices, though it runs on all.
        everywhere = Mesh(np.array(jax.devices()), (AXIS,))
        mesh = Mesh(np.array(jax.local_devices()), (AXIS,)) if backend == "pmap" else everywhere
        self._global = NamedSharding(everywhere, PartitionSpec())
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._sharded = NamedSharding(mesh, PartitionSpec(AXIS))

        def counted(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
            self.traces += 1
            return step(state, batch, axis_name=AXIS)

        if backend == "pmap":
            self._step = jax.pmap(counted, AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=(0,))
        elif backend == "shard_map":
            specs = (PartitionSpec(), PartitionSpec(AXIS))
            # The step sums its gradients itself: with the check on, autodiff would have done so before.
            mapped = jax.shard_map(counted, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
            self._step = jax.jit(mapped, donate_argnums=(0,))
        else:
            raise InputError(f"backend is {backend!r}: choose 'pmap' or 'shard_map'")

    def place_state(self, state: TrainState) -> TrainState:
        """The state whole on every device, in buffers of its own, as the step returns it: so it can be donated."""
        # Through the host: every process holds the same values, and no buffer is shared with the caller's arrays.
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(np.shape(x), self._replicated, np.array(x).__getitem__), state
        )

    def shared_state(self, state: TrainState) -> TrainState:
        """The same buffers as arrays that span all processes, which is what a checkpoint is written from.

        Args:
            state: placed by `place_state`, or returned by the step.
        """
        return jax.tree.map(
            lambda x: jax.make_array_from_single_device_arrays(
                x.shape, self._global, [shard.data for shard in x.addressable_shards]
            ),
            state,
        )

    def place_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Shares this process's part of a batch out between its devices.

        Raises:
            InputError: the part does not divide by the number of devices.
        """
        devices, size = jax.local_device_count(), len(next(iter(batch.values())))
        if size % devices:
            raise InputError(f"a batch of {size} does not divide by {devices} devices: change batch_size")
        split = lambda x: x.reshape(devices, -1, *x.shape[1:]) if self.backend == "pmap" else x
        return {
            name: jax.make_array_from_process_local_data(self._sharded, split(array)) for name, array in batch.items()
        }

    def __call__(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
        """Runs the step on placed arguments; the state is donated."""
        return self._step(state, dict(batch))


def data_parallel(step: ParallelStep, backend: Literal["pmap", "shard_map"] = "pmap") -> DataParallel:
    """Compiles `step` over all devices; see `DataParallel`."""
    return DataParallel(step, backend)
