"""Compute dtypes, and parameters that are quick to trace."""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp


def compute_dtype(name: str) -> jnp.dtype:
    """The dtype activations are computed in.

    Args:
        name: "float32", "bfloat16", or "auto": bfloat16 on an accelerator, float32 on a CPU.

    Returns:
        The dtype; "auto" is resolved against JAX's default backend, so once per process.
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)


def parameter(module: nn.Module, name: str, initializer: Any, shape: tuple[int, ...]) -> jax.Array:
    """A float32 parameter of a module: Flax's `param`, but quick to trace where the parameter exists.

    Flax finds the shape that a parameter should have by tracing its initializer: a third of the time of tracing a step,
    and so of a command's start when its program is compiled already.

    Raises:
        flax.errors.ScopeParamShapeError: the stored parameter has another shape.
    """
    if not module.has_variable("params", name):
        return module.param(name, initializer, shape, jnp.float32)
    stored: jax.Array = module.get_variable("params", name)
    if stored.shape != shape:
        raise flax.errors.ScopeParamShapeError(name, "/".join(module.path), stored.shape, shape)
    return stored
