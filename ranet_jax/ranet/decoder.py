"""The decoders: merge the kept maps of each branch, then refine with the pyramid (paper section 3.4)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.backbones import Pyramid
from ranet_jax.nn import (
    Bottleneck,
    Convolution,
    HeadConvolution,
    adaptive_average_pool,
    join_objects,
    split_objects,
    upsample,
)
from ranet_jax.ranet.config import RANetConfig

Intermediates = dict[str, jax.Array]


class Merge(nn.Module):
    """A branch's kept maps at 1/16 to 128 channels at 1/8; one set of parameters serves both branches."""

    dtype: Any

    @nn.compact
    def __call__(self, maps: Float[Array, "b h w k"]) -> Float[Array, "b h8 w8 128"]:
        """Doubles the maps' resolution and compresses them."""
        x = upsample(maps.astype(self.dtype), 2)
        x = HeadConvolution(256, dtype=self.dtype, name="head1")(x)
        x = Bottleneck(128, dtype=self.dtype, name="bottleneck")(x)
        return HeadConvolution(128, dtype=self.dtype, name="head2")(x)


class Skip(nn.Module):
    """Instance norm, ReLU, 1x1 convolution, corner-aligned enlargement of one pyramid feature."""

    features: int
    factor: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hout wout features"]:
        """`skip(c, features, factor)`."""
        x = HeadConvolution(self.features, 1, dtype=self.dtype, name="head")(x)
        return upsample(x, self.factor, align_corners=True)


class MultiScale(nn.Module):
    """Sum of three 3x3 convolutions of different dilation, without bias."""

    features: int
    dilations: tuple[int, int, int]
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w features"]:
        """`multiscale(c -> features)`."""
        scales = [
            Convolution(
                self.features,
                3,
                dilation=dilation,
                use_bias=False,
                dtype=self.dtype,
                name=f"convolution{i + 1}",
            )(x)
            for i, dilation in enumerate(self.dilations)
        ]
        return scales[0] + scales[1] + scales[2]


class Level(nn.Module):
    """One level of the pyramid decoder: two heads, multi-scale, bottleneck and doubling.

    Attributes:
        features: channels of head1, head2, multi-scale.
        planes: of the bottleneck.
        last: level 3 enlarges before its bottleneck and ends in the logit.
    """

    features: tuple[int, int, int]
    planes: int
    dilations: tuple[int, int, int]
    dtype: Any
    last: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "m h w c"], shared: Float[Array, "b h w d"]) -> Float[Array, "m hout wout cout"]:
        """Refines the objects' features x with `shared`, the skips common to all m / b objects of an image."""
        x = HeadConvolution(self.features[0], dtype=self.dtype, name="head1")(x, shared)
        x = HeadConvolution(self.features[1], dtype=self.dtype, name="head2")(x)
        x = MultiScale(self.features[2], self.dilations, self.dtype, name="multiscale")(x)
        bottleneck = Bottleneck(self.planes, dtype=self.dtype, name="bottleneck")
        if not self.last:
            return upsample(bottleneck(x), 2, align_corners=True)
        x = bottleneck(upsample(x, 2, align_corners=True))
        return Convolution(1, 3, dtype=self.dtype, name="logit")(x).astype(jnp.float32)


class PyramidDecoder(nn.Module):
    """The released decoder: merge at 1/8, three levels, one logit a pixel for every object."""

    config: RANetConfig
    dtype: Any

    @nn.compact
    def __call__(
        self,
        pyramid: Pyramid,
        maps: Float[Array, "b n 2 h w k"],
        previous_masks: Float[Array, "b height width n"],
        hints: Float[Array, "b n h8 w8 hints"] | None = None,
    ) -> tuple[Float[Array, "b height width n"], Intermediates]:
        """Decodes all objects of an image.

        Args:
            pyramid: of the current frame.
            maps: kept maps of both branches.
            previous_masks: of the previous frame, in [0, 1].
            hints: further maps of every object, as many as the config says; None for none.

        Returns:
            Float32 logits, and `merged` (b, n, 2, h/8, w/8, 128), `level1` and `level2` (b * n, ...).
        """
        b, n = maps.shape[:2]
        dilations, dtype = self.config.multiscale_dilations, self.dtype
        merged = Merge(dtype, name="merge")(join_objects(join_objects(maps)))
        eighth = (merged.shape[1], merged.shape[2])
        branches = jnp.moveaxis(merged.reshape(b * n, 2, *merged.shape[1:]), 1, 3).reshape(b * n, *eighth, -1)
        previous = adaptive_average_pool(previous_masks, eighth)
        previous = join_objects(jnp.moveaxis(previous, -1, 1))[..., None].astype(dtype)

        skip = lambda features, factor, name: Skip(features, factor, dtype, name=name)
        skips = lambda level, first, second, third, factors: jnp.concatenate(
            [
                skip(32, factors[0], f"skip{level}_1")(first),
                skip(16, factors[1], f"skip{level}_2")(second),
                skip(16, factors[2], f"skip{level}_3")(third),
            ],
            axis=-1,
        )
        level = lambda features, planes, name, last=False: Level(features, planes, dilations, dtype, last, name=name)
        x = jnp.concatenate([branches, previous, *_hint_channels(hints, dtype)], axis=-1)
        level1 = level((256, 256, 128), 64, "level1")(x, skips(1, pyramid.c3, pyramid.c4, pyramid.c5, (1, 2, 4)))
        level2 = level((128, 64, 32), 16, "level2")(level1, skips(2, pyramid.c2, pyramid.c3, pyramid.c4, (1, 2, 4)))
        skips3 = skips(3, pyramid.c1, pyramid.c2, pyramid.c3, (1, 2, 4))
        logits = level((64, 32, 16), 8, "level3", last=True)(level2, skips3)
        logits = jnp.moveaxis(split_objects(logits[..., 0], b), 1, -1)
        intermediates = {
            "merged": merged.reshape(b, n, 2, *merged.shape[1:]),
            "level1": level1,
            "level2": level2,
        }
        return logits, intermediates


class LiteDecoder(nn.Module):
    """The narrow decoder of `lite`: three levels at 1/8, 1/4 and 1/2; the previous mask enters the first two."""

    config: RANetConfig
    dtype: Any

    @nn.compact
    def __call__(
        self,
        pyramid: Pyramid,
        maps: Float[Array, "b n 2 h w k"],
        previous_masks: Float[Array, "b height width n"],
        hints: Float[Array, "b n h8 w8 hints"] | None = None,
    ) -> tuple[Float[Array, "b height width n"], Intermediates]:
        """Decodes all objects of an image; arguments and results as `PyramidDecoder`'s, at 1/8 for `merged`."""
        b, n = maps.shape[:2]
        head = lambda features, name, size=3: HeadConvolution(features, size, dtype=self.dtype, name=name)
        x = join_objects(join_objects(maps)).astype(self.dtype)
        if self.config.matching_stride == 16:
            x = upsample(x, 2)
        for i, features in enumerate((64, 64, 32)):
            x = head(features, f"merge{i + 1}")(x)
        merged = x.reshape(b, n, 2, *x.shape[1:])
        eighth = (x.shape[1], x.shape[2])
        branches = jnp.moveaxis(merged, 2, 4).reshape(b * n, *eighth, -1)

        def previous(size: tuple[int, int]) -> jax.Array:
            pooled = adaptive_average_pool(previous_masks, size)
            return join_objects(jnp.moveaxis(pooled, -1, 1))[..., None].astype(self.dtype)

        skips = [
            head(32, "skip1_1", 1)(pyramid.c3),
            upsample(head(32, "skip1_2", 1)(pyramid.c4), 2),
            upsample(head(32, "skip1_3", 1)(pyramid.c5), 4),
        ]
        x = jnp.concatenate([branches, previous(eighth), *_hint_channels(hints, self.dtype)], axis=-1)
        x = head(96, "level1_1")(x, jnp.concatenate(skips, axis=-1))
        x = head(64, "level1_3")(head(64, "level1_2")(x))
        level1 = upsample(x, 2)
        x = jnp.concatenate([level1, previous((level1.shape[1], level1.shape[2]))], axis=-1)
        x = head(32, "level2_2")(head(48, "level2_1")(x, head(24, "skip2", 1)(pyramid.c2)))
        level2 = upsample(x, 2)
        x = head(16, "level3_2")(head(24, "level3_1")(level2, head(16, "skip3", 1)(pyramid.c1)))
        logits = upsample(head(1, "logit")(x).astype(jnp.float32), 2)
        logits = jnp.moveaxis(split_objects(logits[..., 0], b), 1, -1)
        return logits, {"merged": merged, "level1": level1, "level2": level2}


def _hint_channels(hints: Float[Array, "b n h w hints"] | None, dtype: Any) -> list[jax.Array]:
    """Hints and their negatives, (b * n, h, w, 2 hints): a head's ReLU drops what is below the mean."""
    if hints is None:
        return []
    joined = join_objects(hints).astype(dtype)
    return [joined, -joined]


DECODERS = {"pyramid": PyramidDecoder, "lite": LiteDecoder}
