"""Connected components of a prediction that touch the previous mask: distractors that only look alike do not."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

CELL = 4
"""Pixels of the network's output along a cell's side: parts are told apart on cells."""
DENSITY_CELLS = 11
"""Cells along the side of the square around a cell that says how dense a prediction is there."""


def connected_cells(cells: Bool[Array, "h w n"], seeds: Bool[Array, "h w n"]) -> Bool[Array, "h w n"]:
    """Geodesic dilation of the seeds: the cells they reach within h + w steps to one of four neighbours, over cells.

    The number of steps is fixed: on a CPU such a loop is faster than one that ends when nothing is added
    (docs/performance.md), and an accelerator asks the host nothing. From corner to corner it is h + w - 2 steps.

    Args:
        cells: of every object.
        seeds: of every object; those outside `cells` do nothing.
    """
    h, w, _ = cells.shape

    def grow(_: jax.Array, reached: jax.Array) -> jax.Array:
        padded = jnp.pad(reached, ((1, 1), (1, 1), (0, 0)))
        rows, columns = padded[:, 1:-1], padded[1:-1]
        return cells & (reached | rows[:-2] | rows[2:] | columns[:, :-2] | columns[:, 2:])

    return jax.lax.fori_loop(0, h + w, grow, seeds & cells)


def densest_cells(cells: Bool[Array, "h w n"]) -> Bool[Array, "h w n"]:
    """Of every object's cells those with the most others of its in a square of `DENSITY_CELLS` around them."""
    size = DENSITY_CELLS
    rows = jax.lax.reduce_window(cells.astype(jnp.float32), 0.0, jax.lax.add, (size, 1, 1), (1, 1, 1), "SAME")
    around = jax.lax.reduce_window(rows, 0.0, jax.lax.add, (1, size, 1), (1, 1, 1), "SAME")
    around = jnp.where(cells, around, 0.0)
    return cells & (around == jnp.max(around, axis=(0, 1), keepdims=True))


def drop_unconnected(probability: Float[Array, "h w n"], previous: Float[Array, "h w n"]) -> Float[Array, "h w n"]:
    """Clears the parts of every object's prediction that share no cell with its previous mask.

    On held-out videos this was worth 2 points of J&F, and parts that begin near that mask rather than on it less
    (docs/results.md): what looks like the object mostly stands apart from it.

    An object that is nowhere in its place, or had none, may have come back elsewhere: the part around its densest cell
    is kept. Everything would let in what else looks like it for good, as from the next frame on it belongs to the mask.

    What the rule gets wrong: a piece that comes out from behind something, apart from the rest, stays away until it
    touches it; and an object that has left its old place altogether is dropped if anything that looks like it is there.

    Args:
        probability: in [0, 1]; h and w are multiples of `CELL`. Above 0.5 is foreground (where `merging` is "softmax",
            a pixel can be the object's with less, and is not dropped then).
        previous: masks of the previous frame, in [0, 1], in the same geometry; above 0.5 is foreground.
    """
    h, w, n = probability.shape
    assert h % CELL == w % CELL == 0, f"{h}x{w} is not a multiple of {CELL}"
    pooled = lambda x: jnp.max(x.reshape(h // CELL, CELL, w // CELL, CELL, n), axis=(1, 3))
    cells = pooled(probability) > 0.5
    touching = cells & (pooled(previous) > 0.5)
    seeds = jnp.where(jnp.any(touching, axis=(0, 1))[None, None], touching, densest_cells(cells))
    dropped = cells & ~connected_cells(cells, seeds)
    kept = 1.0 - dropped.astype(probability.dtype)
    return probability * jnp.repeat(jnp.repeat(kept, CELL, axis=0), CELL, axis=1)
