"""The three ways in which PyTorch has laid out a file: a zip since 1.6, pickles in a row before, a tar before 0.2."""

import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from io import BufferedIOBase, BytesIO
from typing import Any, NoReturn

import numpy as np

from ranet_jax.convert.torch_pickle import Array, ForeignObject, Storage, read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
"""What the first of the pickles in a row is."""

FindStorage = Callable[[str, np.dtype, int], Storage]
"""From a storage's key, the dtype of its elements and their number to the storage."""


class UnknownLayoutError(Exception):
    """The bytes are laid out in none of these ways; the text says what they are instead."""


def read_layout(file: BufferedIOBase) -> Any:
    """The object that a file of PyTorch holds; see `ranet_jax.convert.torch_pickle.read_pickle`.

    Args:
        file: at its beginning.

    Raises:
        UnknownLayoutError: it is no such file.
        ForeignObject: more than arrays is in it.
        Exception: whatever the readers make of damaged bytes.
    """
    start = file.read(512)
    file.seek(0)
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(file)
    if start[257:262] == b"ustar":
        return _read_tar(file)
    if start.startswith(b"\x80"):
        return _read_row(file)
    raise UnknownLayoutError("it does not begin like one")


def _read_zip(file: BufferedIOBase) -> Any:
    """FOLDER/data.pkl, and FOLDER/data/KEY for every storage."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        folder = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if folder is None:
            raise UnknownLayoutError("it is another kind of zip")
        if f"{folder}constants.pkl" in names:
            raise ForeignObject("a program of TorchScript")
        order = f"{folder}byteorder"
        is_big_endian = order in names and archive.read(order) == b"big"

        def find(key: str, dtype: np.dtype, count: int) -> Storage:
            name = f"{folder}data/{key}"
            if archive.getinfo(name).file_size != count * dtype.itemsize:
                raise ValueError("a storage is cut off")
            return Storage(dtype, count).fill(archive.read(name), is_big_endian=is_big_endian)

        return read_pickle(BytesIO(archive.read(f"{folder}data.pkl")), _references(find))


def _read_row(file: BufferedIOBase) -> Any:
    """Five pickles: magic number, version, machine, object, keys of its storages; then these, in that order."""
    if read_pickle(file, _refuse) != _MAGIC:
        raise UnknownLayoutError("it is another kind of pickle")
    for _ in ("version", "machine"):
        read_pickle(file, _refuse)
    storages: dict[str, Storage] = {}

    def find(key: str, dtype: np.dtype, count: int) -> Storage:
        storages[key] = Storage(dtype, count)
        return storages[key]

    stored = read_pickle(file, _references(find))
    for key in read_pickle(file, _refuse):
        _fill(storages[key], file)
    return stored


def _read_tar(file: BufferedIOBase) -> Any:
    """Members `storages`, `tensors`, each a number and so many pickles with what belongs to them, and `pickle`."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        storages = dict(_storages_of_tar(_member(archive, "storages")))
        tensors = dict(_tensors_of_tar(_member(archive, "tensors"), storages))

        def find(reference: Any) -> Array:
            if isinstance(reference, tuple):
                raise ForeignObject("a whole module")
            return tensors[int(reference)]

        return read_pickle(_member(archive, "pickle"), find)


def _member(archive: tarfile.TarFile, name: str) -> BufferedIOBase:
    try:
        member: Any = archive.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise UnknownLayoutError("it is another kind of tar")
    return member


def _storages_of_tar(file: BufferedIOBase) -> Iterator[tuple[int, Storage]]:
    """Storages by their key; at the end come those that are parts of others."""
    whole: dict[int, Storage] = {}
    for _ in range(read_pickle(file, _refuse)):
        key, _, kind = read_pickle(file, _refuse)
        (count,) = struct.unpack("<q", file.read(8))
        whole[key] = Storage(kind.dtype, count)
        file.seek(-8, 1)
        _fill(whole[key], file)
    yield from whole.items()
    for key, root, offset, count in read_pickle(file, _refuse):
        yield key, Storage(whole[root].dtype, count, of=(whole[root], offset))


def _tensors_of_tar(file: BufferedIOBase, storages: dict[int, Storage]) -> Iterator[tuple[int, Array]]:
    for _ in range(read_pickle(file, _refuse)):
        key, storage, _ = read_pickle(file, _refuse)
        axes, _ = struct.unpack("<ii", file.read(8))
        numbers = struct.unpack(f"<{2 * axes + 1}q", file.read(16 * axes + 8))
        size, stride, offset = numbers[:axes], numbers[axes:-1], numbers[-1]
        yield key, _view(storages[storage], offset, size, stride)


def _view(storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    return Array(lambda: storage.tensor(offset, size, stride))


def _fill(storage: Storage, file: BufferedIOBase) -> None:
    """Reads a storage's values, before which their number stands."""
    (count,) = struct.unpack("<q", file.read(8))
    if count != storage.count:
        raise ValueError("a storage has another length than its tensors")
    storage.fill(file.read(count * storage.dtype.itemsize))


def _references(find: FindStorage) -> Callable[[Any], Storage]:
    """What a pickle means by ("storage", class, key, device, elements, perhaps the part of it)."""
    known: dict[str, Storage] = {}

    def resolve(reference: Any) -> Storage:
        if reference[0] != "storage":
            raise ForeignObject("a whole module")
        _, kind, key, _, count, *part = reference
        if key not in known:
            known[key] = find(key, kind.dtype, count)
        if not part or part[0] is None:
            return known[key]
        _, offset, length = part[0]
        return Storage(kind.dtype, length, of=(known[key], offset))

    return resolve


def _refuse(reference: Any) -> NoReturn:
    raise ValueError("it refers to something that is not there")
