"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, ReLU6 instead of swish.

Batch norm is frozen and padding is TensorFlow's "SAME", as its ImageNet weights expect; inputs are
`(x * 255 - 127) / 128` for x in [0, 1].
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.backbones.pyramid import Pyramid, with_addition
from ranet_jax.nn import Convolution, FrozenBatchNorm, depthwise_convolution, parameter

BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks of one stage: depthwise kernel size, stride of the first block, expansion, output channels, count."""

    kernel_size: int
    stride: int
    expansion: int
    features: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
STEM_FEATURES = 32
# The stages after which the feature map is taken: the last one before each change of stride.
PYRAMID_STAGES = (0, 1, 2, 4, 6)


def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6)."""
    return jnp.clip(x, 0.0, 6.0)


def stem_convolution(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"], dtype: Any) -> jax.Array:
    """The 3x3 convolution with stride 2 that everything starts with: "SAME" pads it below and to the right only.

    It is a 2x2 convolution without stride over blocks of 2x2 pixels (h and w are even): with four times the channels,
    of which an image has few, it takes half the time on a CPU.
    """
    b, h, w, c = x.shape
    blocks = x.astype(dtype).reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    taps = jnp.pad(kernel.astype(dtype), ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(2, 2, 2, 2, c, -1)
    return jax.lax.conv_general_dilated(
        blocks.reshape(b, h // 2, w // 2, 4 * c),
        taps.transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, -1),
        (1, 1),
        ((0, 1), (0, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class MaskStem(nn.Module):
    """The stem's kernel for a channel more than the image has; it starts at zero."""

    dtype: Any

    @nn.compact
    def __call__(self, masks: Float[Array, "m h w 1"]) -> Float[Array, "m h2 w2 d"]:
        """What masks add to the stem's output, before its norm."""
        kernel = parameter(self, "kernel", nn.initializers.zeros, (3, 3, 1, STEM_FEATURES))
        return stem_convolution(masks, kernel, self.dtype)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise k x k, linear 1x1 projection; added to the input where the shape stays."""

    stage: Stage
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hout wout cout"]:
        """Returns `stage.features` channels at 1/stride of the input's size."""
        c, k = x.shape[-1], self.stage.kernel_size
        norm = lambda name: FrozenBatchNorm(BATCH_NORM_EPSILON, name=name)
        pointwise = lambda features, name: Convolution(features, 1, use_bias=False, dtype=self.dtype, name=name)
        y = x
        if self.stage.expansion > 1:
            y = relu6(norm("expand_norm")(pointwise(c * self.stage.expansion, "expand")(y)))
        shape = (k, k, y.shape[-1])
        # He et al. 2015: a filter of one channel has k * k inputs.
        kernel = parameter(self, "depthwise", nn.initializers.normal(math.sqrt(2.0) / k), shape)
        y = relu6(norm("depthwise_norm")(depthwise_convolution(y, kernel.astype(self.dtype), self.stride)))
        y = norm("project_norm")(pointwise(self.stage.features, "project")(y))
        return x + y if self.stride == 1 and c == self.stage.features else y


class EfficientNetLite0(nn.Module):
    """Pyramid of 16, 24, 40, 112 and 320 channels; 3.4 M parameters without the classifier."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w channels"], addition: Float[Array, "m h2 w2 d"] | None = None
    ) -> Pyramid:
        """Encodes a normalised image (h and w multiples of 32).

        Args:
            image: the image.
            addition: what a `mask_stem` makes of m / b masks of each image; the pyramid then has batch m.
        """
        kernel_shape = (3, 3, image.shape[-1], STEM_FEATURES)
        kernel = parameter(self, "stem", nn.initializers.he_normal(), kernel_shape)
        x = with_addition(stem_convolution(image, kernel, self.dtype), addition)
        x = relu6(FrozenBatchNorm(BATCH_NORM_EPSILON, name="stem_norm")(x))
        outputs = []
        for index, stage in enumerate(STAGES):
            for block in range(stage.blocks):
                stride = stage.stride if block == 0 else 1
                x = InvertedResidual(stage, stride, self.dtype, name=f"stage{index}_block{block}")(x)
            outputs.append(x)
        return Pyramid(*(outputs[i] for i in PYRAMID_STAGES))
