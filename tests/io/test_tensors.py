"""Arrays in a file: they come back as they were, other readers of the layout see them, and damage is named."""

import json

import ml_dtypes
import numpy as np
import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.tensors import read_tensors, write_tensors

ARRAYS = {
    "params/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
    "params/half": np.array([0.5, -np.inf, 65504], np.float16),
    "params/brain": np.array([[1.5], [-2]], ml_dtypes.bfloat16),
    "state/scalar": np.float32(3).reshape(()),
    "state/none": np.zeros((0, 5), np.float32),
}


def test_what_is_written_is_read(tmp_path):
    """Arrays that are not contiguous, of no dimension and of no values, too."""
    write_tensors(tmp_path / "a", ARRAYS)
    found = read_tensors(tmp_path / "a")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert header["params/half"] == {"dtype": "F16", "shape": [3], "data_offsets": [96, 102]}
    assert content[8 + length + 96 :][:6] == ARRAYS["params/half"].tobytes()
    write_tensors(tmp_path / "b", ARRAYS)
    assert (tmp_path / "b").read_bytes() == content


def damage_header(content, **entry):
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["params/half"] |= entry
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[:40],
        lambda content: content[:-1],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: b"\x02" + bytes(7) + b"[]" + content,
        lambda content: damage_header(content, dtype="I8"),
        lambda content: damage_header(content, shape=[4]),
        lambda content: damage_header(content, data_offsets=[-6, 0]),
        lambda content: damage_header(content, data_offsets=[1 << 40, (1 << 40) + 6]),
        lambda content: damage_header(content, data_offsets=[0]),
        lambda content: damage_header(content, shape="3"),
    ],
)
def test_damage_is_named(tmp_path, damage):
    write_tensors(tmp_path / "a", ARRAYS)
    content = damage((tmp_path / "a").read_bytes())
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=r"a: damaged, cut off, or no file of arrays \(") as caught:
        read_tensors(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_no_file_and_other_dtypes_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_tensors(tmp_path / "absent")
    with pytest.raises(KeyError):
        write_tensors(tmp_path / "a", {"x": np.zeros(3, np.int32)})
