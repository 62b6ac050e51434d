"""Which parts of a prediction are believed: one decision for each connected component of each object.

No part of the papers. What looks like an object mostly stands apart from it, and while an object is hidden, the mask
before leads the network to whatever hides it. How much likeness a component needs depends on where it lies:

    touching the object's previous mask   the object must be recognised there as a whole: have `likeness` of what it
                                          usually has, or be too small to judge
    near such a component                 `near_likeness`: what comes out from behind something is apart at first
    elsewhere                             nothing, unless no component touches the previous mask: then the densest one,
                                          if it is recognised: so an object comes back

Likeness is the target model's (`ranet_jax.tracker.target.likeness`); without one, components are judged by place alone.
A pixel that another object is more probable in is that one's, and says nothing of this one's likeness.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Shaped

from ranet_jax.nn import window_sum
from ranet_jax.nn.config import check_values


@dataclasses.dataclass(frozen=True)
class Presence:
    """How components are judged.

    Attributes:
        cell: pixels of the network's output along a cell's side; components are told apart on cells.
        density_cells: cells along the side of the square around a cell that says how dense a prediction is there.
        near_cells: cells within which a component is near another.
        likeness: least mean likeness of an object in its place, or of one that comes back, as a share of what it
            usually has.
        least_usual: what that is taken for at least, and 1 at most: an object that looks less and less like its
            references is less and less expected to.
        near_likeness: least mean likeness of a component near what is kept.
        judged_cells: of 1/8 that an object must fill to be judged by its looks where it was before.
        blank_deviation: of a frame's values (0 to 255) below which it shows nothing.
    """

    cell: int = 4
    density_cells: int = 11
    near_cells: int = 15
    likeness: float = 0.5
    least_usual: float = 0.5
    near_likeness: float = 0.9
    judged_cells: int = 12
    blank_deviation: float = 2.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is not of its field's type.
        """
        check_values(self, "tracker field presence.")


def decide(
    config: Presence,
    probability: Float[Array, "h w n"],
    previous: Float[Array, "h w n"],
    likeness: Float[Array, "h8 w8 n"] | None,
    usual: Float[Array, "n"] | None = None,
) -> Float[Array, "h w n"]:
    """Clears the components of every object's prediction that are not believed.

    What the rule gets wrong: an object that has left its old place altogether is dropped if anything that looks like it
    is there.

    Args:
        config: how they are judged.
        probability: in [0, 1]; h and w are multiples of `cell`. Above 0.5 is foreground (with soft aggregation, a pixel
            can be the object's with less, and is not dropped then).
        previous: masks of the previous frame, in [0, 1], in the same geometry; above 0.5 is foreground.
        likeness: of a coarser grid's cells, a whole number of `cell` a side; None judges by place alone.
        usual: likeness that each object had in the frames before; 1 if None.
    """
    share = _cell_shares(config, (probability > 0.5).astype(jnp.float32))
    before = _cell_shares(config, (previous > 0.5).astype(jnp.float32))
    cells = share > 0
    labels = connected_components(cells)
    touching = cells & (before > 0)
    in_place = _of_components(labels, touching)
    moved = jnp.any(touching, axis=(0, 1))
    if likeness is None:
        kept = jnp.where(moved[None, None], in_place, _of_components(labels, densest_cells(config, cells)))
        return _cleared(config, probability, cells & ~kept)
    own = probability == jnp.max(probability, axis=-1, keepdims=True)
    share = _cell_shares(config, ((probability > 0.5) & own).astype(jnp.float32))
    scores = _enlarged(likeness, share.shape[0] // likeness.shape[0]) * share
    weight = config.cell**2 * (likeness.shape[0] * likeness.shape[1]) / (probability.shape[0] * probability.shape[1])
    # In place, the object is judged as a whole: parts of it are less alike than it is.
    found = jnp.where(moved[None, None], in_place, _of_components(labels, densest_cells(config, cells)))
    area, total = (jnp.sum(jnp.where(found, x, 0.0), axis=(0, 1)) for x in (share, scores))
    least = config.likeness * (1.0 if usual is None else jnp.clip(usual, config.least_usual, 1.0))
    small = jnp.any(before > 0, axis=(0, 1)) & (area * weight < config.judged_cells)
    recognised = (total > least * area) | small
    kept = found & recognised[None, None]
    near = window_sum(kept.astype(jnp.float32), 2 * config.near_cells + 1) > 0
    alike = _mean_of_components(labels, share, scores) > config.near_likeness
    kept |= _of_components(labels, cells & near & alike)
    return _cleared(config, probability, cells & ~kept)


def connected_components(cells: Bool[Array, "h w n"]) -> Int32[Array, "h w n"]:
    """A number for each component of four neighbours, from 1, 0 outside: that of its last cell in row-major order.

    A round hands the highest number around to each cell and to the cell that its own number is of, and looks up what
    that one has by now. The number of rounds is fixed, as an accelerator must ask the host nothing: it is the binary
    length of the number of cells, and 10 are enough for a snake through 64x112.

    Args:
        cells: of every object.
    """
    h, w, n = cells.shape
    numbers = jnp.arange(1, h * w + 1, dtype=jnp.int32).reshape(h, w, 1)

    def spread(_: jax.Array, labels: jax.Array) -> jax.Array:
        padded = jnp.pad(labels, ((1, 1), (1, 1), (0, 0)))
        rows, columns = padded[:, 1:-1], padded[1:-1]
        highest = jnp.maximum(jnp.maximum(rows[:-2], rows[2:]), jnp.maximum(columns[:, :-2], columns[:, 2:]))
        highest = jnp.where(cells, jnp.maximum(labels, highest), 0)
        flat = lambda x: jnp.moveaxis(x, -1, 0).reshape(n, h * w)
        handed = jax.vmap(lambda own, new: jnp.zeros(h * w + 1, jnp.int32).at[own].max(new))(
            flat(labels), flat(highest)
        )
        labels = _looked_up(labels, handed)
        return _looked_up(labels, jnp.pad(flat(labels), ((0, 0), (1, 0))))

    return jax.lax.fori_loop(0, (h * w).bit_length(), spread, jnp.where(cells, numbers, 0))


def densest_cells(config: Presence, cells: Bool[Array, "h w n"]) -> Bool[Array, "h w n"]:
    """Of every object's cells those with the most others of its in a square of `density_cells` around them."""
    around = window_sum(cells.astype(jnp.float32), config.density_cells)
    around = jnp.where(cells, around, 0.0)
    return cells & (around == jnp.max(around, axis=(0, 1), keepdims=True))


def _of_components(labels: Int32[Array, "h w n"], seeds: Bool[Array, "h w n"]) -> Bool[Array, "h w n"]:
    """All cells of the components that have a seed."""
    total = _summed(labels, (seeds & (labels > 0)).astype(jnp.float32))
    return (_looked_up(labels, total) > 0) & (labels > 0)


def _mean_of_components(
    labels: Int32[Array, "h w n"], weight: Float[Array, "h w n"], values: Float[Array, "h w n"]
) -> Float[Array, "h w n"]:
    """At every cell the sum of its component's values over that of its weights."""
    total, count = (_summed(labels, x) for x in (values, weight))
    return _looked_up(labels, total / jnp.maximum(count, jnp.finfo(jnp.float32).tiny))


def _summed(labels: Int32[Array, "h w n"], values: Float[Array, "h w n"]) -> Float[Array, "n numbers"]:
    h, w, n = labels.shape
    columns = lambda x: jnp.moveaxis(x, -1, 0).reshape(n, h * w)
    add = lambda number, value: jnp.zeros(h * w + 1, jnp.float32).at[number].add(value)
    return jax.vmap(add)(columns(labels), columns(values))


def _looked_up(labels: Int32[Array, "h w n"], values: Shaped[Array, "n numbers"]) -> Shaped[Array, "h w n"]:
    return jax.vmap(lambda number, value: value[number], in_axes=(2, 0), out_axes=2)(labels, values)


def _cell_shares(config: Presence, masks: Float[Array, "h w n"]) -> Float[Array, "rows columns n"]:
    """How much of each cell a mask covers."""
    h, w, n = masks.shape
    c = config.cell
    assert h % c == w % c == 0, f"{h}x{w} is not a multiple of {c}"
    return jnp.mean(masks.reshape(h // c, c, w // c, c, n), axis=(1, 3))


def _enlarged(x: Array, factor: int) -> Array:
    return jnp.repeat(jnp.repeat(x, factor, axis=0), factor, axis=1)


def _cleared(
    config: Presence, probability: Float[Array, "h w n"], dropped: Bool[Array, "rows columns n"]
) -> Float[Array, "h w n"]:
    return jnp.where(_enlarged(dropped, config.cell), 0.0, probability)
