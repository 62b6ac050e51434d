"""Reading and writing PyTorch checkpoint files; the only module that needs torch (the extra `convert`)."""

import pathlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file


def _torch() -> types.ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError("reading or writing .pth needs PyTorch: pip install 'ranet-jax[convert]'") from error
    return torch


def read_torch_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """State dict of a `.pth` file as NumPy arrays.

    The file is read with `weights_only=True`: a checkpoint never executes code. A state dict wrapped in a dictionary
    under `state_dict` or `model`, and the prefix `module.` that data-parallel training leaves, are unwrapped.

    Raises:
        InputError: the file is absent, cut off, not a PyTorch file, or holds anything but arrays by name.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the .pth checkpoint to convert")
    torch = _torch()
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{path}: not a readable PyTorch weights file ({reason}); download it again") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    if not isinstance(stored, Mapping) or not all(isinstance(v, torch.Tensor) for v in stored.values()):
        raise InputError(f"{path}: holds no state dict (arrays by name); save model.state_dict() and convert that")
    return {name.removeprefix("module."): value.float().numpy() for name, value in stored.items()}


def write_torch_file(path: str | pathlib.Path, state_dict: Mapping[str, Any]) -> None:
    """Writes arrays by name as a `.pth` file that `torch.load(weights_only=True)` reads; appears by atomic rename."""
    torch = _torch()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state_dict.items()}
    with atomic_file(path) as temporary:
        torch.save(tensors, temporary)
