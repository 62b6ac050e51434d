"""Which parts of a prediction hang together with the previous mask: distractors that only look alike do not."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

CELL = 4
"""Pixels of the network's output along a cell's side: parts are told apart on cells."""
ROUNDS = 16
"""How many turns the longest way from the previous mask through a part may take; a round costs microseconds."""


def connected_cells(
    cells: Bool[Array, "h w n"], seeds: Bool[Array, "h w n"], rounds: int = ROUNDS
) -> Bool[Array, "h w n"]:
    """The cells from which a seed can be reached through cells, by rows and columns.

    A round fills every row's run of cells that has a seed, then every column's: as many rounds as a way has turns
    are enough, where filling cell by cell would take as many as it has cells.

    Args:
        cells: of every object.
        seeds: of every object; those outside `cells` do nothing.
        rounds: a fixed number, so that an accelerator never asks the host whether to go on.
    """
    fill = lambda _, reached: _fill_runs(_fill_runs(reached, cells, 1), cells, 0)
    return jax.lax.fori_loop(0, rounds, fill, seeds & cells)


def _fill_runs(reached: jax.Array, cells: jax.Array, axis: int) -> jax.Array:
    """All cells of those runs along an axis of which one is reached."""
    size = cells.shape[axis]
    index = jax.lax.broadcasted_iota(jnp.int32, cells.shape, axis)
    # Along the axis, and against it: was a reached cell passed after the last gap?
    gap, start = (jax.lax.cummax(jnp.where(x, index, -1), axis) for x in (~cells, reached))
    gap_after, stop = (jax.lax.cummin(jnp.where(x, index, size), axis, reverse=True) for x in (~cells, reached))
    return cells & ((start > gap) | (stop < gap_after))


def drop_unconnected(probability: Float[Array, "h w n"], previous: Float[Array, "h w n"]) -> Float[Array, "h w n"]:
    """Clears the parts of every object's prediction that share no cell with its previous mask.

    On held-out videos this was worth 2 points of J&F, and parts that begin near that mask rather than on it less
    (docs/results.md): what looks like the object mostly stands apart from it.

    An object of which nothing would be left keeps everything: it may have come back elsewhere.

    Args:
        probability: in [0, 1]; h and w are multiples of `CELL`.
        previous: masks of the previous frame, 0 or 1, in the same geometry.
    """
    h, w, n = probability.shape
    pooled = lambda x: jnp.max(x.reshape(h // CELL, CELL, w // CELL, CELL, n), axis=(1, 3))
    cells = pooled(probability) > 0.5
    seeds = cells & (pooled(previous) > 0.5)
    dropped = cells & ~connected_cells(cells, seeds) & jnp.any(seeds, axis=(0, 1))[None, None]
    kept = 1.0 - dropped.astype(probability.dtype)
    return probability * jnp.repeat(jnp.repeat(kept, CELL, axis=0), CELL, axis=1)
