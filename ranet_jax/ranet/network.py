"""RANet: Siamese encoder, correlation, Ranking Attention Module, decoder (ICCV 2019)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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
from ranet_jax.ranet.ranking import Ranked, Ranking, branch_weights
from ranet_jax.tracker.target import TARGET_GAIN, TargetMemory, fit_target_model, second_view, target_scores


class Features(NamedTuple):
    """An encoded frame: the backbone's pyramid, and the l2-normalised float32 feature that frames are matched with."""

    pyramid: Pyramid
    matching: Float[Array, "b h w c"]


def split_features(features: Features, parts: int) -> list[Features]:
    """Features of a batch of several sets of frames, set by set."""
    leaves, structure = jax.tree.flatten(features)
    split = [jnp.split(leaf, parts) for leaf in leaves]
    return [jax.tree.unflatten(structure, [part[i] for part in split]) for i in range(parts)]


class Template(NamedTuple):
    """What is kept of the first frame.

    Attributes:
        feature: matching feature pooled to the template grid (after normalisation, not normalised again), row-major.
        weights: area of each label at each template position in [0, 1], background first.
        valid: objects that have any foreground; the others are padding.
        target: classifier of each object, and what it was fitted to; None where the config has no `target_model`.
    """

    feature: Float[Array, "b t c"]
    weights: Float[Array, "b t labels"]
    valid: Bool[Array, "b n"]
    target: TargetMemory | None = None


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
    def __call__(self, template: Template, matching: Float[Array, "b h w c"]) -> Ranked:
        """The template's features enter at their own place, weighted by the branch's mask, next to the current ones."""
        b, h, w, c = matching.shape
        weights = branch_weights(template.weights, self.config.objects)
        n, k = weights.shape[1], self.config.kept_maps
        rows, columns = self.config.template_grid
        masked = template.feature[:, None, None] * weights[..., None]
        masked = jax.image.resize(masked.reshape(-1, rows, columns, c), (b * n * 2, h, w, c), "bilinear")
        current = jnp.repeat(matching, n * 2, axis=0)
        head = HeadConvolution(k, 1, dtype=compute_dtype(self.config.dtype), name="head")
        maps = head(jnp.concatenate([current, masked], axis=-1)).astype(jnp.float32)
        none = jnp.zeros((b, n, 2, k), jnp.float32)
        return Ranked(maps.reshape(b, n, 2, h, w, k), none.astype(jnp.int32), none)


class RANet(nn.Module):
    """The network; its methods are the stages that a tracker runs apart.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from ranet_jax.networks import RANet, RANetConfig
        >>> from ranet_jax.weights import initial_variables
        >>> model = RANet(RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6)))
        >>> image, masks = jnp.zeros((1, 64, 96, 3)), jnp.ones((1, 64, 96, 2))
        >>> @jax.jit
        ... def segment(variables, first, masks, current):
        ...     template = model.apply(variables, first, masks, method="encode_template")
        ...     logits, intermediates = model.apply(variables, current, template, masks)
        ...     return jax.nn.sigmoid(logits), intermediates["ranked"].order
        >>> probability, order = segment(initial_variables(model.config), image, masks, image)
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

    def features(self, image: Float[Array, "b height width 3"]) -> Features:
        """Encodes normalised frames (see `ranet_jax.backbones.normalise`); sizes are multiples of 32."""
        pyramid = self.backbone(image)
        return Features(pyramid, self.matching_head(pyramid))

    def encode_template(
        self, image: Float[Array, "b height width 3"], masks: Float[Array, "b height width n"]
    ) -> Template:
        """Encodes the first frame with its objects' masks (in [0, 1], disjoint; an all-zero mask is padding)."""
        if not self.config.target_model:
            return self.template_from_features(self.features(image), masks)
        features, second = split_features(self.features(jnp.concatenate([image, second_view(image)])), 2)
        return self.template_from_features(features, masks, second)

    def template_from_features(
        self, features: Features, masks: Float[Array, "b height width n"], second: Features | None = None
    ) -> Template:
        """`encode_template` where the frame is encoded already.

        Args:
            features: of the first frame.
            masks: its objects, as above.
            second: features of `second_view` of it, for the target model; without them it is fitted to the frame alone.
        """
        matching = features.matching
        b, *_, c = matching.shape
        grid = self.config.template_grid
        feature = adaptive_average_pool(matching, grid).reshape(b, -1, c)
        background = 1.0 - jnp.sum(masks, axis=-1, keepdims=True)
        labels = jnp.concatenate([background, masks], axis=-1)
        weights = adaptive_average_pool(labels, grid).reshape(b, feature.shape[1], -1)
        target = None
        if self.config.target_model:
            views = [(features, masks)] if second is None else [(features, masks), (second, second_view(masks))]
            target = fit_target_model([view for view, _ in views], [view for _, view in views])
        return Template(feature, weights, foreground_present(masks), target)

    def rank(self, template: Template, matching: Float[Array, "b h w c"]) -> Ranked:
        """Correlates a frame with the template and keeps the best maps of every object."""
        return self._rank(template, matching)[0]

    def decode(
        self,
        pyramid: Pyramid,
        ranked: Ranked,
        previous_masks: Float[Array, "b height width n"],
        scores: Float[Array, "b n h8 w8"] | None = None,
    ) -> Float[Array, "b height width n"]:
        """Float32 logits of every object.

        Args:
            pyramid: of the current frame.
            ranked: its similarity maps, from `rank`.
            previous_masks: in [0, 1]; ignored where the config says so.
            scores: from `score`.
        """
        return self._decode(pyramid, ranked, previous_masks, scores)[0]

    def score(self, template: Template, features: Features) -> Float[Array, "b n h8 w8"] | None:
        """The target model's scores of a frame; None where the config has no `target_model`."""
        return None if template.target is None else target_scores(template.target.model, *features)

    def __call__(
        self,
        image: Float[Array, "b height width 3"],
        template: Template | Float[Array, "b height width n"],
        previous_masks: Float[Array, "b height width n"] | None = None,
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Segments a frame.

        Args:
            image: the normalised current frame.
            template: of the first frame; masks in its place make the frame its own template, which is how
                `init(key, image, masks)` builds the parameters.
            previous_masks: masks of the previous frame, in [0, 1]; by default `template`, where that is masks.

        Returns:
            Float32 logits, and by name: `pyramid`, `matching`, `similarity` (b, h, w, t), `rank_score` (raw),
            `ranked`, `merged`, `level1`, `level2`. What a caller does not use, jit leaves out.
        """
        features = self.features(image)
        if not isinstance(template, Template):
            previous_masks = template if previous_masks is None else previous_masks
            template = self.template_from_features(features, template)
        assert previous_masks is not None, "previous_masks may be left out only where masks stand for the template"
        ranked, ranking = self._rank(template, features.matching)
        scores = self.score(template, features)
        logits, decoding = self._decode(features.pyramid, ranked, previous_masks, scores)
        intermediates: dict[str, Any] = {**features._asdict(), "ranked": ranked}
        return logits, intermediates | ranking | decoding

    def _rank(self, template: Template, matching: jax.Array) -> tuple[Ranked, dict[str, jax.Array]]:
        if not self.config.correlation:
            return self.concatenated(template, matching), {}
        similarity = correlate(template.feature, matching)
        ranked, raw = self.ranking(similarity, template.weights, template.valid)
        return ranked, {"similarity": similarity, "rank_score": raw}

    def _decode(
        self, pyramid: Pyramid, ranked: Ranked, previous_masks: jax.Array, scores: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        if not self.config.previous_mask:
            previous_masks = jnp.zeros_like(previous_masks)
        logits, intermediates = self.decoder(pyramid, ranked.maps, previous_masks, scores)
        if scores is not None:
            enlarged = upsample(jnp.moveaxis(scores, 1, -1), previous_masks.shape[1] // scores.shape[2])
            logits = logits + TARGET_GAIN * (enlarged - 0.5)
        return logits, intermediates
