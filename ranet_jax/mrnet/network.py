"""MRNet: a recurrent encoder-decoder that is given the most helpful past mask (Mask-Ranking Network, ACCV 2020)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int32

from ranet_jax.backbones import backbone, mask_stem
from ranet_jax.mrnet.config import MRNetConfig
from ranet_jax.mrnet.decoder import Encoded, RefinementDecoder, pooled_masks
from ranet_jax.mrnet.mask_ranking import (
    Selected,
    average_over_objects,
    candidate_frames,
    choose,
    similarity_map,
)
from ranet_jax.nn import compute_dtype, foreground_present, join_objects, split_objects, upsample
from ranet_jax.tracker.presence import drop_unconnected

PRESENT = 0.5


class Memory(NamedTuple):
    """All that a video's past leaves behind, of fixed size: the state of tracking, and the carry of training's scan.

    h w is the matching grid; m is n, or 1 where all objects share a frame's features; r is the ring buffer's length.

    Attributes:
        first_feature: F of frame 0, in the compute dtype.
        first_mask: M of frame 0, float32.
        features: F of the last r frames, frame s in slot s modulo r.
        masks: M of the last r frames, float32; all zero for an object that no pixel shows.
        previous: probabilities of the previous frame, float32 in [0, 1]; of frame 0 its annotation.
        valid: which objects there are; the others are padding.
        time: number of the frame that comes next, 1 at first.
    """

    first_feature: Float[Array, "b m h w c"]
    first_mask: Float[Array, "b n h w"]
    features: Float[Array, "r b m h w c"]
    masks: Float[Array, "r b n h w"]
    previous: Float[Array, "b height width n"]
    valid: Bool[Array, "b n"]
    time: Int32[Array, ""]


class MRNet(nn.Module):
    """The network. Parameters are float32, intermediate features the compute dtype, scores and logits float32.

    Example:
        >>> from ranet_jax.weights import initial_variables
        >>> config = MRNetConfig.lite(backbone="resnet_micro", input_size=(64, 96))
        >>> model, image, masks = MRNet(config), jnp.zeros((1, 64, 96, 3)), jnp.ones((1, 64, 96, 2))
        >>> variables = initial_variables(config)
        >>> apply = jax.jit(model.apply, static_argnames="method")
        >>> memory = apply(variables, image, masks, method="start")
        >>> memory, logits, found = apply(variables, memory, image, method="step")
        >>> logits.shape, found["selected"].frame.tolist(), int(memory.time)
        ((1, 64, 96, 2), [[0, 0]], 2)
    """

    config: MRNetConfig = MRNetConfig()

    def setup(self) -> None:
        """Builds the parts that the configuration names."""
        config = self.config
        dtype = compute_dtype(config.dtype)
        self.backbone = backbone(config.backbone, norm=config.backbone_norm, dtype=dtype)
        if config.mask_input == "stem":
            self.mask_stem = mask_stem(self.backbone)
        self.decoder = RefinementDecoder(config, dtype)

    def encode(self, image: Float[Array, "b height width 3"], masks: Float[Array, "b height width n"]) -> Encoded:
        """Encodes a normalised frame with its masks: the previous frame's, or frame 0's own.

        Args:
            image: see `ranet_jax.backbones.normalise`; sizes are multiples of 32.
            masks: in [0, 1]; not read here where `mask_input` is "decoder".

        Returns:
            Features of every object, or of the image alone.
        """
        addition = None
        if self.config.mask_input == "stem":
            addition = self.mask_stem(join_objects(jnp.moveaxis(masks, -1, 1))[..., None])
        pyramid = self.backbone(image, addition)
        # By this name, a rollout's gradient can ask for them to be kept (`ranet_jax.training.mrnet`).
        pyramid = jax.tree.map(lambda x: checkpoint_name(x, "pyramid"), pyramid)
        feature = pyramid.c5
        if self.config.matching_stride == 16:
            feature = jnp.concatenate([pyramid.c4, upsample(pyramid.c5, 2)], axis=-1)
        finer = pyramid[-2::-1] if self.config.matching_stride == 32 else pyramid[-3::-1]
        skips = finer[: len(self.config.decoder_features) - 1]
        return Encoded(skips, split_objects(feature, image.shape[0]))

    def start(
        self,
        image: Float[Array, "b height width 3"],
        masks: Float[Array, "b height width n"],
        frames: int | None = None,
    ) -> Memory:
        """The state after frame 0.

        Args:
            image: the normalised frame.
            masks: its annotation, in [0, 1]; an all-zero mask is padding.
            frames: how many frames follow at most: the ring buffer then has no slots that they cannot use. None: any.
        """
        config = self.config
        encoded = self.encode(image, masks)
        slots = config.history
        if frames is not None:
            # The last frame is compared with no more than these: the oldest must lie after frame 0.
            slots = min(slots, max(0, frames - 1) // config.interval * config.interval)
        mask = pooled_masks(masks, (encoded.feature.shape[2], encoded.feature.shape[3]))
        return Memory(
            first_feature=encoded.feature,
            first_mask=mask,
            features=jnp.zeros((slots, *encoded.feature.shape), encoded.feature.dtype),
            masks=jnp.zeros((slots, *mask.shape), jnp.float32),
            previous=masks.astype(jnp.float32),
            valid=foreground_present(masks),
            time=jnp.ones((), jnp.int32),
        )

    def select(self, memory: Memory, feature: Float[Array, "b m h w c"]) -> Selected:
        """Ranks the past masks for the frame whose F is given, and chooses one for each object."""
        slots, interval = memory.features.shape[0], self.config.interval
        frames, exists = candidate_frames(memory.time, slots // interval, interval)
        similarities, masks = [similarity_map(memory.first_feature, feature, memory.first_mask)], [memory.first_mask]
        for i in range(1, slots // interval + 1):
            # One candidate at a time: together, they would be a copy of a fifth of the ring buffer.
            slot = jnp.mod(frames[i], slots)
            past, mask = (jax.lax.dynamic_index_in_dim(x, slot, 0, False) for x in (memory.features, memory.masks))
            similarities.append(similarity_map(past, feature, mask))
            masks.append(mask)
        return choose(jnp.stack(similarities, axis=2), jnp.stack(masks, axis=2), frames, exists)

    def decode(self, memory: Memory, encoded: Encoded, selected: Selected | None) -> Float[Array, "b height width n"]:
        """Float32 logits of every object by itself; `selected` is None without the Mask-Ranking Module."""
        maps: tuple[jax.Array, ...] = ()
        if selected is not None:
            maps = (selected.mask,)
            if self.config.similarity_map:
                maps = (average_over_objects(selected.similarity, memory.valid), selected.mask)
        return self.decoder(encoded, memory.previous, memory.first_feature, memory.first_mask, maps)

    def step(
        self, memory: Memory, image: Float[Array, "b height width 3"]
    ) -> tuple[Memory, Float[Array, "b height width n"], dict[str, Any]]:
        """Segments the next frame: the one step of tracking and of training.

        Args:
            memory: after the frame before.
            image: the normalised frame.

        Returns:
            The memory after it; float32 logits of every object against everything else, after soft aggregation where
            `merging` is "softmax", before `parts` drops anything; and by name: `encoded`, `object_logits` (before
            aggregation), `selected` (which past frame was chosen for each object, and by what; absent without the
            Mask-Ranking Module).
        """
        encoded = self.encode(image, memory.previous)
        selected = self.select(memory, encoded.feature) if self.config.mask_ranking else None
        object_logits = self.decode(memory, encoded, selected)
        logits = aggregate(object_logits, memory.valid) if self.config.merging == "softmax" else object_logits
        found: dict[str, Any] = {"encoded": encoded, "object_logits": object_logits}
        if selected is not None:
            found["selected"] = selected
        probability = jax.nn.sigmoid(logits) * memory.valid[:, None, None].astype(jnp.float32)
        if self.config.parts == "connected":
            probability = jax.vmap(drop_unconnected)(probability, memory.previous)
        return self._remember(memory, encoded.feature, probability), logits, found

    def _remember(self, memory: Memory, feature: jax.Array, probability: jax.Array) -> Memory:
        memory = memory._replace(previous=probability, time=memory.time + 1)
        slots = memory.features.shape[0]
        if not slots:
            return memory
        # Soft masks are nowhere quite zero: an object that no pixel shows has none, or noise would be compared.
        shown = jnp.max(probability, axis=(1, 2)) >= PRESENT
        mask = pooled_masks(probability, (feature.shape[2], feature.shape[3]))
        mask = mask * shown[..., None, None].astype(jnp.float32)
        write = lambda ring, x: jax.lax.dynamic_update_index_in_dim(ring, x, jnp.mod(memory.time - 1, slots), 0)
        return memory._replace(features=write(memory.features, feature), masks=write(memory.masks, mask))

    def __call__(
        self, image: Float[Array, "b height width 3"], masks: Float[Array, "b height width n"]
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Segments a frame that is its own frame 0, which is how `init(key, image, masks)` builds the parameters."""
        _, logits, found = self.step(self.start(image, masks), image)
        return logits, found
