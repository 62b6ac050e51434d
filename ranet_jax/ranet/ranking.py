"""The Ranking Attention Module (paper section 3.3): score every similarity map, keep a static number of the best.

A map of label l is `S[..., j] * weight[l, j]` with a weight of at least 0, so its score, the maximum over space plus
the ranking term, is `weight[l, j] * max(S[..., j]) + R[l, j]`: the weighted maps of all labels are never formed.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from ranet_jax.nn import Bottleneck, HeadConvolution, adaptive_max_pool, join_objects
from ranet_jax.ranet.config import RANetConfig


class Ranked(NamedTuple):
    """The maps kept for every object; axis 2 is the branch: 0 foreground, 1 background.

    Attributes:
        maps: kept similarity maps, weighted, best first; zero where fewer than k maps have a weight.
        order: which map each was: the position among those of all references, and in multi-object mode for the
            background branch `label * t + position` (labels in ascending order without the object's own).
        score: their scores, descending.
    """

    maps: Float[Array, "b n 2 h w k"]
    order: Int32[Array, "b n 2 k"]
    score: Float[Array, "b n 2 k"]


class RankingNetwork(nn.Module):
    """One raw score for each template position from how the current frame's pooled positions correlate with it."""

    config: RANetConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pooled: Float[Array, "b rows columns t"]) -> Float[Array, "b t"]:
        """Scores P viewed as an image over the template grid whose channels are current-frame positions.

        Its channels are places, so a grid that stands upright is laid on its side, rows for columns, in both frames.

        Args:
            pooled: correlation, max-pooled over the current frame to the template grid; t = rows * columns.

        Returns:
            Raw scores, float32, before ReLU and gate.
        """
        b, rows, columns, t = pooled.shape
        upright = (rows, columns) != self.config.template_grid
        if upright:
            pooled = _transposed(jnp.swapaxes(pooled, 1, 2), (rows, columns))
            rows, columns = columns, rows
        x = jnp.swapaxes(pooled.reshape(b, rows * columns, t), 1, 2).reshape(b, rows, columns, t)
        x = HeadConvolution(self.config.ranking_features, dtype=self.dtype, name="head1")(x)
        if self.config.ranking_planes:
            x = Bottleneck(self.config.ranking_planes, dilation=2, dtype=self.dtype, name="bottleneck")(x)
        x = HeadConvolution(1, dtype=self.dtype, name="head2")(x).astype(jnp.float32)
        raw = x.reshape(b, t)
        return _transposed(raw, (rows, columns)) if upright else raw


def _transposed(x: Float[Array, "*b t"], grid: tuple[int, int]) -> Float[Array, "*b t"]:
    """Positions of a grid, row by row, in the order of its columns."""
    return jnp.swapaxes(x.reshape(*x.shape[:-1], *grid), -1, -2).reshape(x.shape)


def background_rule(weight: Float[Array, "b n t"], threshold: float) -> Float[Array, "b n t"]:
    """Single-object background weight: 1 where `1 - m` is at least the threshold, else 0."""
    return (1.0 - weight >= threshold).astype(jnp.float32)


def branch_weights(
    weights: Float[Array, "b t labels"], known: Bool[Array, "b r n"], config: RANetConfig
) -> Float[Array, "b n 2 t"]:
    """Weight of every template position in each object's two branches; 0 where a reference does not show the object.

    Args:
        weights: area of each label at the positions of all r references, background first.
        known: whose mask each reference gives.
        config: "single" applies the background rule; "multi" sums the other labels' weights.
    """
    labels = jnp.swapaxes(weights, 1, 2)
    foreground = labels[:, 1:]
    if config.objects == "single":
        background = background_rule(foreground, config.background_threshold)
    else:
        background = jnp.sum(labels, axis=1, keepdims=True) - foreground
    branches = jnp.stack([foreground, background], axis=2)
    return branches * _at_positions(jnp.swapaxes(known, 1, 2), weights.shape[1])[:, :, None].astype(jnp.float32)


def _at_positions(of_references: Bool[Array, "*b r"], positions: int) -> Bool[Array, "*b t"]:
    """What holds of a reference, at each of its positions."""
    return jnp.repeat(of_references, positions // of_references.shape[-1], axis=-1)


class Ranking(nn.Module):
    """Scores, sorts and cuts the similarity maps, for the three values of the config's `ranking`."""

    config: RANetConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Builds the ranking network, where there is one."""
        if self.config.ranking == "ram":
            self.network = RankingNetwork(self.config, self.dtype)

    def __call__(
        self,
        similarity: Float[Array, "b h w t"],
        weights: Float[Array, "b t labels"],
        known: Bool[Array, "b r n"],
    ) -> tuple[Ranked, Float[Array, "b m t"]]:
        """Ranks the maps of every object over the positions of all references.

        Args:
            similarity: correlation of the current frame with the positions of all r references, one after another.
            weights: area of each label at each of them, background first; labels = n + 1.
            known: whose mask each reference gives. What an object's other pixels are in a reference that does not give
                its mask is unknown: they are neither its foreground nor its background.

        Returns:
            The kept maps, and the ranking network's raw output: one row for the whole image in multi-object mode, two
            (foreground, background) for each object in single-object mode, none without the ranking network.
        """
        if self.config.ranking == "ram":
            if self.config.objects == "single":
                return self._rank_single(similarity, weights, known)
            return self._rank_multi(similarity, weights, known)
        branches = branch_weights(weights, known, self.config)
        b, n, _, t = branches.shape
        if self.config.ranking == "none":
            # One map a place of the grid: of several references, the strongest there.
            weighted = (
                part[:, None, None] * branches[:, :, :, None, None, first : first + part.shape[-1]]
                for part, first in _parts(similarity, known.shape[1])
            )
            maps = functools.reduce(jnp.maximum, weighted)
            order = jnp.broadcast_to(
                jnp.arange(maps.shape[-1], dtype=jnp.int32)[None, None, None], (b, n, 2, maps.shape[-1])
            )
        else:
            # One product at a time: the weighted maps of all objects together would be n * t * h * w values.
            strongest = lambda weight: jnp.max(similarity * weight[:, None, None], axis=-1)
            maps = jax.lax.map(strongest, jnp.moveaxis(branches.reshape(b, n * 2, t), 1, 0))
            maps = jnp.moveaxis(maps, 0, 1).reshape(b, n, 2, *similarity.shape[1:3], 1)
            order = jnp.zeros((b, n, 2, 1), jnp.int32)
        score = jnp.zeros(order.shape, jnp.float32)
        return Ranked(maps, order, score), jnp.zeros((b, 0, t), jnp.float32)

    def _pooled(self, similarity: jax.Array, references: int) -> jax.Array:
        """Each reference's similarity over the template grid, (b, r, rows, columns, positions of one)."""
        grid = oriented(self.config.template_grid, similarity)
        pooled = [adaptive_max_pool(part, grid) for part, _ in _parts(similarity, references)]
        return jnp.stack(pooled, axis=1)

    def _rank_single(self, similarity: jax.Array, weights: jax.Array, known: jax.Array) -> tuple[Ranked, jax.Array]:
        branches = branch_weights(weights, known, self.config)
        b, n, _, t = branches.shape
        r = known.shape[1]
        pooled = self._pooled(similarity, r)[:, None] * branches.reshape(b, n * 2, r, 1, 1, t // r)
        raw = self.network(pooled.reshape(-1, *pooled.shape[3:])).reshape(b, n, 2, t)
        term = nn.relu(raw) * (branches != 0).astype(jnp.float32) * self.config.score_scale
        score = branches * jnp.max(similarity, axis=(1, 2))[:, None, None] + term
        ranked = self._keep(similarity, score, branches, term)
        return ranked, raw.reshape(b, n * 2, t)

    def _rank_multi(self, similarity: jax.Array, weights: jax.Array, known: jax.Array) -> tuple[Ranked, jax.Array]:
        b, _, _, t = similarity.shape
        pooled = self._pooled(similarity, known.shape[1])
        raw = self.network(join_objects(pooled)).reshape(b, t)
        labels = jnp.swapaxes(weights, 1, 2)
        term = nn.relu(raw)[:, None] * self.config.score_scale * labels
        score = labels * jnp.max(similarity, axis=(1, 2))[:, None] + term
        n = labels.shape[1] - 1
        own = _at_positions(jnp.swapaxes(known, 1, 2), t)
        others = np.array([[label for label in range(n + 1) if label != i] for i in range(1, n + 1)])
        # What does not exist has no map: it is below every real one, whose score can be 0.
        background = jnp.where(_background_usable(known, t), score[:, others], -jnp.inf).reshape(b, n, 1, n * t)
        foreground = jnp.where(own, score[:, 1:], -jnp.inf)[:, :, None]
        stacked = lambda values: values[:, others].reshape(b, n, 1, n * t)
        kept = (
            self._keep(similarity, foreground, labels[:, 1:, None], term[:, 1:, None]),
            self._keep(similarity, background, stacked(labels), stacked(term)),
        )
        ranked = Ranked(*(jnp.concatenate(pair, axis=2) for pair in zip(*kept, strict=True)))
        return ranked, raw[:, None]

    def _keep(self, similarity: jax.Array, score: jax.Array, weight: jax.Array, term: jax.Array) -> Ranked:
        """The best maps of m candidates a branch; candidate c is the map of template position c modulo t.

        Args:
            similarity: (b, h, w, t).
            score: (b, n, branches, m) of the candidates; -inf for one that does not exist.
            weight: their weights, same shape.
            term: their ranking terms, same shape.
        """
        b, h, w, t = similarity.shape
        n, branches = score.shape[1:3]
        score, order = jax.lax.top_k(score, min(self.config.kept_maps, score.shape[-1]))
        kept = jnp.take_along_axis(weight, order, axis=-1)
        kept = jnp.where(jnp.isneginf(score), 0.0, kept)
        if self.config.ranking_gradient == "straight_through":
            # The order has no gradient; this factor is exactly 1 and carries the score's.
            gain = jnp.take_along_axis(term, order, axis=-1)
            kept = kept * (1.0 + (gain - jax.lax.stop_gradient(gain)))
        k = order.shape[-1]
        position = (order % t).reshape(b, n * branches, k)
        maps = select_maps(similarity, position, kept.reshape(b, n * branches, k))
        maps = maps.reshape(b, n, branches, h, w, k)
        missing = self.config.kept_maps - k
        if missing:
            # Fewer positions than maps to keep: the paper's zero maps fill the rest.
            maps = jnp.pad(maps, ((0, 0),) * 5 + ((0, missing),))
            order = jnp.pad(order, ((0, 0),) * 3 + ((0, missing),))
            score = jnp.pad(score, ((0, 0),) * 3 + ((0, missing),))
        return Ranked(maps, order, jnp.where(jnp.isneginf(score), 0.0, score))


def oriented(grid: tuple[int, int], x: Float[Array, "b h w c"]) -> tuple[int, int]:
    """A grid that lies or stands as the image does: a network trained on wide images takes high ones, too."""
    wide, high = grid[0] <= grid[1], x.shape[1] > x.shape[2]
    return grid[::-1] if wide == high else grid


def _parts(similarity: Float[Array, "b h w t"], references: int) -> Iterator[tuple[jax.Array, int]]:
    """The maps of each reference, and the place of the first among all."""
    positions = similarity.shape[-1] // references
    for first in range(0, similarity.shape[-1], positions):
        yield similarity[..., first : first + positions], first


def _background_usable(known: Bool[Array, "b r n"], positions: int) -> Bool[Array, "b n others t"]:
    """Whether a label's positions in a reference are background to each object, labels as in `Ranked.order`.

    Another object's are where that reference gives either mask; background's own where it gives this object's.
    """
    n = known.shape[2]
    own = jnp.swapaxes(known, 1, 2)
    exists = jnp.any(own, axis=-1)
    either = (own[:, :, None] | own[:, None]) & exists[:, None, :, None]
    of_labels = jnp.concatenate([own[:, :, None], either], axis=2)
    others = np.array([[label for label in range(n + 1) if label != i] for i in range(1, n + 1)])
    picked = jnp.stack([of_labels[:, i, others[i]] for i in range(n)], axis=1)
    return _at_positions(picked, positions)


def map_count(config: RANetConfig) -> int:
    """How many maps each branch hands to the decoder."""
    if not config.correlation or config.ranking == "ram":
        return config.kept_maps
    return 1 if config.ranking == "maximum" else config.template_grid[0] * config.template_grid[1]


def select_maps(
    maps: Float[Array, "b h w t"], order: Int[Array, "b n k"], weight: Float[Array, "b n k"]
) -> Float[Array, "b n h w k"]:
    """Picks k of t maps for each of n objects and scales each by a weight.

    A gather: on a CPU several times faster than the product with a weighted one-hot matrix, which gives exactly the
    same, and in its gradient too (docs/log/0028).

    Args:
        maps: t maps of an image.
        order: which of them, in [0, t).
        weight: one factor for each pick.

    Returns:
        The picked maps, float32.
    """
    picked = jax.vmap(lambda own, places: jnp.take(own, places, axis=-1))(maps.astype(jnp.float32), order)
    return jnp.moveaxis(picked, 3, 1) * weight[:, :, None, None]
