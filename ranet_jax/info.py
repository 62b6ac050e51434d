"""What `ranet-jax info` tells: versions, devices, and what is inside a checkpoint."""

import importlib.metadata
import platform

import jax
import numpy as np

from ranet_jax import __version__
from ranet_jax.weights import embedded_names, open_checkpoint

_PACKAGES = ("jax", "jaxlib", "flax", "orbax-checkpoint", "numpy", "opencv-python")


def describe(name_or_path: str | None = None, model: str | None = None) -> str:
    """A few lines about this installation and one checkpoint.

    Args:
        name_or_path: embedded name or folder of the checkpoint; by default the one commands use.
        model: "ranet" or "mrnet": which network's, by default RANet's.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """
    checkpoint = open_checkpoint(name_or_path, model)
    versions = " ".join(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES)
    devices = ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices())
    lines = [
        f"ranet-jax {__version__}, Python {platform.python_version()}, {versions}",
        f"devices: {devices}",
        f"embedded checkpoints: {', '.join(embedded_names())}",
        f"checkpoint {checkpoint.name} ({checkpoint.config.TITLE}): {_parameters(checkpoint.variables)}",
    ]
    lines += [f"  {field}: {value}" for field, value in checkpoint.config.to_dict().items()]
    lines += [f"  card: {field}: {value}" for field, value in checkpoint.card.items()]
    return "\n".join(lines)


def _parameters(variables: dict) -> str:
    parts = variables["params"]
    count = lambda tree: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
    listed = ", ".join(f"{part} {count(tree) / 1e6:.2f} M" for part, tree in sorted(parts.items()))
    return f"{count(parts) / 1e6:.2f} M parameters ({listed})"
