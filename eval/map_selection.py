"""Keeping similarity maps, two ways: a gather and a product with a one-hot matrix (`--map-selection`)."""

import functools
import statistics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from ranet_jax.evaluation.speed import seconds_of
from ranet_jax.networks import RANetConfig
from ranet_jax.ranet.ranking import select_maps


def multiply_maps(maps: jax.Array, order: jax.Array, weight: jax.Array) -> jax.Array:
    """What `ranet_jax.nn.select_maps` does, by a product with a one-hot matrix, whose gradient is a product too."""
    one_hot = jax.nn.one_hot(order, maps.shape[-1], dtype=jnp.float32, axis=-1) * weight[..., None]
    return jnp.einsum("bhwt,bnkt->bnhwk", maps.astype(jnp.float32), one_hot, precision="highest")


class MapSelection(NamedTuple):
    """Median seconds of keeping maps.

    Attributes:
        shape: height, width and number of the maps of an image, and how many each branch keeps.
        batch_size: samples.
        product_forward: by a product.
        gather_forward: by a gather.
        product_gradient: value and gradient by the maps and the weights, by a product.
        gather_gradient: the same by a gather.
    """

    shape: tuple[int, int, int, int]
    batch_size: int
    product_forward: float
    gather_forward: float
    product_gradient: float
    gather_gradient: float


def measure_map_selection(config: ml_collections.ConfigDict, batch_size: int, repeats: int) -> MapSelection:
    """Times both ways, in turn, on noise of the shapes of a recipe of RANet.

    Args:
        config: of `train.ranet`; one object a sample.
        batch_size: samples, in place of the recipe's.
        repeats: timed rounds, after one that is not.
    """
    model = RANetConfig.from_dict(config.model.to_dict())
    height, width = (length // model.matching_stride for length in model.input_size)
    positions = model.template_grid[0] * model.template_grid[1]
    kept, branches, rng = min(model.kept_maps, positions), 2, np.random.default_rng(0)
    maps = jnp.asarray(rng.normal(size=(batch_size, height, width, positions)), jnp.float32)
    order = rng.permuted(np.tile(np.arange(positions, dtype=np.int32), (batch_size, branches, 1)), axis=-1)
    arguments = maps, jnp.asarray(order[..., :kept]), jnp.ones((batch_size, branches, kept))
    programs: dict[str, Any] = {}
    for name, select in (("product", multiply_maps), ("gather", select_maps)):
        total = lambda maps, order, weight, select=select: jnp.sum(jnp.square(select(maps, order, weight)))
        programs[f"{name}_forward"] = jax.jit(select)
        programs[f"{name}_gradient"] = jax.jit(jax.value_and_grad(total, argnums=(0, 2)))
    found: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):
        for name, program in programs.items():
            seconds = seconds_of(functools.partial(program, *arguments))
            found[name] += [seconds] if repeat else []
    medians = {name: statistics.median(times) for name, times in found.items()}
    return MapSelection((height, width, positions, kept), batch_size, **medians)
