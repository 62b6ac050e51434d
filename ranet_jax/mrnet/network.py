"""MRNet: a recurrent encoder-decoder that is given the most helpful past mask (Mask-Ranking Network, ACCV 2020)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, Int32

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


class Memory(NamedTuple):
    """All that a video's past leaves behind, of fixed size: the state of tracking, and the carry of training's scan.

    h w is the matching grid; m is n, or 1 where all objects share a frame's features; s is the ring buffer's length.

    Attributes:
        reference_features: F of the r reference frames (the paper's frame 0), in the compute dtype.
        reference_masks: M of them, float32.
        reference_frames: their numbers.
        known: whose mask each of them gives.
        features: F of the last s frames, frame t in slot t modulo s.
        masks: M of the last s frames, float32; all zero for an object that no pixel shows.
        time: number of the frame that comes next.
    """

    reference_features: Float[Array, "r b m h w c"]
    reference_masks: Float[Array, "r b n h w"]
    reference_frames: Int32[Array, "r"]
    known: Bool[Array, "b r n"]
    features: Float[Array, "s b m h w c"]
    masks: Float[Array, "s b n h w"]
    time: Int32[Array, ""]

    def with_references_of(self, other: "Memory") -> "Memory":
        """This memory with another's references, of the same frames."""
        return self._replace(reference_features=other.reference_features, reference_masks=other.reference_masks)

    @property
    def valid(self) -> Bool[Array, "b n"]:
        """Which objects there are; the others are padding."""
        return jnp.any(self.known, axis=1)


class MRNet(nn.Module):
    """The network; its methods are what the tracker asks of any network, and the stages they are made of.

    Parameters are float32, intermediate features the compute dtype, scores and logits float32.

    Examples:
        >>> from ranet_jax.weights import initial_variables
        >>> config = MRNetConfig.lite(backbone="resnet_micro", input_size=(64, 96))
        >>> model, image, masks = MRNet(config), jnp.zeros((1, 64, 96, 3)), jnp.ones((1, 64, 96, 2))
        >>> @jax.jit
        ... def segment(variables, first, masks, current):
        ...     apply = lambda method, *arguments: model.apply(variables, *arguments, method=method)
        ...     memory = apply("remember", apply("encode", first, masks), masks)
        ...     logits, reading = apply("read", memory, apply("encode", current, masks), masks)
        ...     return logits, reading["selected"].frame
        >>> logits, chosen = segment(initial_variables(config), image, masks, image)
        >>> logits.shape, chosen.tolist()
        ((1, 64, 96, 2), [[0, 0]])
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

    def encode(self, image: Float[Array, "b height width 3"], previous: Float[Array, "b height width n"]) -> Encoded:
        """Encodes a normalised frame with its masks: the previous frame's, or a reference's own.

        Args:
            image: see `ranet_jax.backbones.normalise`; sizes are multiples of 32.
            previous: masks in [0, 1]; not read here where `mask_input` is "decoder".

        Returns:
            Features of every object, or of the image alone.
        """
        addition = None
        if self.config.mask_input == "stem":
            addition = self.mask_stem(join_objects(jnp.moveaxis(previous, -1, 1))[..., None])
        pyramid = self.backbone(image, addition)
        # By this name, a rollout's gradient can ask for them to be kept (`ranet_jax.training.rollout`).
        pyramid = jax.tree.map(lambda x: checkpoint_name(x, "pyramid"), pyramid)
        feature = pyramid.c5
        if self.config.matching_stride == 16:
            feature = jnp.concatenate([pyramid.c4, upsample(pyramid.c5, 2)], axis=-1)
        finer = pyramid[-2::-1] if self.config.matching_stride == 32 else pyramid[-3::-1]
        skips = finer[: len(self.config.decoder_features) - 1]
        maps = tuple(pyramid) if addition is None else ()
        return Encoded(skips, split_objects(feature, image.shape[0]), maps)

    def empty(self, seen: Encoded, objects: int, references: int, frames: int | None = None) -> Memory:
        """Memory without any frame; the next one has number 0.

        Args:
            seen: any frame, for its shapes.
            objects: how many there is room for.
            references: how many there is room for.
            frames: how many frames follow the first at most: the ring buffer then has no slots that they cannot use.
                None: any number.
        """
        config, (b, _, h, w, _) = self.config, seen.feature.shape
        slots = config.history
        if frames is not None:
            # The last frame is compared with no more than these: the oldest must lie after frame 0.
            slots = min(slots, max(0, frames - 1) // config.interval * config.interval)
        features = lambda count: jnp.zeros((count, *seen.feature.shape), seen.feature.dtype)
        masks = lambda count: jnp.zeros((count, b, objects, h, w), jnp.float32)
        return Memory(
            reference_features=features(references),
            reference_masks=masks(references),
            reference_frames=jnp.zeros(references, jnp.int32),
            known=jnp.zeros((b, references, objects), jnp.bool_),
            features=features(slots),
            masks=masks(slots),
            time=jnp.zeros((), jnp.int32),
        )

    def write_reference(
        self,
        memory: Memory,
        seen: Encoded,
        masks: Float[Array, "b height width n"],
        known: Bool[Array, "b n"],
        slot: Int[Array, ""] | int,
    ) -> Memory:
        """Memory with the newest frame as a reference in a slot, instead of what was there.

        Args:
            memory: so far, the frame among the recent ones.
            seen: the frame, encoded with its own masks.
            masks: all objects in it, in [0, 1], disjoint.
            known: whose masks are given; the others are the tracker's own.
            slot: which, from 0.
        """
        mask = pooled_masks(masks, (seen.feature.shape[2], seen.feature.shape[3]))
        write = lambda all_of_them, own: jax.lax.dynamic_update_index_in_dim(all_of_them, own, slot, 0)
        return memory._replace(
            reference_features=write(memory.reference_features, seen.feature),
            reference_masks=write(memory.reference_masks, mask),
            reference_frames=write(memory.reference_frames, memory.time - 1),
            known=jax.lax.dynamic_update_index_in_dim(memory.known, known, slot, 1),
        )

    def write_recent(self, memory: Memory, seen: Encoded, masks: Float[Array, "b height width n"]) -> Memory:
        """Memory with the next frame and its masks, in [0, 1], in the ring buffer."""
        slots, time = memory.features.shape[0], memory.time
        memory = memory._replace(time=time + 1)
        if not slots:
            return memory
        # Soft masks are nowhere quite zero: an object that no pixel shows has none, or noise would be compared.
        shown = jnp.max(masks, axis=(1, 2)) >= self.config.present
        mask = pooled_masks(masks, (seen.feature.shape[2], seen.feature.shape[3]))
        mask = mask * shown[..., None, None].astype(jnp.float32)
        write = lambda ring, x: jax.lax.dynamic_update_index_in_dim(ring, x, jnp.mod(time, slots), 0)
        return memory._replace(features=write(memory.features, seen.feature), masks=write(memory.masks, mask))

    def remember(self, seen: Encoded, masks: Float[Array, "b height width n"], frames: int | None = None) -> Memory:
        """Memory after frame 0, every object of which is given; one without any foreground is padding."""
        memory = self.write_recent(self.empty(seen, masks.shape[-1], 1, frames), seen, masks)
        return self.write_reference(memory, seen, masks, foreground_present(masks), 0)

    def select(self, memory: Memory, feature: Float[Array, "b m h w c"]) -> Selected:
        """Ranks references and past masks for the frame whose F is given, and chooses one for each object."""
        slots, interval = memory.features.shape[0], self.config.interval
        frames, exists = candidate_frames(memory.time, slots // interval, interval)
        similarities = [
            similarity_map(past, feature, mask)
            for past, mask in zip(memory.reference_features, memory.reference_masks, strict=True)
        ]
        masks = list(memory.reference_masks)
        for i in range(1, slots // interval + 1):
            # One candidate at a time: together, they would be a copy of a fifth of the ring buffer.
            slot = jnp.mod(frames[i], slots)
            past, mask = (jax.lax.dynamic_index_in_dim(x, slot, 0, False) for x in (memory.features, memory.masks))
            similarities.append(similarity_map(past, feature, mask))
            masks.append(mask)
        given = jnp.swapaxes(memory.known, 1, 2)
        recent = jnp.broadcast_to(exists[None, None, 1:], (*given.shape[:2], exists.shape[0] - 1))
        return choose(
            jnp.stack(similarities, axis=2),
            jnp.stack(masks, axis=2),
            jnp.concatenate([memory.reference_frames, frames[1:]]),
            jnp.concatenate([given, recent], axis=2),
        )

    def home(self, memory: Memory) -> tuple[Float[Array, "b m h w c"], Float[Array, "b n h w"]]:
        """F and M of each object's newest reference, which the decoder reads beside the current frame."""
        if memory.reference_features.shape[0] == 1:
            return memory.reference_features[0], memory.reference_masks[0]
        number = jnp.where(memory.known, memory.reference_frames[None, :, None], -1)
        one_hot = jax.nn.one_hot(jnp.argmax(number, axis=1), memory.known.shape[1], dtype=jnp.float32)
        features = memory.reference_features
        if features.shape[2] == 1:
            features = jnp.broadcast_to(features, (*features.shape[:2], one_hot.shape[1], *features.shape[3:]))
        feature = jnp.einsum("bnr,rbnhwc->bnhwc", one_hot.astype(features.dtype), features)
        return feature, jnp.einsum("bnr,rbnhw->bnhw", one_hot, memory.reference_masks, precision="highest")

    def read(
        self,
        memory: Memory,
        seen: Encoded,
        previous: Float[Array, "b height width n"],
        hints: Float[Array, "b n h8 w8 hints"] | None = None,
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Segments a frame.

        Args:
            memory: after the frame before.
            seen: the frame, encoded with the masks of the one before.
            previous: these masks, in [0, 1].
            hints: as many maps at 1/8 as the config says; None where it says 0.

        Returns:
            Float32 logits of every object by itself, and by name: `selected`, which past frame was chosen for each
            object, and by what (absent without the Mask-Ranking Module).
        """
        if not self.config.mask_ranking:
            return self.decode(memory, seen, previous, None, hints), {}
        selected = self.select(memory, seen.feature)
        return self.decode(memory, seen, previous, selected, hints), {"selected": selected}

    def decode(
        self,
        memory: Memory,
        seen: Encoded,
        previous: Float[Array, "b height width n"],
        selected: Selected | None,
        hints: Float[Array, "b n h8 w8 hints"] | None = None,
    ) -> Float[Array, "b height width n"]:
        """Float32 logits of every object by itself; `selected` is None without the Mask-Ranking Module."""
        maps: list[jax.Array] = []
        if selected is not None:
            if self.config.similarity_map:
                maps.append(average_over_objects(selected.similarity, memory.valid))
            maps.append(selected.mask)
        grid = (seen.feature.shape[2], seen.feature.shape[3])
        if hints is not None:
            maps += [pooled_masks(jnp.moveaxis(hint, 1, -1), grid) for hint in jnp.moveaxis(hints, -1, 0)]
        elif self.config.hints:
            # How `init` builds the parameters; a tracker whose config lacks what this one reads is refused before.
            maps += [jnp.zeros((*memory.valid.shape, *grid))] * self.config.hints
        return self.decoder(seen, previous, *self.home(memory), tuple(maps))

    def __call__(
        self, image: Float[Array, "b height width 3"], masks: Float[Array, "b height width n"]
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Segments a frame that is its own frame 0, which is how `init(key, image, masks)` builds the parameters."""
        seen = self.encode(image, masks)
        return self.read(self.remember(seen, masks), seen, masks)
