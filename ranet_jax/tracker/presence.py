"""Connected components of a prediction that touch the previous mask: distractors that only look alike do not."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ranet_jax.nn import window_sum

CELL = 4
"""Pixels of the network's output along a cell's side: parts are told apart on cells."""
DENSITY_CELLS = 11
"""Cells along the side of the square around a cell that says how dense a prediction is there."""
NEAR_CELLS = 15
"""Cells around what is kept within which a part that looks like the object is kept, too."""


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
    around = window_sum(cells.astype(jnp.float32), DENSITY_CELLS)
    around = jnp.where(cells, around, 0.0)
    return cells & (around == jnp.max(around, axis=(0, 1), keepdims=True))


def drop_unconnected(
    probability: Float[Array, "h w n"],
    previous: Float[Array, "h w n"],
    familiar: Bool[Array, "rows columns n"] | None = None,
) -> Float[Array, "h w n"]:
    """Clears the parts of every object's prediction that share no cell with its previous mask.

    On held-out videos this was worth 2 points of J&F, and parts that begin near that mask rather than on it less
    (docs/results.md): what looks like the object mostly stands apart from it.

    An object that is nowhere in its place, or had none, may have come back elsewhere: the part around its densest cell
    is kept. Everything would let in what else looks like it for good, as from the next frame on it belongs to the mask.

    What comes out from behind something is apart from the rest at first: a part is kept, too, that is no further than
    `NEAR_CELLS` from what is kept and has a familiar cell there.

    What the rule gets wrong: without familiar cells such a part stays away until it touches the rest; and an object
    that has left its old place altogether is dropped if anything that looks like it is there.

    Args:
        probability: in [0, 1]; h and w are multiples of `CELL`. Above 0.5 is foreground (where `merging` is "softmax",
            a pixel can be the object's with less, and is not dropped then).
        previous: masks of the previous frame, in [0, 1], in the same geometry; above 0.5 is foreground.
        familiar: cells of a coarser grid, a whole number of `CELL` a side, that look like the object; none if None.
    """
    h, w, n = probability.shape
    assert h % CELL == w % CELL == 0, f"{h}x{w} is not a multiple of {CELL}"
    pooled = lambda x: jnp.max(x.reshape(h // CELL, CELL, w // CELL, CELL, n), axis=(1, 3))
    cells = pooled(probability) > 0.5
    touching = cells & (pooled(previous) > 0.5)
    seeds = jnp.where(jnp.any(touching, axis=(0, 1))[None, None], touching, densest_cells(cells))
    kept = connected_cells(cells, seeds)
    if familiar is not None:
        near = window_sum(kept.astype(jnp.float32), 2 * NEAR_CELLS + 1) > 0
        kept |= connected_cells(cells, near & _enlarged(familiar, h // CELL // familiar.shape[0]))
    dropped = cells & ~kept
    return jnp.where(_enlarged(dropped, CELL), 0.0, probability)


def _enlarged(x: Bool[Array, "h w n"], factor: int) -> Bool[Array, "height width n"]:
    return jnp.repeat(jnp.repeat(x, factor, axis=0), factor, axis=1)
