"""One training step as a pure function, for any network: gradient of a loss sum, optimizer, running average."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ranet_jax.training.losses import Mean
from ranet_jax.training.optimizer import update_average

Metrics = dict[str, Mean]


class TrainState(flax.struct.PyTreeNode):
    """All that training changes, and the constant statistics beside it.

    Attributes:
        step: number of updates done, int32.
        params: float32 master weights.
        batch_stats: statistics of the frozen batch norms; never change.
        opt_state: of the optimizer.
        ema_params: running average of `params`: what is evaluated and shipped.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The averaged weights as `model.apply` takes them."""
        return {"params": self.ema_params, "batch_stats": self.batch_stats}


LossFunction = Callable[[Any, Any, Any], tuple[Mean, Metrics]]
"""`(params, batch_stats, batch)` to the loss summed over the valid objects with their number, and further metrics."""


class StepFunction(NamedTuple):
    """A training step's parts that do not change.

    Attributes:
        loss: the loss.
        optimizer: from gradients to updates.
        ema_decay: of the running average.
        accumulate: into how many parts, one after another, a device's batch is cut to save memory. The update is that
            of the whole batch.
    """

    loss: LossFunction
    optimizer: optax.GradientTransformation
    ema_decay: float
    accumulate: int = 1


def initial_state(variables: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, from a network's variables.

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> state = initial_state({"params": {"head": jnp.zeros(3)}}, optax.sgd(0.1))
        >>> int(state.step)
        0
    """
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), variables["params"])
    statistics = jax.tree.map(jnp.asarray, variables.get("batch_stats", {}))
    # Separate buffers: a step donates its state, and one buffer cannot be donated twice.
    average = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, statistics, optimizer.init(params), average)


def train_step(
    state: TrainState, batch: Any, *, function: StepFunction, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Updates the weights once.

    Gradients are those of the loss summed over all devices, divided by the number of objects on all devices: the
    same as of the whole batch on one device, whatever is padded where.

    Args:
        state: before the step.
        batch: arrays whose first axis is this device's share of the batch.
        function: loss, optimizer and the rest.
        axis_name: mapped axis to sum over; None on a single device.

    Returns:
        The state after it, and the metrics summed over all devices: the loss function's own, `loss`, and
        `gradient_norm` before clipping.
    """
    gradient, metrics = _summed_gradient(state, batch, function)
    if axis_name is not None:
        gradient, metrics = jax.lax.psum((gradient, metrics), axis_name)
    count = jnp.maximum(metrics["loss"].count, 1.0)
    gradient = jax.tree.map(lambda g: g / count, gradient)
    metrics["gradient_norm"] = Mean(optax.tree.norm(gradient), jnp.ones(()))
    return apply_gradient(state, gradient, function), metrics


def apply_gradient(state: TrainState, gradient: Any, function: StepFunction) -> TrainState:
    """The optimizer's part of a step: the weights moved along a gradient, and their running average after that.

    Args:
        state: before the step.
        gradient: of the parameters, float32, the same on every device.
        function: of which the optimizer and the average's decay count.
    """
    updates, opt_state = function.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = update_average(state.ema_params, params, state.step, function.ema_decay)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema_params=average)


def _summed_gradient(state: TrainState, batch: Any, function: StepFunction) -> tuple[Any, Metrics]:
    def total(params: Any, part: Any) -> tuple[jax.Array, Metrics]:
        loss, metrics = function.loss(params, state.batch_stats, part)
        return loss.total, {"loss": loss, **metrics}

    def part_gradient(part: Any) -> tuple[Any, Metrics]:
        (_, metrics), gradient = jax.value_and_grad(total, has_aux=True)(state.params, part)
        return gradient, metrics

    if function.accumulate == 1:
        return part_gradient(batch)
    parts = jax.tree.map(lambda x: x.reshape(function.accumulate, -1, *x.shape[1:]), batch)
    add: Callable[[Any, Any], Any] = lambda carry, part: (jax.tree.map(jnp.add, carry, part_gradient(part)), None)
    shapes = jax.eval_shape(part_gradient, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    summed, _ = jax.lax.scan(add, zeros, parts)
    return summed
