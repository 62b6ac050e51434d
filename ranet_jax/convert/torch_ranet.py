"""The released RANet checkpoints (`RANet_video_single.pth`, `RANet_image_single.pth`, `RANet_video_multi.pth`)."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ranet_jax.backbones import BACKBONES
from ranet_jax.convert.entries import Entry, convolution, is_unused, read_entries, write_entries
from ranet_jax.convert.torch_backbones import resnet_entries
from ranet_jax.networks import RANet, RANetConfig

# Stored with every release, never read by its forward pass. Shapes are needed to fill them on the way out.
UNUSED_SHAPES: dict[str, tuple[int, ...]] = {
    "p_1b.2.weight": (256, 256, 3, 3),
    "p_1b.2.bias": (256,),
    "res_1b.conv1.weight": (128, 256, 1, 1),
    "res_1b.conv2.weight": (128, 128, 3, 3),
    "res_1b.conv3.weight": (256, 128, 1, 1),
    "p_2b.2.weight": (128, 256, 3, 3),
    "p_2b.2.bias": (128,),
    "rank_A.0.weight": (8, 2, 1),
    "rank_A.0.bias": (8,),
    "rank_A.1.weight": (1,),
    "rank_A.2.weight": (1, 8, 1),
    "rank_A.2.bias": (1,),
}
UNUSED = ("p_1b.", "res_1b.", "p_2b.", "rank_A.")

# Stored name of a head, a skip or a level, and where its convolution lies here. ".2" is the third layer of the stored
# norm, ReLU, convolution sequence.
_HEADS = {
    "L3": ("matching_head", "head_c3"),
    "L4": ("matching_head", "head_c4"),
    "L5": ("matching_head", "head_c5"),
    "L_g": ("matching_head", "head_all"),
    "Ranking.0": ("ranking", "network", "head1"),
    "Ranking.2": ("ranking", "network", "head2"),
    "p_1": ("decoder", "merge", "head1"),
    "p_2": ("decoder", "merge", "head2"),
    "R1.0": ("decoder", "level1", "head1"),
    "R1.1": ("decoder", "level1", "head2"),
    "R2.0": ("decoder", "level2", "head1"),
    "R2.1": ("decoder", "level2", "head2"),
    "R3.0": ("decoder", "level3", "head1"),
    "R3.1": ("decoder", "level3", "head2"),
    # Levels 1 and 2 number their skips after the pyramid, level 3 counts them.
    **{
        f"ls{level}{number}": ("decoder", f"skip{level}_{i}", "head")
        for level, numbers in ((1, (3, 4, 5)), (2, (2, 3, 4)), (3, (1, 2, 3)))
        for i, number in enumerate(numbers, start=1)
    },
}
_BOTTLENECKS = {
    "Ranking.1": ("ranking", "network", "bottleneck"),
    "res_1": ("decoder", "merge", "bottleneck"),
    "R1.3": ("decoder", "level1", "bottleneck"),
    "R2.3": ("decoder", "level2", "bottleneck"),
    # Level 3 enlarges between its multi-scale block and its bottleneck, so the bottleneck is its fifth layer.
    "R3.4": ("decoder", "level3", "bottleneck"),
}


@functools.cache
def ranet_entries() -> tuple[Entry, ...]:
    """The table of the released network."""
    sizes = BACKBONES["resnet101"].keywords["stage_sizes"]  # type: ignore[attr-defined]
    entries = resnet_entries(sizes, prefix="base_model.", path=("backbone",), statistics=False)
    for stored, path in _HEADS.items():
        entries += convolution(f"{stored}.2", ("params", *path, "convolution"))
    for stored, path in _BOTTLENECKS.items():
        for i in (1, 2, 3):
            entries += convolution(f"{stored}.conv{i}", ("params", *path, f"convolution{i}"), bias=False)
    for level in (1, 2, 3):
        for i in (1, 2, 3):
            path = ("params", "decoder", f"level{level}", "multiscale", f"convolution{i}")
            entries += convolution(f"R{level}.2.l{i}", path, bias=False)
    entries += convolution("R3.5", ("params", "decoder", "level3", "logit"))
    return tuple(entries)


@functools.cache
def _expected() -> Any:
    config = RANetConfig(dtype="float32")
    image = jax.ShapeDtypeStruct((1, *config.input_size, 3), jnp.float32)
    masks = jax.ShapeDtypeStruct((1, *config.input_size, 1), jnp.float32)
    return jax.eval_shape(RANet(config).init, jax.random.key(0), image, masks)


def unused_entries(state_dict: Mapping[str, np.ndarray]) -> list[str]:
    """Names of stored entries that the network never reads, so that the conversion leaves them out."""
    return sorted(name for name in state_dict if is_unused(name, UNUSED))


def ranet_from_torch(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of `RANet(RANetConfig())` (or `objects="multi"`, the same shapes) from a released state dict.

    Args:
        state_dict: arrays by stored name, PyTorch layout; `golden`-style dictionaries and `read_torch_file` give it.

    Returns:
        `{"params": ...}` of float32 NumPy arrays.

    Raises:
        InputError: entries are missing, unexpected or misshapen: all of them by name.
    """
    return read_entries(state_dict, ranet_entries(), _expected(), unused=UNUSED)


def ranet_to_torch(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The released layout of a network's variables; entries its forward pass never reads are zeros.

    Raises:
        InputError: the network is not the released one.
    """
    stored = write_entries(variables, ranet_entries())
    return stored | {name: np.zeros(shape, np.float32) for name, shape in UNUSED_SHAPES.items()}
