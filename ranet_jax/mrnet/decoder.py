"""MRNet's decoder: current and first features, selected similarity and mask, to one logit a pixel (section 3.3)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.mrnet.config import MRNetConfig
from ranet_jax.nn import (
    Convolution,
    HeadConvolution,
    adaptive_average_pool,
    instance_norm,
    join_objects,
    split_objects,
    upsample,
)


class Encoded(NamedTuple):
    """A frame's features, of every object (m = n) or shared by all (m = 1, `mask_input` "decoder").

    Attributes:
        skips: what the refinements read, coarse to fine.
        feature: F: what frames are compared by, and the decoder starts from.
        maps: what tells an object from its background: c1 to c5; none where every object has features of its own.
    """

    skips: tuple[Float[Array, "..."], ...]
    feature: Float[Array, "b m h w c"]
    maps: tuple[Float[Array, "..."], ...] = ()


class PreActivationBlock(nn.Module):
    """Two times instance norm, ReLU, 3x3 convolution, added to the input (He et al., ECCV 2016)."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w features"]:
        """Returns `features` channels; where that changes their number, a 1x1 convolution takes the input along."""
        y = HeadConvolution(self.features, dtype=self.dtype, name="head1")(x)
        y = HeadConvolution(self.features, dtype=self.dtype, name="head2")(y)
        if x.shape[-1] != self.features:
            x = Convolution(self.features, 1, use_bias=False, dtype=self.dtype, name="shortcut")(x)
        return x.astype(self.dtype) + y


def pooled_masks(masks: Float[Array, "b height width n"], size: tuple[int, int]) -> Float[Array, "b n h w"]:
    """Masks averaged over the area of each cell, float32: however small an object is, something of it stays."""
    return jnp.moveaxis(adaptive_average_pool(masks, size), -1, 1)


class RefinementDecoder(nn.Module):
    """A convolution over all that is known on the coarse grid, then refinements with ever finer features.

    Where the mask enters here (`mask_input` "decoder"), it stands beside every feature of its frame, pooled to its
    size, and features shared by all objects are brought to unit variance, so that masks weigh as much as they do.
    """

    config: MRNetConfig
    dtype: Any

    @nn.compact
    def __call__(
        self,
        encoded: Encoded,
        previous_masks: Float[Array, "b height width n"],
        first_feature: Float[Array, "b m h w c"],
        first_mask: Float[Array, "b n h w"],
        maps: tuple[Float[Array, "b n h w"], ...],
    ) -> Float[Array, "b height width n"]:
        """Decodes all objects of a frame.

        Args:
            encoded: the frame.
            previous_masks: the masks it was, or here is, encoded with.
            first_feature: F of each object's reference (the paper's frame 0).
            first_mask: M of it.
            maps: what the Mask-Ranking Module hands over (similarity and mask, mask, or nothing), and hints.

        Returns:
            Float32 logits of every object by itself.
        """
        config, features = self.config, self.config.decoder_features
        b, height, *_ = previous_masks.shape

        def with_masks(convolution: nn.Module, shared: list[jax.Array], own: list[jax.Array]) -> jax.Array:
            """A convolution over features, the frame's masks, and further maps (b, n, h, w) of each object."""
            joined = jnp.concatenate(shared, axis=-1)
            maps = [join_objects(x)[..., None].astype(self.dtype) for x in own]
            if config.mask_input == "stem":
                return convolution(jnp.concatenate([joined, *maps], axis=-1))
            return convolution(jnp.concatenate(maps, axis=-1), instance_norm(joined))

        late = config.mask_input == "decoder"
        grid = (encoded.feature.shape[2], encoded.feature.shape[3])
        own = [pooled_masks(previous_masks, grid), first_mask] if late else []
        start = [join_objects(encoded.feature), join_objects(first_feature)]
        if start[0].shape[0] < start[1].shape[0]:
            # Objects with references of their own, of a frame whose features they share.
            start[0] = jnp.repeat(start[0], start[1].shape[0] // start[0].shape[0], axis=0)
        conv = lambda size, name: Convolution(size, dtype=self.dtype, name=name)
        x = with_masks(conv(features[0], "start"), start, [*own, *maps])
        for i, (size, skip) in enumerate(zip(features[1:], encoded.skips, strict=True), start=1):
            own = [pooled_masks(previous_masks, (skip.shape[1], skip.shape[2]))] if late else []
            skip = with_masks(conv(size, f"skip{i}"), [skip], own)
            x = jnp.concatenate([upsample(x, 2), skip], axis=-1)
            for block in range(config.decoder_blocks):
                x = PreActivationBlock(size, self.dtype, name=f"refine{i}_block{block}")(x)
        logits = HeadConvolution(1, dtype=self.dtype, name="logit")(x).astype(jnp.float32)
        logits = upsample(logits, height // logits.shape[1])
        return jnp.moveaxis(split_objects(logits[..., 0], b), 1, -1)
