"""Named arrays in one file of the safetensors layout, mapped into memory: no library has to be imported to read it.

8 bytes         length of the header, little-endian
header          JSON: by name {"dtype": "F16", "shape": [...], "data_offsets": [begin, end]}, and perhaps texts by name
                as "__metadata__"
data            the arrays, row-major, one after another; offsets count from here
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ranet_jax.errors import InputError

DTYPES = {"F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype(np.float32)}
"""What an array may be stored as, by the layout's names."""
METADATA = "__metadata__"
_ALIGNMENT = 8


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays into a file; the same arrays make the same file.

    Args:
        path: of the file.
        arrays: by name; of a dtype in `DTYPES`.
        metadata: texts by name that go with them.

    Raises:
        KeyError: an array is of another dtype.
        OSError: the file cannot be written.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {} if metadata is None else {METADATA: dict(metadata)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name; read-only views of it in the dtypes they are stored in.

    Raises:
        InputError: the file cannot be read, is not of this layout, or is cut off.
    """
    with _reported(path):
        header, data = _opened(path)
        return {name: _view(data, entry) for name, entry in header.items() if name != METADATA}


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that go with a file's arrays, by name; none where there are none.

    Raises:
        InputError: the file cannot be read, is not of this layout, or is cut off.
    """
    with _reported(path):
        header, _ = _opened(path)
        return dict(header.get(METADATA, {}))


def digest_of_tensors(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays and their names, in whatever order they are."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _opened(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """A file's header, and its data as bytes."""
    content = np.memmap(path, np.uint8, "r")
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    return json.loads(content[8:begin].tobytes()), content[begin:]


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise InputError(f"{path}: damaged, cut off, or no file of arrays ({reason}); copy or save it again") from error


def _view(data: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    dtype, shape, (begin, end) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
    if not 0 <= begin <= end <= data.size or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} lies outside the file")
    return data[begin:end].view(dtype).reshape(shape)
