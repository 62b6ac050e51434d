"""Pickles of PyTorch's files, read without PyTorch and without calling anything that they name.

A pickle names the functions that put its objects together. Here every name that arrays need means
something of this file, which gives NumPy arrays, and any other name ends the reading.
"""

import collections
import functools
import operator
import pickle
import pickletools
from collections.abc import Callable, Mapping
from io import BufferedIOBase, BytesIO
from typing import Any

import jax.numpy as jnp
import numpy as np

_LARGEST_MEMO = 1 << 24
"""Python makes room for the largest number that a pickle gives one of its objects, whether there are so many or not."""
_LONGEST_NAME = 80

STORAGES: Mapping[str, np.dtype] = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": jnp.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
"""What the elements of a storage are, by the name of its class in `torch`."""
_DTYPES = {
    **{name: np.dtype(name) for name in ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")},
    **{name: np.dtype(name) for name in ("uint16", "uint32", "uint64")},
    **{name: jnp.dtype(name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")},
    "bool": np.dtype(np.bool_),
}
"""What `torch.NAME` is as a dtype."""


class ForeignObject(Exception):
    """A pickle names something that arrays do not need; the text is that name."""

    def __init__(self, name: str):
        """Makes the name fit for a line of text."""
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        super().__init__(shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}...")


class _Fixed:
    """Base of what a pickle may have in its hands but not change."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes what its names mean")


class Name(_Fixed):
    """What a name stands for: a function that a pickle may call, or a dtype.

    Attributes:
        dtype: of a storage's class, or of a dtype; None of a function.
    """

    def __init__(self, function: Callable[..., Any] | None = None, *, dtype: np.dtype | None = None):
        """Takes one of the two."""
        self._function = function
        self.dtype = dtype

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives."""
        if self._function is None:
            raise TypeError("it calls what is no function")
        return self._function(*arguments)


class Storage(_Fixed):
    """A row of numbers that tensors are views of; in some files it comes after them."""

    def __init__(self, dtype: np.dtype, count: int, *, of: "tuple[Storage, int] | None" = None):
        """Without values yet.

        Args:
            dtype: of the elements; bytes where only a tensor says what they are.
            count: how many there are.
            of: the storage that this one is a part of, and where it begins there.
        """
        self.dtype, self.count = dtype, operator.index(count)
        self._of = of
        self._values: np.ndarray | None = None
        self._floats: dict[np.dtype, np.ndarray] = {}

    def fill(self, content: bytes, *, is_big_endian: bool = False) -> "Storage":
        """Gives the storage its values, as bytes.

        Raises:
            ValueError: there are more or fewer.
        """
        if len(content) != self.count * self.dtype.itemsize:
            raise ValueError("a storage is cut off")
        values = np.frombuffer(content, self.dtype)
        self._values = values.byteswap() if is_big_endian else values
        return self

    @property
    def values(self) -> np.ndarray:
        """One-dimensional and contiguous.

        Raises:
            ValueError: there are none.
        """
        if self._of is not None:
            whole, offset = self._of
            self._values = whole.values[offset : offset + self.count]
        if self._values is None or self._values.size != self.count:
            raise ValueError("a storage is missing")
        return self._values

    def tensor(self, offset: int, size: Any, stride: Any, dtype: np.dtype | None = None) -> np.ndarray:
        """A tensor's values as float32, a view of this storage's.

        Args:
            offset: of its first element.
            size: its shape.
            stride: elements from one to the next, on each axis.
            dtype: what the elements are, where the storage does not say.

        Raises:
            ValueError: there are elements outside of the storage.
        """
        dtype = dtype or self.dtype
        if dtype not in self._floats:
            # All at once: a tensor may show the same few elements many times.
            with np.errstate(over="ignore"):
                self._floats[dtype] = self.values.view(dtype).astype(np.float32, copy=False)
        floats = self._floats[dtype]
        shape, steps = (tuple(map(operator.index, lengths)) for lengths in (size, stride))
        last = operator.index(offset) + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        if min((offset, *shape, *steps)) < 0 or (0 not in shape and last >= floats.size):
            raise ValueError("a tensor lies outside of its storage")
        if 0 in shape:
            return np.zeros(shape, np.float32)
        return np.lib.stride_tricks.as_strided(floats[offset:], shape, [step * floats.itemsize for step in steps])


def read_pickle(file: BufferedIOBase, storage_of: Callable[[Any], Any]) -> Any:
    """Reads the pickle that begins at a file's position, which is then behind it.

    Args:
        file: can be read at any position.
        storage_of: what the pickle means by a reference to something outside of it.

    Returns:
        Built-in types, scalars of NumPy, and `Array` for tensors and arrays.

    Raises:
        ForeignObject: something else is in it. Nothing of that has run.
        Exception: whatever `pickle` and the functions of this file make of damaged bytes.
    """
    start = file.tell()
    for opcode, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > _LARGEST_MEMO:
            raise ValueError("a number in it is too large")
    length = file.tell() - start
    file.seek(start)
    return _Unpickler(BytesIO(file.read(length)), storage_of).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BufferedIOBase, storage_of: Callable[[Any], Any]):
        super().__init__(file, encoding="utf-8")
        self._storage_of = storage_of

    def find_class(self, module: str, name: str) -> Any:
        """What a name means here."""
        try:
            return _MEANINGS[module, name]
        except KeyError:
            raise ForeignObject(f"{module}.{name}") from None

    def persistent_load(self, reference: Any) -> Any:
        """What lies outside of the pickle."""
        return self._storage_of(reference)


class _Dictionary(collections.OrderedDict):
    """A dictionary that keeps none of the attributes that a pickle gives it."""

    def __setstate__(self, state: Any) -> None:
        pass


class Array:
    """What was a tensor or an array of NumPy."""

    def __init__(self, values: Callable[[], np.ndarray] = lambda: np.zeros(0)):
        """Takes what gives the values once everything has been read."""
        self._values = values

    @property
    def values(self) -> np.ndarray:
        """Of any shape; a tensor's are float32."""
        return self._values()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        order: Any = "F" if is_fortran else "C"
        self._values = lambda: np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


class _DType:
    """A dtype of NumPy, of numbers alone."""

    def __init__(self, code: str, *_: Any):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biufc":
            raise ForeignObject(f"numpy.dtype({code})")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _tensor(storage: Storage, offset: int, size: Any, stride: Any, *rest: Any, has_dtype: bool = False) -> Array:
    """A tensor; the rest are whether it has a gradient, its hooks, perhaps its dtype, and perhaps what kind of view."""
    dtype = rest[2].dtype if has_dtype else None
    views = rest[3 if has_dtype else 2 :]
    if any(views):
        raise ForeignObject(f"a tensor that is {', '.join(map(str, views[0]))}")
    return Array(lambda: storage.tensor(offset, size, stride, dtype))


def _scalar(dtype: _DType, content: bytes) -> Any:
    return np.frombuffer(content, dtype.dtype)[0]


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 2's protocols hold bytes."""
    return text.encode({"latin1": "latin1"}[encoding])


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_MEANINGS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dictionary,
    ("torch._utils", "_rebuild_tensor"): Name(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Name(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Name(functools.partial(_tensor, has_dtype=True)),
    ("torch._utils", "_rebuild_parameter"): Name(lambda tensor, *_: tensor),
    ("torch", "Size"): Name(tuple),
    ("torch.storage", "UntypedStorage"): Name(dtype=np.dtype(np.uint8)),
    **{("torch", name): Name(dtype=dtype) for name, dtype in (*STORAGES.items(), *_DTYPES.items())},
    **{("torch", name.replace("Storage", "Tensor")): Name(dtype=dtype) for name, dtype in STORAGES.items()},
    ("_codecs", "encode"): Name(_bytes),
    ("numpy", "ndarray"): Name(),
    ("numpy", "dtype"): Name(_DType),
    **{(module, "_reconstruct"): Name(lambda *_: Array()) for module in _NUMPY},
    **{(module, "scalar"): Name(_scalar) for module in _NUMPY},
}
