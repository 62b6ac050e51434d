"""RANet: Siamese encoder, correlation, Ranking Attention Module, decoder (ICCV 2019)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ranet_jax.backbones import Pyramid, backbone
from ranet_jax.nn import (
    HeadConvolution,
    adaptive_average_pool,
    compute_dtype,
    foreground_present,
    l2_normalise,
    max_pool_2x2,
    upsample,
)
from ranet_jax.ranet.config import RANetConfig
from ranet_jax.ranet.correlation import correlate
from ranet_jax.ranet.decoder import DECODERS
from ranet_jax.ranet.ranking import Ranked, Ranking, branch_weights, oriented


class Features(NamedTuple):
    """An encoded frame: the backbone's pyramid, and the l2-normalised float32 feature that frames are matched with."""

    pyramid: Pyramid
    matching: Float[Array, "b h w c"]

    @property
    def maps(self) -> tuple[Float[Array, "b _h _w _c"], ...]:
        """What tells an object from its background: c1 to c4 and the matching feature."""
        return (*self.pyramid[:4], self.matching)


class Memory(NamedTuple):
    """What is kept of the reference frames, one after another; its size never grows.

    Attributes:
        feature: matching feature pooled to the template grid (after normalisation, not normalised again), row-major.
        weights: area of each label at each position in [0, 1], background first.
        known: whose mask each of the r references gives; t is r times the template grid.
    """

    feature: Float[Array, "b t c"]
    weights: Float[Array, "b t labels"]
    known: Bool[Array, "b r n"]

    def with_references_of(self, other: "Memory") -> "Memory":
        """This memory with another's references: all that there is."""
        return other


class MatchingHead(nn.Module):
    """c3, c4 and c5 to one l2-normalised feature at the matching stride (spec section 2)."""

    config: RANetConfig

    @nn.compact
    def __call__(self, pyramid: Pyramid) -> Float[Array, "b h w c"]:
        """Returns float32 features of unit length."""
        config, dtype = self.config, compute_dtype(self.config.dtype)
        head = lambda features, name: HeadConvolution(features, config.matching_kernel_size, dtype=dtype, name=name)
        f3, f4, f5 = (
            head(features, f"head_c{level}")(c)
            for level, features, c in zip((3, 4, 5), config.matching_head_features, pyramid[2:], strict=True)
        )
        if config.matching_stride == 16:
            f3, f5 = max_pool_2x2(f3), upsample(f5, 2)
        else:
            f4, f5 = upsample(f4, 2), upsample(f5, 4)
        joined = jnp.concatenate([l2_normalise(f) for f in (f3, f4, f5)], axis=-1)
        return l2_normalise(head(config.matching_features, "head_all")(joined))


class ConcatenatedFeatures(nn.Module):
    """Stands in for correlation and ranking in the ablation -CL: both frames' features, projected, a branch each."""

    config: RANetConfig

    @nn.compact
    def __call__(self, memory: Memory, matching: Float[Array, "b h w c"]) -> Ranked:
        """References' features enter at their own place, weighted by the branch's mask, next to the current ones."""
        b, h, w, c = matching.shape
        weights = branch_weights(memory.weights, memory.known, self.config)
        n, k, r = weights.shape[1], self.config.kept_maps, memory.known.shape[1]
        masked = memory.feature[:, None, None] * weights[..., None]
        masked = jnp.sum(masked.reshape(b, n, 2, r, -1, c), axis=3) / r
        grid = oriented(self.config.template_grid, matching)
        masked = jax.image.resize(masked.reshape(-1, *grid, c), (b * n * 2, h, w, c), "bilinear")
        current = jnp.repeat(matching, n * 2, axis=0)
        head = HeadConvolution(k, 1, dtype=compute_dtype(self.config.dtype), name="head")
        maps = head(jnp.concatenate([current, masked], axis=-1)).astype(jnp.float32)
        none = jnp.zeros((b, n, 2, k), jnp.float32)
        return Ranked(maps.reshape(b, n, 2, h, w, k), none.astype(jnp.int32), none)


class RANet(nn.Module):
    """The network; its methods are what the tracker asks of any network, and the stages they are made of.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from ranet_jax.ranet import RANet, RANetConfig
        >>> from ranet_jax.weights import initial_variables
        >>> config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), hints=0)
        >>> model = RANet(config)
        >>> image, masks = jnp.zeros((1, 64, 96, 3)), jnp.ones((1, 64, 96, 2))
        >>> @jax.jit
        ... def segment(variables, first, masks, current):
        ...     apply = lambda method, *arguments: model.apply(variables, *arguments, method=method)
        ...     memory = apply("remember", apply("encode", first), masks)
        ...     logits, reading = apply("read", memory, apply("encode", current), masks)
        ...     return jax.nn.sigmoid(logits), reading["ranked"].order
        >>> probability, order = segment(initial_variables(config), image, masks, image)
        >>> probability.shape, order.shape
        ((1, 64, 96, 2), (1, 2, 2, 128))
    """

    config: RANetConfig = RANetConfig()

    def setup(self) -> None:
        """Builds the parts that the configuration names."""
        config = self.config
        dtype = compute_dtype(config.dtype)
        self.backbone = backbone(config.backbone, norm=config.backbone_norm, dtype=dtype)
        self.matching_head = MatchingHead(config)
        if config.correlation:
            self.ranking = Ranking(config, dtype)
        else:
            self.concatenated = ConcatenatedFeatures(config)
        self.decoder = DECODERS[config.decoder](config, dtype)

    def encode(
        self, image: Float[Array, "b height width 3"], previous: Float[Array, "b height width n"] | None = None
    ) -> Features:
        """Encodes normalised frames (see `ranet_jax.backbones.normalise`); sizes are multiples of 32.

        Args:
            image: the frames.
            previous: of no use to this network's encoder.
        """
        pyramid = self.backbone(image)
        return Features(pyramid, self.matching_head(pyramid))

    def empty(self, seen: Features, objects: int, references: int, frames: int | None = None) -> Memory:
        """Memory without any reference.

        Args:
            seen: any frame, for its shapes.
            objects: how many there is room for.
            references: how many there is room for.
            frames: of no use to this network, which remembers references only.
        """
        b, *_, c = seen.matching.shape
        t = references * self.config.template_grid[0] * self.config.template_grid[1]
        return Memory(
            jnp.zeros((b, t, c)), jnp.zeros((b, t, objects + 1)), jnp.zeros((b, references, objects), jnp.bool_)
        )

    def write_reference(
        self,
        memory: Memory,
        seen: Features,
        masks: Float[Array, "b height width n"],
        known: Bool[Array, "b n"],
        slot: Int[Array, ""] | int,
    ) -> Memory:
        """Memory with a reference frame in a slot, instead of what was there.

        Args:
            memory: so far.
            seen: the frame.
            masks: all objects in it, in [0, 1], disjoint.
            known: whose masks are given; the others are the tracker's own.
            slot: which, from 0.
        """
        grid = oriented(self.config.template_grid, seen.matching)
        feature = adaptive_average_pool(seen.matching, grid).reshape(
            memory.feature.shape[0], -1, seen.matching.shape[-1]
        )
        labels = jnp.concatenate([1.0 - jnp.sum(masks, axis=-1, keepdims=True), masks], axis=-1)
        weights = adaptive_average_pool(labels, grid).reshape(*feature.shape[:2], -1)
        if memory.known.shape[1] == 1:
            return Memory(feature, weights, known[:, None])
        write = lambda all_of_them, own, place: jax.lax.dynamic_update_slice_in_dim(all_of_them, own, place, axis=1)
        first = slot * feature.shape[1]
        return Memory(
            write(memory.feature, feature, first),
            write(memory.weights, weights, first),
            write(memory.known, known[:, None], slot),
        )

    def write_recent(self, memory: Memory, seen: Features, masks: Float[Array, "b height width n"]) -> Memory:
        """The memory as it is: of frames that were segmented, this network keeps the previous mask alone."""
        return memory

    def remember(self, seen: Features, masks: Float[Array, "b height width n"]) -> Memory:
        """Memory with one reference, every object of which is given; one without any foreground is padding."""
        memory = self.empty(seen, masks.shape[-1], 1)
        return self.write_reference(memory, seen, masks, foreground_present(masks), 0)

    def read(
        self,
        memory: Memory,
        seen: Features,
        previous: Float[Array, "b height width n"],
        hints: Float[Array, "b n h8 w8 hints"] | None = None,
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Segments a frame.

        Args:
            memory: with the references.
            seen: the frame.
            previous: masks of the frame before, in [0, 1].
            hints: as many maps at 1/8 as the config says; None where it says 0.

        Returns:
            Float32 logits of every object by itself, and by name: `similarity` (b, h, w, t), `rank_score` (raw),
            `ranked`, `merged`, `level1`, `level2`. What a caller does not use, jit leaves out.
        """
        ranked, ranking = self.rank(memory, seen.matching)
        logits, decoding = self.decode(seen.pyramid, ranked, previous, hints)
        return logits, {"ranked": ranked} | ranking | decoding

    def rank(self, memory: Memory, matching: Float[Array, "b h w c"]) -> tuple[Ranked, dict[str, jax.Array]]:
        """Correlates a frame with the references and keeps the best maps of every object."""
        if not self.config.correlation:
            return self.concatenated(memory, matching), {}
        similarity = correlate(memory.feature, matching)
        ranked, raw = self.ranking(similarity, memory.weights, memory.known)
        return ranked, {"similarity": similarity, "rank_score": raw}

    def decode(
        self,
        pyramid: Pyramid,
        ranked: Ranked,
        previous: Float[Array, "b height width n"],
        hints: Float[Array, "b n h8 w8 hints"] | None = None,
    ) -> tuple[Float[Array, "b height width n"], dict[str, jax.Array]]:
        """Float32 logits of every object, and the decoder's intermediates.

        Args:
            pyramid: of the current frame.
            ranked: its similarity maps, from `rank`.
            previous: masks in [0, 1]; ignored where the config says so.
            hints: see `read`.
        """
        if not self.config.previous_mask:
            previous = jnp.zeros_like(previous)
        if hints is None and self.config.hints:
            # How `init` builds the parameters; a tracker whose config lacks what this one reads is refused before.
            hints = jnp.zeros((*ranked.maps.shape[:2], *pyramid.c3.shape[1:3], self.config.hints))
        return self.decoder(pyramid, ranked.maps, previous, hints)

    def __call__(
        self, image: Float[Array, "b height width 3"], masks: Float[Array, "b height width n"]
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Segments a frame that is its own reference, which is how `init(key, image, masks)` builds the parameters."""
        seen = self.encode(image)
        return self.read(self.remember(seen, masks), seen, masks)
