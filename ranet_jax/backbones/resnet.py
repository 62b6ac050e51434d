"""ResNet (He et al., CVPR 2016) as both networks use it: stride on the 3x3 convolution, explicit symmetric padding."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.backbones.pyramid import Pyramid, with_addition
from ranet_jax.nn import Convolution, FrozenBatchNorm, InstanceNorm, residual_relu

NORMS = {"instance": InstanceNorm, "batch": FrozenBatchNorm}
EXPANSION = 4


def resnet_stem(width: int, dtype: Any, **arguments: Any) -> Convolution:
    """The 7x7 convolution with stride 2 that everything starts with; `arguments` are a module's further ones."""
    return Convolution(width, 7, 2, use_bias=False, dtype=dtype, **arguments)


class ResidualBlock(nn.Module):
    """1x1 down, 3x3, 1x1 up, each followed by a norm; a projection shortcut where the shape changes."""

    planes: int
    stride: int
    project: bool
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hout wout cout"]:
        """Returns `planes * 4` channels at 1/stride of the input's size."""
        norm = NORMS[self.norm]
        conv = lambda features, size, stride, name: Convolution(
            features, size, stride, use_bias=False, dtype=self.dtype, name=name
        )
        y = nn.relu(norm(name="norm1")(conv(self.planes, 1, 1, "convolution1")(x)))
        y = nn.relu(norm(name="norm2")(conv(self.planes, 3, self.stride, "convolution2")(y)))
        y = norm(name="norm3")(conv(self.planes * EXPANSION, 1, 1, "convolution3")(y))
        if self.project:
            x = norm(name="shortcut_norm")(conv(self.planes * EXPANSION, 1, self.stride, "shortcut_convolution")(x))
        return residual_relu(x, y)


class ResNet(nn.Module):
    """Stem and four stages of bottleneck blocks.

    Attributes:
        stage_sizes: blocks of the four stages; (3, 4, 23, 3) is ResNet-101.
        norm: "instance" (learned scale and bias, no running statistics) or "batch" (frozen statistics).
        width: planes of the stem and the first stage; each later stage doubles them.
        dtype: compute dtype; parameters are float32.
    """

    stage_sizes: tuple[int, int, int, int]
    norm: str = "instance"
    width: int = 64
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
        x = resnet_stem(self.width, self.dtype, name="stem")(image)
        x = with_addition(x, addition)
        c1 = nn.relu(NORMS[self.norm](name="stem_norm")(x))
        x = nn.max_pool(c1, (3, 3), (2, 2), ((1, 1), (1, 1)))
        stages = [c1]
        for stage, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 0 else 1
                planes = self.width * 2**stage
                name = f"stage{stage + 1}_block{block}"
                x = ResidualBlock(planes, stride, block == 0, self.norm, self.dtype, name=name)(x)
            stages.append(x)
        return Pyramid(*stages)
