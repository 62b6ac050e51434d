"""PyTorch's files without PyTorch: every layout and dtype to the bit, and nothing in a file runs."""

import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from ranet_jax.convert.torch_file import read_torch_file, write_torch_file
from ranet_jax.errors import InputError
from tests.convert import torch_values
from tests.convert.torch_bytes import (
    dictionary,
    named,
    pickled,
    plain,
    storage,
    tensor,
    write_tar,
    write_zip,
)

ONES = np.ones(6, np.float32).tobytes()
PATH = pathlib.Path("net.pth")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == value.shape, name
        bits = lambda array: np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        np.testing.assert_array_equal(bits(found[name]), bits(value), err_msg=name)


def refusal():
    """What is said of `PATH`, in one line."""
    with pytest.raises(InputError) as caught:
        read_torch_file(PATH)
    message = str(caught.value)
    assert message.startswith("net.pth: ")
    assert len(message) < 300
    assert message.isprintable()
    return message


def test_what_pytorch_wrote_is_read_to_the_bit():
    expected = torch_values.state_dict()
    assert_equal(read_torch_file(torch_values.FOLDER / "zip.pth"), expected | torch_values.new_types())
    assert_equal(read_torch_file(torch_values.FOLDER / "row.pth"), expected)
    tensors = write_tar(PATH)
    assert_equal(read_torch_file(PATH), tensors)


def test_what_is_written_is_read_again():
    arrays = torch_values.state_dict()
    write_torch_file(PATH, arrays)
    assert_equal(read_torch_file(PATH), arrays)
    first = PATH.read_bytes()
    write_torch_file(PATH, arrays)
    assert PATH.read_bytes() == first
    write_torch_file(PATH, {"counter": np.arange(3), "flags": np.array([True, False])})
    assert_equal(read_torch_file(PATH), {"counter": np.arange(3, dtype=np.float32), "flags": np.float32([1, 0])})


def test_pytorch_reads_what_is_written():
    torch = pytest.importorskip("torch")
    arrays = torch_values.state_dict()
    write_torch_file(PATH, arrays)
    loaded = torch.load(PATH, weights_only=True)
    assert_equal({name: value.numpy() for name, value in loaded.items()}, arrays)


def test_files_of_big_endian_machines():
    stored = dictionary({"a": tensor(storage(6), 0, (6,), (1,))})
    values = np.arange(6, dtype=np.float32)
    write_zip(PATH, pickled(stored), {"0": values.astype(">f4").tobytes()}, byteorder=b"big")
    assert_equal(read_torch_file(PATH), {"a": values})


class Trap:
    """Makes a folder called `sprung` when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def built_on(opcodes):
    """A pickle that changes the attributes of what it has in its hands."""
    return pickled(opcodes + plain({"__call__": 1, "values": 2, "_values": 3}) + pickle.BUILD)


DTYPE = named("numpy", "dtype") + b"(" + plain("O8") + b"tR"
RUNS = {
    "an object that runs code": (pickle.dumps(Trap(), 2), "posix.mkdir"),
    "the same in a later protocol": (pickle.dumps({"a": Trap()}, 5), "posix.mkdir"),
    "a built-in function": (pickled(named("__builtin__", "eval") + plain(("1+1",)) + b"R"), "__builtin__.eval"),
    "a module's class": (pickled(named("torch.nn.modules.conv", "Conv2d") + b")\x81"), "torch.nn.modules.conv.Conv2d"),
    "a name below another": (pickled(named("collections", "OrderedDict.fromkeys")), "collections.OrderedDict.fromkeys"),
    "a name with escapes": (pickled(named("a\x1b[31m", "b" * 500)), "a?[31m.bbbb"),
    "objects of Python in an array": (pickled(DTYPE), "numpy.dtype(O8)"),
    "a whole module": (pickled(b"(" + plain("module") + plain("source") + b"tQ"), "a whole module"),
    "complex numbers": (pickled(storage(1, kind=named("torch", "ComplexFloatStorage"))), "torch.ComplexFloatStorage"),
}


@pytest.mark.parametrize("case", RUNS)
@pytest.mark.parametrize("layout", ["zip", "row"])
def test_what_is_more_than_arrays_is_named_and_not_run(case, layout):
    data, name = RUNS[case]
    if layout == "zip":
        write_zip(PATH, data)
    else:
        start = (torch_values.FOLDER / "row.pth").read_bytes()
        machine = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({}, 2)
        assert start.startswith(machine[0] + machine[1])
        PATH.write_bytes(b"".join(machine) + data)
    message = refusal()
    assert f"holds more than arrays ({name}" in message
    assert "nothing in it is run" in message
    assert not pathlib.Path("sprung").exists()


HUGE_MEMO = b"N" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f"
DAMAGED = {
    "behind the storage's end": (tensor(storage(6), 1, (2, 3), (3, 1)), ONES),
    "before its start": (tensor(storage(6), -1, (2,), (1,)), ONES),
    "stepping backwards": (tensor(storage(6), 5, (2,), (-1,)), ONES),
    "fewer strides than axes": (tensor(storage(6), 0, (2, 3), (1,)), ONES),
    "no whole number": (named("torch._utils", "_rebuild_tensor") + b"(" + storage(6) + plain(0.5) + b"))tR", ONES),
    "a storage that is cut off": (tensor(storage(7), 0, (7,), (1,)), ONES),
    "a storage that is not there": (tensor(storage(6, key="9"), 0, (6,), (1,)), ONES),
    "a storage of no dtype": (tensor(storage(6, kind=named("numpy", "ndarray")), 0, (6,), (1,)), ONES),
    "a huge memo": (HUGE_MEMO, ONES),
    "changed functions": (built_on(named("torch._utils", "_rebuild_tensor_v2"))[2:-1], ONES),
    "changed dtypes": (built_on(named("torch", "float32"))[2:-1], ONES),
    "changed storages": (built_on(storage(6))[2:-1], ONES),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_one_line(case):
    opcodes, content = DAMAGED[case]
    write_zip(PATH, pickled(dictionary({"a": opcodes})), {"0": content})
    assert "not a readable PyTorch weights file (" in refusal()
    whole = dictionary({"a": tensor(storage(6), 0, (2, 3), (1, 2))})
    write_zip(PATH, pickled(whole), {"0": ONES})
    assert_equal(read_torch_file(PATH), {"a": np.ones((2, 3), np.float32)})


@pytest.mark.parametrize("name", ["zip.pth", "row.pth"])
def test_cut_and_flipped_files_are_one_line_or_read(name, rng):
    whole = (torch_values.FOLDER / name).read_bytes()
    refused = 0
    for number in range(20):
        changed = bytearray(whole[: rng.integers(len(whole))] if number % 2 else whole)
        if changed:
            changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        PATH.write_bytes(changed)
        try:
            read_torch_file(PATH)
        except InputError:
            refused += 1
            refusal()
    assert refused >= 10, "at least those that are cut off"


def test_foreign_files_are_named():
    with pytest.raises(InputError, match="no such file"):
        read_torch_file(PATH)
    with PATH.open("wb") as file:
        np.savez(file, a=1)
    assert "another kind of zip" in refusal()
    PATH.write_bytes(pickle.dumps({"a": 1}))
    assert "another kind of pickle" in refusal()
    PATH.write_bytes(b"hello")
    assert "does not begin like one" in refusal()
    write_zip(PATH, pickled(b"}"), **{"constants.pkl": b""})
    assert "a program of TorchScript" in refusal()
    write_zip(PATH, pickled(plain([1, 2])))
    assert "holds no state dict" in refusal()
    write_zip(PATH, pickled(plain({"epoch": 3})))
    assert "holds no state dict" in refusal()


def test_a_compressed_file_is_read_as_well():
    write_torch_file(PATH, {"a": np.arange(9, dtype=np.float32)})
    with zipfile.ZipFile(PATH) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(PATH, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert_equal(read_torch_file(PATH), {"a": np.arange(9, dtype=np.float32)})
