import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.masks import DAVIS_PALETTE, read_label_map, write_label_map

LABEL_MAPS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("masks")


@given(labels=LABEL_MAPS)
def test_palette_round_trip(folder, labels):
    write_label_map(folder / "a.png", labels)
    np.testing.assert_array_equal(read_label_map(folder / "a.png"), labels)
    with Image.open(folder / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), DAVIS_PALETTE[labels])


@given(labels=LABEL_MAPS)
def test_arrays_of_any_layout_are_written_as_they_read(folder, labels):
    for view in (labels.T, labels[::-1], np.asfortranarray(labels), labels[:, ::2]):
        write_label_map(folder / "a.png", view)
        np.testing.assert_array_equal(read_label_map(folder / "a.png"), view)


def test_the_palette_is_that_of_davis(shared):
    with Image.open(shared("data/DAVIS17-sample/Annotations/480p/longboard/00000.png")) as image:
        expected = np.array(image.getpalette("RGB")).reshape(-1, 3)
    np.testing.assert_array_equal(DAVIS_PALETTE, expected)
    assert DAVIS_PALETTE[[0, 1, 2, 3, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [224, 224, 192],
    ]


def test_real_annotations(shared):
    root = shared("data")
    palette = read_label_map(root / "DAVIS17-sample/Annotations/480p/longboard/00000.png")
    assert palette.shape == (480, 854)
    assert np.unique(palette).tolist() == [0, 1, 2, 3, 4, 5]
    for name in ("bear/00000.png", "bear/00077.png"):  # mode L, mode LA
        gray = read_label_map(root / "DAVIS/Annotations/480p" / name)
        assert gray.shape == (480, 854)
        assert np.unique(gray).tolist() == [0, 1]
    assert read_label_map(root / "DAVIS/Annotations/480p/surf/00054.png").max() == 0


def save(folder, image, name="a.png", **options):
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_few_bits_and_any_colours(folder, bits):
    labels = np.array([[0, 1, 0], [1, 1, 0]], np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([255, 255, 255, 9, 9, 9])  # white background: colours do not matter
    np.testing.assert_array_equal(read_label_map(save(folder, image, bits=bits)), labels)


def test_void_and_transparency_in_a_palette(folder):
    labels = np.array([[0, 255], [7, 255]], np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(DAVIS_PALETTE.tobytes())
    np.testing.assert_array_equal(read_label_map(save(folder, image, transparency=0)), labels)


GRAY_MASKS = [
    ([0, 255], [0, 1]),
    ([255, 255], [1, 1]),
    ([0, 0], [0, 0]),
    ([0, 1], [0, 1]),
    ([0, 5], [0, 5]),
    ([3, 255], [3, 255]),
    ([0, 1, 255], [0, 1, 255]),
]


@pytest.mark.parametrize(("values", "labels"), GRAY_MASKS)
def test_gray_masks(folder, values, labels):
    gray = np.array([values], np.uint8)
    assert read_label_map(save(folder, Image.fromarray(gray))).tolist() == [labels]
    with_alpha = np.stack([gray, np.array([[0, 9, 255][: len(values)]], np.uint8)], axis=-1)
    assert read_label_map(save(folder, Image.fromarray(with_alpha, "LA"))).tolist() == [labels]


def test_other_gray_formats(folder):
    sixteen_bits = Image.fromarray(np.array([[0, 5, 200]], np.uint16))
    assert read_label_map(save(folder, sixteen_bits)).tolist() == [[0, 5, 200]]
    black_and_white = Image.fromarray(np.array([[0, 65535]], np.uint16))
    assert read_label_map(save(folder, black_and_white)).tolist() == [[0, 1]]
    bilevel = Image.fromarray(np.array([[True, False]]))
    assert bilevel.mode == "1"
    assert read_label_map(save(folder, bilevel)).tolist() == [[1, 0]]
    with pytest.raises(InputError, match="values up to 256"):
        read_label_map(save(folder, Image.fromarray(np.array([[0, 256]], np.uint16))))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_refused(folder, mode):
    with pytest.raises(InputError, match=rf"mode {mode}.*palette"):
        read_label_map(save(folder, Image.new(mode, (3, 2))))


def test_lossy_files_are_refused(folder):
    with pytest.raises(InputError, match="JPEG"):
        read_label_map(save(folder, Image.new("L", (3, 2)), "a.jpg"))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match="there is no mask"):
        read_label_map(tmp_path / "none.png")
    with pytest.raises(InputError, match="there is no mask"):
        read_label_map(tmp_path)
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"cannot read the mask .*a\.png"):
        read_label_map(tmp_path / "a.png")


@given(data=st.data())
def test_a_cut_off_file_is_never_read_as_a_mask(folder, data):
    labels = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    encoded = io.BytesIO()
    image = Image.fromarray(labels)
    image.putpalette(DAVIS_PALETTE.tobytes())
    image.save(encoded, "PNG")
    whole = encoded.getvalue()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    (folder / "cut.png").write_bytes(cut)
    try:
        read = read_label_map(folder / "cut.png")
    except InputError:
        return
    # Only the checksum of the pixels or the end marker is missing.
    np.testing.assert_array_equal(read, labels)


def test_writing_into_a_file(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="cannot"):
        write_label_map(tmp_path / "a" / "b.png", np.zeros((2, 2), np.uint8))
