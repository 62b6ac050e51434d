"""Files in PyTorch's layouts, put together byte by byte: what it would not write, and what it writes no more."""

import io
import pathlib
import pickle
import struct
import tarfile
import zipfile
from typing import Any

import numpy as np


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def plain(value: Any) -> bytes:
    """Opcodes of a value of Python's own types."""
    return pickle.dumps(value, 2)[2:-1]


def pickled(opcodes: bytes) -> bytes:
    return pickle.PROTO + b"\x02" + opcodes + pickle.STOP


def storage(count: int, *, kind: bytes = named("torch", "FloatStorage"), key: str = "0") -> bytes:
    """Opcodes of a reference to a storage."""
    return b"(" + plain("storage") + kind + plain(key) + plain("cpu") + plain(count) + b"tQ"


def tensor(stored: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Opcodes of a tensor."""
    arguments = stored + plain(offset) + plain(size) + plain(stride) + pickle.NEWFALSE + pickle.NONE
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def dictionary(entries: dict[str, bytes]) -> bytes:
    """Opcodes of a dictionary whose values are opcodes."""
    return b"}" + b"".join(plain(name) + value + b"s" for name, value in entries.items())


def write_zip(path: pathlib.Path, data: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> None:
    """Writes a zip as PyTorch does, with a pickle and storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", data)
        for key, content in (storages or {}).items():
            archive.writestr(f"net/data/{key}", content)
        for name, content in more.items():
            archive.writestr(f"net/{name}", content)


def write_tar(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Writes two tensors and a view of one as PyTorch did before version 0.2, and returns them."""
    values, whole = np.arange(12, dtype=np.float32), np.array([5, 6])
    row = lambda array: struct.pack("<q", array.size) + array.tobytes()
    storages = pickled(plain(2))
    for key, kind, array in ((111, "FloatStorage", values), (222, "LongStorage", whole)):
        storages += pickled(b"(" + plain(key) + plain("cpu") + named("torch", kind) + b"t") + row(array)
    storages += pickled(plain([(333, 111, 4, 6)]))
    tensors = pickled(plain(3))
    for key, of, kind, size, stride, offset in (
        (1, 111, "FloatTensor", (3, 4), (1, 3), 0),
        (2, 333, "FloatTensor", (2, 2), (2, 1), 1),
        (3, 222, "LongTensor", (2,), (1,), 0),
    ):
        tensors += pickled(b"(" + plain(key) + plain(of) + named("torch", kind) + b"t")
        tensors += struct.pack(f"<ii{2 * len(size) + 1}q", len(size), 0, *size, *stride, offset)
    names = {"a.weight": "1", "a.bias": "2", "counter": "3"}
    stored = named("collections", "OrderedDict") + b")R"
    stored += b"".join(plain(name) + plain(key) + b"Qs" for name, key in names.items())
    members = {"sys_info": pickled(plain({})), "pickle": pickled(stored), "tensors": tensors, "storages": storages}
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {"a.weight": values.reshape(4, 3).T, "a.bias": values[5:9].reshape(2, 2), "counter": np.float32(whole)}
