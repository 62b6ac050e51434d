"""The Ranking Attention Module (paper section 3.3): score every similarity map, keep a static number of the best.

A map of label l is `S[..., j] * weight[l, j]` with a weight of at least 0, so its score, the maximum over space plus
the ranking term, is `weight[l, j] * max(S[..., j]) + R[l, j]`: the weighted maps of all labels are never formed.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from ranet_jax.nn import Bottleneck, HeadConvolution, adaptive_max_pool, join_objects
from ranet_jax.ranet.config import RANetConfig

SCORE_SCALE = 0.2
BACKGROUND_THRESHOLD = 0.9


class Ranked(NamedTuple):
    """The maps kept for every object; axis 2 is the branch: 0 foreground, 1 background.

    Attributes:
        maps: kept similarity maps, weighted, best first; zero where fewer than k maps have a weight.
        order: which map each was: the template position, and in multi-object mode for the background branch
            `label_slot * t + position` (label slots in ascending label order without the object itself).
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

        Args:
            pooled: correlation, max-pooled over the current frame to the template grid; t = rows * columns.

        Returns:
            Raw scores, float32, before ReLU and gate.
        """
        b, rows, columns, t = pooled.shape
        x = jnp.swapaxes(pooled.reshape(b, rows * columns, t), 1, 2).reshape(b, rows, columns, t)
        x = HeadConvolution(self.config.ranking_features, dtype=self.dtype, name="head1")(x)
        if self.config.ranking_planes:
            x = Bottleneck(self.config.ranking_planes, dilation=2, dtype=self.dtype, name="bottleneck")(x)
        x = HeadConvolution(1, dtype=self.dtype, name="head2")(x)
        return x.reshape(b, t).astype(jnp.float32)


def background_rule(weight: Float[Array, "b n t"]) -> Float[Array, "b n t"]:
    """Single-object background weight: 1 where `1 - m` is at least 0.9, else 0."""
    return (1.0 - weight >= BACKGROUND_THRESHOLD).astype(jnp.float32)


def branch_weights(weights: Float[Array, "b t labels"], objects: str) -> Float[Array, "b n 2 t"]:
    """Weight of every template position in each object's two branches.

    Args:
        weights: area of each label at each template position, background first.
        objects: "single" applies the background rule; "multi" sums the other labels' weights.
    """
    labels = jnp.swapaxes(weights, 1, 2)
    foreground = labels[:, 1:]
    if objects == "single":
        background = background_rule(foreground)
    else:
        background = jnp.sum(labels, axis=1, keepdims=True) - foreground
    return jnp.stack([foreground, background], axis=2)


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
        valid: Bool[Array, "b n"],
    ) -> tuple[Ranked, Float[Array, "b m t"]]:
        """Ranks the maps of every object.

        Args:
            similarity: correlation of the current frame with the template positions.
            weights: area of each label at each template position, background first; labels = n + 1.
            valid: which of the n objects exist; the maps of the others are never chosen as background.

        Returns:
            The kept maps, and the ranking network's raw output: one row for the whole image in multi-object mode, two
            (foreground, background) for each object in single-object mode, none without the ranking network.
        """
        if self.config.ranking == "ram":
            if self.config.objects == "single":
                return self._rank_single(similarity, weights)
            return self._rank_multi(similarity, weights, valid)
        branches = branch_weights(weights, self.config.objects)
        b, n, _, t = branches.shape
        if self.config.ranking == "none":
            maps = similarity[:, None, None] * branches[:, :, :, None, None]
            order = jnp.broadcast_to(jnp.arange(t, dtype=jnp.int32)[None, None, None], branches.shape)
        else:
            # One product at a time: the weighted maps of all objects together would be n * t * h * w values.
            strongest = lambda weight: jnp.max(similarity * weight[:, None, None], axis=-1)
            maps = jax.lax.map(strongest, jnp.moveaxis(branches.reshape(b, n * 2, t), 1, 0))
            maps = jnp.moveaxis(maps, 0, 1).reshape(b, n, 2, *similarity.shape[1:3], 1)
            order = jnp.zeros((b, n, 2, 1), jnp.int32)
        score = jnp.zeros(order.shape, jnp.float32)
        return Ranked(maps, order, score), jnp.zeros((b, 0, t), jnp.float32)

    def _pooled(self, similarity: jax.Array) -> jax.Array:
        return adaptive_max_pool(similarity, self.config.template_grid)

    def _rank_single(self, similarity: jax.Array, weights: jax.Array) -> tuple[Ranked, jax.Array]:
        branches = branch_weights(weights, "single")
        b, n, _, t = branches.shape
        pooled = self._pooled(similarity)[:, None] * branches.reshape(b, n * 2, 1, 1, t)
        raw = self.network(join_objects(pooled)).reshape(b, n, 2, t)
        term = nn.relu(raw) * (branches != 0).astype(jnp.float32) * SCORE_SCALE
        score = branches * jnp.max(similarity, axis=(1, 2))[:, None, None] + term
        ranked = self._keep(similarity, score, branches, term)
        return ranked, raw.reshape(b, n * 2, t)

    def _rank_multi(self, similarity: jax.Array, weights: jax.Array, valid: jax.Array) -> tuple[Ranked, jax.Array]:
        raw = self.network(self._pooled(similarity))
        labels = jnp.swapaxes(weights, 1, 2)
        term = nn.relu(raw)[:, None] * SCORE_SCALE * labels
        score = labels * jnp.max(similarity, axis=(1, 2))[:, None] + term
        # A padded label has no maps: below every real one, whose score can be 0.
        exists = jnp.concatenate([jnp.ones_like(valid[:, :1]), valid], axis=1)
        score = jnp.where(exists[:, :, None], score, -jnp.inf)
        b, count, t = score.shape
        n = count - 1
        slots = np.array([[label for label in range(count) if label != own] for own in range(1, count)])
        others = lambda values: values[:, slots].reshape(b, n, n * t)
        foreground = self._keep(similarity, score[:, 1:, None], labels[:, 1:, None], term[:, 1:, None])
        background = self._keep(
            similarity, others(score)[:, :, None], others(labels)[:, :, None], others(term)[:, :, None]
        )
        ranked = Ranked(*(jnp.concatenate(pair, axis=2) for pair in zip(foreground, background, strict=True)))
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
