"""PyTorch's checkpoint files, read and written without PyTorch."""

import io
import pathlib
import pickle
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ranet_jax.convert.torch_layouts import UnknownLayoutError, read_layout
from ranet_jax.convert.torch_pickle import STORAGES, Array, ForeignObject
from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.reasons import brief

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every member: equal weights are equal files."""


def read_torch_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """State dict of a `.pth` file as NumPy arrays.

    Read are files as any version of `torch.save` has written them. Nothing that a file names is imported or called: it
    may hold tensors, NumPy's arrays and numbers, and Python's own types. A state dict wrapped in a dictionary under
    `state_dict` or `model`, and the prefix `module.` that data-parallel training leaves, are unwrapped.

    Args:
        path: the file.

    Returns:
        Arrays by name, float32 of any shape, equal to what `torch.load(path)[name].float()` is; perhaps views that
        share memory.

    Raises:
        InputError: the file is absent, cut off, not a PyTorch file, holds something that would run, or anything but
            arrays by name.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the .pth checkpoint to convert")
    try:
        with path.open("rb") as file:
            return _state_dict(path, read_layout(file))
    except InputError:
        raise
    except ForeignObject as error:
        raise InputError(
            f"{path}: holds more than arrays ({error}), and nothing in it is run: save model.state_dict() alone"
        ) from error
    except UnknownLayoutError as error:
        raise InputError(
            f"{path}: not a readable PyTorch weights file ({error}); give what torch.save wrote of a state dict"
        ) from error
    except Exception as error:  # whatever zip, tar, pickle and NumPy make of wrong bytes
        raise InputError(
            f"{path}: not a readable PyTorch weights file ({brief(error)}); download or save it again"
        ) from error


def _state_dict(path: pathlib.Path, stored: Any) -> dict[str, np.ndarray]:
    for wrapper in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    if not isinstance(stored, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Array) for name, value in stored.items()
    ):
        raise InputError(f"{path}: holds no state dict (arrays by name); save model.state_dict() and convert that")
    return {name.removeprefix("module."): np.asarray(value.values, np.float32) for name, value in stored.items()}


def write_torch_file(path: str | pathlib.Path, state_dict: Mapping[str, Any]) -> None:
    """Writes arrays by name as a `.pth` file that `torch.load(weights_only=True)` reads; appears by atomic rename.

    Args:
        path: the file.
        state_dict: arrays of JAX or NumPy, of any shape, of bools, integers or floats.

    Raises:
        InputError: the file cannot be written.
    """
    arrays = {name: np.asarray(value, order="C") for name, value in state_dict.items()}
    members = {"data.pkl": _pickled(arrays), "byteorder": sys.byteorder.encode()}
    members |= {f"data/{key}": value.tobytes() for key, value in enumerate(arrays.values())}
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in (members | {"version": b"3\n"}).items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", _DATE), content)


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of a dictionary of tensors, each all of a storage that is named by its number."""
    classes = {dtype: name for name, dtype in STORAGES.items()}
    # Of plain values between the pickle's first two and its last byte.
    plain = lambda value: pickle.dumps(value, protocol=2)[2:-1]
    name = lambda module, attribute: pickle.GLOBAL + f"{module}\n{attribute}\n".encode()
    hooks = name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    pickled = io.BytesIO()
    pickled.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
    for key, (entry, value) in enumerate(arrays.items()):
        strides = tuple(step // value.itemsize for step in value.strides)
        storage = plain("storage") + name("torch", classes[value.dtype]) + plain(str(key)) + plain("cpu")
        storage = pickle.MARK + storage + plain(value.size) + pickle.TUPLE + pickle.BINPERSID
        tensor = storage + plain(0) + plain(value.shape) + plain(strides) + pickle.NEWFALSE + hooks
        tensor = name("torch._utils", "_rebuild_tensor_v2") + pickle.MARK + tensor + pickle.TUPLE + pickle.REDUCE
        pickled.write(plain(entry) + tensor + pickle.SETITEM)
    pickled.write(pickle.STOP)
    return pickled.getvalue()
