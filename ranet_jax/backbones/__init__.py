"""Image encoders with one interface: normalised image (b, H, W, 3) -> `Pyramid` of features at 1/2 ... 1/32."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ranet_jax.backbones.efficientnet import EfficientNetLite0, MaskStem
from ranet_jax.backbones.pyramid import Pyramid
from ranet_jax.backbones.resnet import ResNet, resnet_stem
from ranet_jax.errors import InputError

__all__ = ["BACKBONES", "EfficientNetLite0", "Pyramid", "ResNet", "backbone", "mask_stem", "normalise"]

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet50": partial(ResNet, stage_sizes=(3, 4, 6, 3)),
    "resnet101": partial(ResNet, stage_sizes=(3, 4, 23, 3)),
    # One narrow block a stage: the same code at a cost that tests can pay.
    "resnet_micro": partial(ResNet, stage_sizes=(1, 1, 1, 1), width=8),
    "efficientnet_lite0": EfficientNetLite0,
}

_IMAGENET_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_IMAGENET_DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)


def backbone(name: str, *, norm: str, dtype: Any = jnp.float32) -> nn.Module:
    """Builds an encoder.

    Args:
        name: a key of `BACKBONES`.
        norm: "instance" or "batch" (frozen statistics).
        dtype: compute dtype.

    Raises:
        InputError: there is no such backbone, or it has no such norm.
    """
    if name not in BACKBONES:
        raise InputError(f"no backbone is called {name!r}: choose one of {', '.join(sorted(BACKBONES))}")
    if name == "efficientnet_lite0":
        if norm != "batch":
            raise InputError(f"efficientnet_lite0 has frozen batch norm only: set backbone_norm='batch', not {norm!r}")
        return BACKBONES[name](dtype=dtype)
    return BACKBONES[name](norm=norm, dtype=dtype)


def mask_stem(encoder: nn.Module) -> nn.Module:
    """The fourth channel of an encoder's stem, as a module of its own: masks (m, H, W, 1) -> the encoder's `addition`.

    A convolution over [image, mask] is the sum of the image's and the mask's. Apart, the image's is computed once for
    all masks of an image, ImageNet weights load as they are, and the mask's can learn where the encoder is frozen. Its
    kernel starts at zero, so that the features are at first those of the image alone.

    Args:
        encoder: from `backbone`.
    """
    if isinstance(encoder, EfficientNetLite0):
        return MaskStem(encoder.dtype)
    assert isinstance(encoder, ResNet), "a backbone without a known stem"
    return resnet_stem(encoder.width, encoder.dtype, kernel_init=nn.initializers.zeros)


def normalise(image: Float[Array, "*b h w 3"] | UInt8[Array, "*b h w 3"], name: str) -> Float[Array, "*b h w 3"]:
    """Brings RGB values of 0..255 to what a backbone was trained on, float32.

    ResNets: RGB in [0, 1], minus ImageNet's mean, over its deviation. EfficientNet-Lite: (x - 127) / 128.
    """
    values = image.astype(jnp.float32)
    if name == "efficientnet_lite0":
        return (values - 127.0) / 128.0
    axes = (None,) * (image.ndim - 1)
    return (values / 255.0 - _IMAGENET_MEAN[axes]) / _IMAGENET_DEVIATION[axes]
