import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_mask
from ranet_jax.io.run_lengths import mask_of_run_lengths, pack, run_lengths, unpack

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(mask=MASKS)
def test_run_lengths_round_trip(mask):
    lengths = run_lengths(mask)
    np.testing.assert_array_equal(mask_of_run_lengths(lengths, mask.shape), mask)
    assert unpack(pack(lengths)) == lengths


@given(lengths=st.lists(st.integers(0, 2**31), max_size=20))
def test_text_round_trip(lengths):
    assert unpack(pack(lengths)) == lengths


def test_known_values():
    """From COCO's own tools: counts of columns, zeros first."""
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert run_lengths(mask) == [2, 3, 1]
    assert pack([2, 3, 1]) == "231"
    assert run_lengths(~mask) == [0, 2, 3, 1]
    assert pack([0, 2, 3, 1]) == "023O"


def test_text_is_that_of_cocos_tools(rng):
    tools = pytest.importorskip("pycocotools.mask")
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = rng.random((37, 53)) < share
        theirs = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert pack(run_lengths(mask)) == theirs["counts"].decode()
        np.testing.assert_array_equal(mask_of_run_lengths(unpack(theirs["counts"].decode()), (37, 53)), mask)


def entry(mask, packed, **more):
    lengths = run_lengths(mask)
    return {"segmentation": {"size": list(mask.shape), "counts": pack(lengths) if packed else lengths}, **more}


def two_masks():
    masks = np.zeros((2, 30, 40), bool)
    masks[0, 2:10, 3:20] = True
    masks[1, 15:28, 10:35] = True
    return masks


@pytest.mark.parametrize("packed", [False, True])
def test_forms_of_json(tmp_path, packed):
    path = tmp_path / "a.json"
    first, second = two_masks()

    def read(content):
        path.write_text(json.dumps(content))
        return read_mask(path)

    np.testing.assert_array_equal(read(entry(first, packed)["segmentation"]).labels, first)
    both = first + 2 * second.astype(np.uint8)
    annotations = [entry(first, packed, image_id=7), entry(second, packed, image_id=7)]
    np.testing.assert_array_equal(read(annotations).labels, both)
    images = [{"id": 3, "file_name": "b.jpg"}, {"id": 7, "file_name": "a.jpg", "height": 30, "width": 40}]
    mask = read({"images": images, "annotations": annotations})
    np.testing.assert_array_equal(mask.labels, both)
    assert mask.notes == ()
    later = entry(second, packed, image_id=3, track_id=9)
    mask = read({"images": images, "annotations": [*annotations, later]})
    np.testing.assert_array_equal(mask.labels, 9 * second.astype(np.uint8))
    assert "masks of 2 images: those of b.jpg are used" in mask.notes[0]
    second[9] = True
    overlapping = read([entry(first, packed), entry(second, packed)])
    assert "17 pixels are in two objects" in overlapping.notes[0]
    np.testing.assert_array_equal(overlapping.labels, np.where(second, 2, first))


def test_polygons(tmp_path):
    corners = [10, 5, 30, 5, 30, 20, 10, 20]  # of pixels' corners: columns 10 to 29, rows 5 to 19
    content = {
        "images": [{"id": 1, "height": 30, "width": 40}],
        "annotations": [{"image_id": 1, "segmentation": [corners]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    labels = read_mask(tmp_path / "a.json").labels
    expected = np.zeros((30, 40), np.uint8)
    expected[5:20, 10:30] = 1
    assert labels.shape == (30, 40)
    assert np.count_nonzero(labels != expected) <= 36  # OpenCV fills the outline, too


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "3",
        "null",
        "[]",
        "[3]",
        '{"a": 1}',
        '{"size": [2, 2], "counts": [1, 2]}',
        '{"size": [2, 2], "counts": [5, -1]}',
        '{"size": [2, 2], "counts": [1.5, 2.5]}',
        '{"size": [2, 2], "counts": "~~"}',
        '{"size": [2, 2], "counts": "P"}',
        '{"size": [-2, -2], "counts": [4]}',
        '{"size": [100000, 100000], "counts": [10000000000]}',
        '{"annotations": []}',
        '{"annotations": [{"segmentation": [[1, 2, 3]]}]}',
        '{"annotations": [{"segmentation": {"size": [2, 2], "counts": [4]}}]}',
    ],
)
def test_damaged_json_is_one_line(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json") as raised:
        read_mask(tmp_path / "a.json")
    assert "\n" not in str(raised.value)
