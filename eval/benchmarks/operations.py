"""Counts a program's floating-point operations in matrix products and convolutions, loops included.

XLA's own count takes the body of a loop once, however often it runs, so it is of no use for clips.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core


def matrix_operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations of all matrix products and convolutions of a function, as it is written.

    Two for each multiplication: it is added up, too. Of a convolution's gradient, zeros put between values count as
    nothing; those around its border count. The longest branch of a conditional counts, and a `while` loop as one pass.

    Args:
        function: what JAX can trace.
        arguments: its arguments, or their shapes and dtypes; nothing is computed.

    Example:
        >>> import jax.numpy as jnp
        >>> matrix_operations(lambda a: a @ a, jnp.zeros((10, 10)))
        2000.0
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> float:
    return sum(map(_count_equation, jaxpr.eqns), 0.0)


def _count_equation(equation: Any) -> float:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        left, out = equation.invars[0].aval, equation.outvars[0].aval
        (contracted, _), _ = parameters["dimension_numbers"]
        return 2.0 * out.size * math.prod(left.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = equation.invars[1].aval, equation.outvars[0].aval
        per_value = kernel.size / kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
        return 2.0 * out.size * per_value / math.prod(parameters["lhs_dilation"])
    inner = [_count(getattr(j, "jaxpr", j)) for j in jax.extend.core.jaxprs_in_params(parameters)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (parameters["length"] if name == "scan" else 1)
