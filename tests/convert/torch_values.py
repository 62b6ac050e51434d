"""Values of the state dicts in `written_by_torch/`, and, run as a program where PyTorch is installed, these files.

    python -m tests.convert.torch_values

They were written by PyTorch 2.14.1: `zip.pth` as it does by default, `row.pth` as it did before version 1.6.
"""

import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

FOLDER = pathlib.Path(__file__).parent / "written_by_torch"
HALVES = np.array([1.5, -0.0, 65504, np.inf, 2**-24, np.nan], np.float16)
BRAINS = np.array([1.5, -0.0, 3e38, np.inf, 1e-40, 0.1], jnp.bfloat16)
WHOLE = np.arange(-30, 30, dtype=np.float32).reshape(3, 4, 5) / 7


def state_dict() -> dict[str, np.ndarray]:
    """What `torch.load(path)[name].float()` is, by name; views as they are stored are views here."""
    return {
        "whole": WHOLE,
        "permuted": WHOLE.transpose(2, 0, 1),
        "part": WHOLE[1:, ::2, 3:],
        "parameter": np.array([[1, 2], [3, 4]], np.float32),
        "number": np.array(3.25, np.float32),
        "nothing": np.zeros((0, 4), np.float32),
        "expanded": np.full((3, 2), 2.5, np.float32),
        "float64": np.array([np.inf, -1 / 3, 0], np.float32),
        "float16": HALVES.astype(np.float32),
        "bfloat16": BRAINS.astype(np.float32),
        "int64": np.array([2**62 + 1, -3]).astype(np.float32),
        "int32": np.array([2**31 - 1], np.float32),
        "int16": np.array([-300], np.float32),
        "int8": np.array([-3], np.float32),
        "uint8": np.array([0, 255], np.float32),
        "bool": np.array([1, 0], np.float32),
    }


def new_types() -> dict[str, np.ndarray]:
    """Of types that only the zip can hold."""
    return {
        "uint16": np.array([65535], np.float32),
        "float8": np.array([1.125, -448, 0], np.float32),
        "float8_e5m2": np.array([1.25, -57344, 0], np.float32),
    }


def _write() -> None:
    import torch

    whole = torch.from_numpy(WHOLE)
    tensors: dict[str, Any] = {name: torch.from_numpy(np.array(value)) for name, value in state_dict().items()}
    tensors |= {
        "whole": whole,
        "permuted": whole.permute(2, 0, 1),
        "part": whole[1:, ::2, 3:],
        "parameter": torch.nn.Parameter(tensors["parameter"]),
        "expanded": torch.full((1,), 2.5).expand(3, 2),
        "float64": torch.tensor([1e300, -1 / 3, 1e-320], dtype=torch.float64),
        "float16": torch.from_numpy(HALVES),
        "bfloat16": torch.from_numpy(BRAINS.view(np.int16)).view(torch.bfloat16),
        "int64": torch.tensor([2**62 + 1, -3]),
        "int32": torch.tensor([2**31 - 1], dtype=torch.int32),
        **{name: tensors[name].to(getattr(torch, name)) for name in ("int16", "int8", "uint8", "bool")},
    }
    new = {name: torch.from_numpy(np.array(value)) for name, value in new_types().items()}
    new = {
        "uint16": new["uint16"].to(torch.uint16),
        "float8": new["float8"].to(torch.float8_e4m3fn),
        "float8_e5m2": new["float8_e5m2"].to(torch.float8_e5m2),
    }
    weights = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weights])
    weights.sum().backward()
    optimizer.step()
    beside = {
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best": np.float64(0.5),
        "history": np.arange(6.0).reshape(2, 3).T,
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
    }
    FOLDER.mkdir(exist_ok=True)
    module = {f"module.{name}": value for name, value in tensors.items()}
    torch.save({"state_dict": tensors | new, **beside}, FOLDER / "zip.pth")
    torch.save({"model": module, **beside}, FOLDER / "row.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    _write()
