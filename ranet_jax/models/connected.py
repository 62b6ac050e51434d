"""Connected components of a prediction that touch the previous mask: distractors that only look alike do not."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

CELL = 4
"""Pixels of the network's output along a cell's side: parts are told apart on cells."""


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


def drop_unconnected(probability: Float[Array, "h w n"], previous: Float[Array, "h w n"]) -> Float[Array, "h w n"]:
    """Clears the parts of every object's prediction that share no cell with its previous mask.

    On held-out videos this was worth 2 points of J&F, and parts that begin near that mask rather than on it less
    (docs/results.md): what looks like the object mostly stands apart from it.

    An object of which nothing would be left keeps everything: it may have come back elsewhere. What the rule gets
    wrong: a piece that comes out from behind something, apart from the rest, stays away until it touches it; and an
    object that has left its old place altogether is dropped if anything that looks like it is there.

    Args:
        probability: in [0, 1]; h and w are multiples of `CELL`. Above 0.5 is foreground (where `merging` is "softmax",
            a pixel can be the object's with less, and is not dropped then).
        previous: masks of the previous frame, in [0, 1], in the same geometry; above 0.5 is foreground.
    """
    h, w, n = probability.shape
    assert h % CELL == w % CELL == 0, f"{h}x{w} is not a multiple of {CELL}"
    pooled = lambda x: jnp.max(x.reshape(h // CELL, CELL, w // CELL, CELL, n), axis=(1, 3))
    cells = pooled(probability) > 0.5
    seeds = cells & (pooled(previous) > 0.5)
    dropped = cells & ~connected_cells(cells, seeds) & jnp.any(seeds, axis=(0, 1))[None, None]
    kept = 1.0 - dropped.astype(probability.dtype)
    return probability * jnp.repeat(jnp.repeat(kept, CELL, axis=0), CELL, axis=1)
