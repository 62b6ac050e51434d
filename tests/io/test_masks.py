import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.masks import DAVIS_PALETTE, read_label_map, read_mask, write_label_map

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


def expect_labels(path, labels, *words):
    mask = read_mask(path)
    assert mask.labels.dtype == np.uint8
    np.testing.assert_array_equal(mask.labels, labels)
    assert len(mask.notes) == bool(words)
    for word in words:
        assert word in mask.notes[0]


def test_the_shared_masks_are_read_or_refused_with_the_right_words(shared, tmp_path):
    script = shared("cases/masks.py")
    bear = shared("data/DAVIS/Annotations/480p/bear/00000.png")
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path], check=True, capture_output=True)
    bear = (read_label_map(bear) > 0)[::4, ::4].astype(np.uint8)
    left = bear.copy()
    left[:, bear.shape[1] // 2 :] = 0
    for name in ("gray_0_255", "rgb_white", "rgba_white", "rgb_red", "la", "onebit"):
        expect_labels(tmp_path / f"{name}.png", bear)
    for name in ("f32.tif", "i32.tif", "gif.gif", "bmp.bmp"):
        expect_labels(tmp_path / name, bear)
    for name in ("convertP_0_255", "davispal_0_255"):  # indices: 255 is an id like others
        expect_labels(tmp_path / f"{name}.png", bear * 255)
    for name in ("gray_0_128_255", "convertP_0_128_255"):
        labels = read_label_map(tmp_path / f"{name}.png")
        assert np.unique(labels).tolist() == [0, 128, 255]
        np.testing.assert_array_equal(labels > 0, bear > 0)
    ids = read_label_map(tmp_path / "ids_1_5_200.png")
    assert np.unique(ids).tolist() == [0, 5, 200]
    np.testing.assert_array_equal(ids > 0, bear > 0)
    assert read_label_map(tmp_path / "full.png").min() == 1
    assert read_label_map(tmp_path / "empty.png").max() == 0
    expect_labels(tmp_path / "pal_white_first.png", 1 - bear, "shown white", "the indices count")
    for name, words in (
        ("soft.png", "soft edges .*threshold it"),
        ("u16_ids.png", "up to 300, but ids end at 255"),
        ("webp_lossy.webp", "lossy WEBP.*PNG"),
    ):
        with pytest.raises(InputError, match=words):
            read_label_map(tmp_path / name)


def test_colours_of_davis_are_ids_and_others_are_refused(folder):
    labels = np.array([[0, 1, 2], [3, 21, 255]], np.uint8)
    expect_labels(save(folder, Image.fromarray(DAVIS_PALETTE[labels])), labels)
    holes = np.dstack([DAVIS_PALETTE[labels], np.where(labels > 0, 255, 0).astype(np.uint8)])
    expect_labels(save(folder, Image.fromarray(holes)), labels)
    with pytest.raises(InputError, match=r"#010203.*in other colours than DAVIS's.*palette"):
        read_label_map(save(folder, Image.fromarray(np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8))))
    with pytest.raises(InputError, match=r"mode CMYK.*palette"):
        read_label_map(save(folder, Image.new("CMYK", (3, 2)), "a.tif"))


def test_grays_saved_as_colours_are_grays(folder):
    gray = np.zeros((20, 20), np.uint8)
    gray[2:8, 2:8], gray[10:18, 10:18] = 1, 2
    expect_labels(save(folder, Image.fromarray(gray).convert("RGB")), gray)


def test_one_colour_with_holes(folder):
    pixels = np.full((4, 5, 4), 255, np.uint8)
    pixels[..., 3] = 0
    pixels[1:3, 1:3, 3] = 255
    expect_labels(save(folder, Image.fromarray(pixels)), pixels[..., 3] // 255, "not transparent")
    pixels[1, 1:4, 3] = 60, 128, 190
    with pytest.raises(InputError, match="threshold it"):
        read_label_map(save(folder, Image.fromarray(pixels)))


def disc(size=60, radius=15.0):
    rows, columns = np.mgrid[:size, :size] - size / 2 + 0.5
    return np.hypot(rows, columns) < radius


@pytest.mark.parametrize("white", [255, 200, 65535])
@pytest.mark.parametrize("blur", [1, 3, 11])
def test_soft_edges_are_told_from_ids(folder, white, blur):
    soft = cv2.GaussianBlur(disc().astype(np.float32), (2 * blur + 1,) * 2, blur / 2)
    kind = np.uint16 if white > 255 else np.uint8
    with pytest.raises(InputError, match=r"soft edges .*threshold"):
        read_label_map(save(folder, Image.fromarray((soft * white).astype(kind))))
    half = cv2.resize(disc(120, 30.0).astype(np.uint8) * 255, (60, 60), interpolation=cv2.INTER_AREA)
    with pytest.raises(InputError, match=r"soft edges .*threshold"):
        read_label_map(save(folder, Image.fromarray(half)))


def test_ids_are_no_soft_edges(folder):
    """Thin, small, nested and touching objects of any shade stay."""
    labels = np.zeros((60, 60), np.uint8)
    labels[5:55, 20:23] = 128
    labels[5:55, 23:50] = 255
    expect_labels(save(folder, Image.fromarray(labels)), labels)
    labels[30:33, 30:33], labels[40:45, 30:35], labels[10:12, 30:40] = 200, 100, 50
    expect_labels(save(folder, Image.fromarray(labels)), labels)
    many = np.kron(np.arange(36).reshape(6, 6), np.ones((10, 10))).astype(np.uint8) * 7
    expect_labels(save(folder, Image.fromarray(many)), many)


def test_fractions_and_what_is_no_number_are_refused(folder):
    shares = np.linspace(0, 1, 6, dtype=np.float32)[None]
    with pytest.raises(InputError, match=r"shares between 0 and 1.*threshold it"):
        read_label_map(save(folder, Image.fromarray(shares), "a.tif"))
    with pytest.raises(InputError, match=r"fractions.*threshold it"):
        read_label_map(save(folder, Image.fromarray(10 * shares + 0.5), "a.tif"))
    with pytest.raises(InputError, match="no numbers"):
        read_label_map(save(folder, Image.fromarray(np.full((1, 2), np.nan, np.float32)), "a.tif"))
    expect_labels(save(folder, Image.fromarray(np.array([[0, 3, 255]], np.float32)), "a.tif"), [[0, 3, 255]])


def test_gifs_keep_ids_by_their_colours(folder):
    labels = np.zeros((20, 30), np.uint8)
    labels[2:8, 2:8], labels[2:8, 12:20], labels[12:18, 5:15] = 1, 5, 200
    indexed = Image.fromarray(labels)
    indexed.putpalette(DAVIS_PALETTE.tobytes())
    path = save(folder, indexed, "a.gif")
    with Image.open(path) as image:
        assert set(np.unique(np.array(image))) != {0, 1, 5, 200}  # Pillow renumbers them
    expect_labels(path, labels)
    expect_labels(save(folder, Image.fromarray(labels), "a.gif"), labels)
    indexed.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    mask = read_mask(save(folder, indexed, "a.gif"))
    assert "renumbered" in mask.notes[0]


def test_lossless_webp_is_read_and_other_pictures_are_not_dropped(folder):
    labels = np.zeros((20, 20), np.uint8)
    labels[4:9, 4:9] = 2
    expect_labels(save(folder, Image.fromarray(DAVIS_PALETTE[labels]), "a.webp", lossless=True), labels)
    first, second = Image.fromarray(labels), Image.fromarray(labels.T)
    expect_labels(save(folder, first, "a.tif", save_all=True, append_images=[second]), labels, "2 pictures")


def test_arrays(tmp_path):
    labels = np.array([[0, 1, 255], [0, 0, 1]])
    path = tmp_path / "a.npy"
    for array, expected in (
        (labels, labels),
        (labels.astype(np.float64), labels),
        (labels > 0, [[0, 1, 1], [0, 0, 1]]),
        (labels[..., None], labels),
        (labels[None], labels),
        (np.array([[0, 255]], np.uint8), [[0, 1]]),
        (np.array([[[1, 0, 0]], [[0, 0, 1]]], bool), [[1, 0, 2]]),
    ):
        np.save(path, array)
        expect_labels(path, expected)
    np.save(path, np.array([[[1, 1, 0]], [[0, 1, 1]]], bool))
    expect_labels(path, [[1, 2, 2]], "1 pixels are in two objects")
    for array, words in (
        (np.zeros((2, 3, 4), np.uint8), "2x3x4"),
        (np.zeros((0, 3)), "0x3"),
        (np.array([[0.2, 0.9]]), "threshold"),
        (np.array([[-1, 2]]), "negative"),
        (np.array([["a"]]), "no ids"),
        (np.zeros((2, 3, 4), bool), "object 1, 2"),
    ):
        np.save(path, array)
        with pytest.raises(InputError, match=words):
            read_mask(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot read the mask"):
        read_mask(path)
    np.savez(tmp_path / "a.npz", first=labels, second=labels * 0)
    expect_labels(tmp_path / "a.npz", labels, "first")
    np.savez_compressed(tmp_path / "b.npz", labels)
    expect_labels(tmp_path / "b.npz", labels)
    np.savez(tmp_path / "c.npz", number=3)
    with pytest.raises(InputError, match="no array"):
        read_mask(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot read the mask"):
        read_mask(tmp_path / "d.npz")


@pytest.mark.parametrize(("mask_size", "frame_size"), [((240, 427), (480, 854)), ((1080, 1920), (480, 854))])
def test_masks_of_another_size_are_resized_with_a_word(tmp_path, mask_size, frame_size):
    labels = np.zeros(mask_size, np.uint8)
    rows, columns = slice(mask_size[0] // 4, mask_size[0] // 2), slice(mask_size[1] // 4, mask_size[1] // 2)
    labels[rows, columns] = 7
    write_label_map(tmp_path / "a.png", labels)
    mask = read_mask(tmp_path / "a.png", frame_size)
    assert mask.labels.shape == frame_size
    expected = np.zeros(frame_size, np.uint8)
    expected[frame_size[0] // 4 : frame_size[0] // 2, frame_size[1] // 4 : frame_size[1] // 2] = 7
    assert np.mean(mask.labels != expected) < 0.005
    assert f"resized from {mask_size[1]}x{mask_size[0]}" in mask.notes[0]
    assert read_mask(tmp_path / "a.png", mask_size).notes == ()


def test_nearest_takes_the_pixel_at_the_same_place(tmp_path):
    write_label_map(tmp_path / "a.png", np.array([[1, 2], [3, 4]], np.uint8))
    assert read_mask(tmp_path / "a.png", (4, 4)).labels.tolist() == [[1, 1, 2, 2]] * 2 + [[3, 3, 4, 4]] * 2
    write_label_map(tmp_path / "a.png", np.arange(1, 10, dtype=np.uint8).reshape(3, 3).repeat(3, 0).repeat(3, 1))
    assert read_mask(tmp_path / "a.png", (3, 3)).labels.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("size", [(48, 81), (47, 80), (50, 80), (96, 80), (80, 48)])
def test_masks_of_another_shape_are_refused(tmp_path, size):
    write_label_map(tmp_path / "a.png", np.ones(size, np.uint8))
    with pytest.raises(InputError, match=f"{size[1]}x{size[0]} and the video 80x48") as raised:
        read_mask(tmp_path / "a.png", (48, 80))
    assert ("turned" in str(raised.value)) == (size == (80, 48))


def test_an_object_that_would_vanish_is_named(tmp_path):
    labels = np.ones((400, 400), np.uint8)
    labels[1, 1] = 9
    write_label_map(tmp_path / "a.png", labels)
    with pytest.raises(InputError, match="object 9 vanishes"):
        read_mask(tmp_path / "a.png", (100, 100))


def test_addresses_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="download the mask"):
        read_mask("https://example.org/mask.png")
    with pytest.raises(InputError, match="is a folder"):
        read_mask(tmp_path)


def test_lossy_files_are_refused(folder):
    with pytest.raises(InputError, match="JPEG"):
        read_label_map(save(folder, Image.new("L", (3, 2)), "a.jpg"))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match="there is no mask"):
        read_label_map(tmp_path / "none.png")
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
