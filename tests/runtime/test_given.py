"""Which file is the mask of which frame, and what of the files is refused or said."""

import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.masks import write_label_map
from ranet_jax.runtime.given import mask_paths, open_masks

SIZE = (20, 30)


def labels_of(**places):
    """A label map with objects of 10x10 pixels: `_7=3` is object 7 from column 3 on."""
    labels = np.zeros(SIZE, np.uint8)
    for name, column in places.items():
        labels[5:15, column : column + 10] = int(name[1:])
    return labels


def mask(path, **places):
    write_label_map(path, labels_of(**places or {"_1": 3}))
    return path


def frames(folder, names):
    folder.mkdir()
    for name in names:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / name)
    return str(folder)


def names(found):
    return {number: path.name for number, path in found.items()}


def test_a_file_is_the_mask_of_the_first_frame_that_is_segmented(tmp_path):
    path = mask(tmp_path / "a.png")
    assert mask_paths([str(path)], "video.mp4") == {0: path}
    assert mask_paths([str(path)], "video.mp4", first=7) == {7: path}


def test_a_number_says_which_frame_and_masks_come_in_the_frames_order(tmp_path):
    a, b = mask(tmp_path / "a.png"), mask(tmp_path / "b.png")
    found = mask_paths([f"120={a}", f"0={b}"], "video.mp4")
    assert list(found.items()) == [(0, b), (120, a)]


def test_a_file_whose_name_looks_like_a_number_and_a_file_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask(tmp_path / "3=a.png")
    assert names(mask_paths(["3=a.png"], "video.mp4")) == {0: "3=a.png"}


def test_the_masks_of_a_folder_are_found_by_the_names_of_frames(tmp_path):
    for name in ("8.png", "10.png"):
        mask(tmp_path / "masks" / name)
    padded = frames(tmp_path / "padded", [f"{i:05d}.jpg" for i in range(7, 12)])
    assert names(mask_paths([str(tmp_path / "masks")], padded)) == {1: "8.png", 3: "10.png"}
    unpadded = frames(tmp_path / "unpadded", [f"{i}.png" for i in range(1, 12)])
    assert names(mask_paths([str(tmp_path / "masks")], unpadded)) == {7: "8.png", 9: "10.png"}
    # Frames of a video file are called 00000, 00001, ...
    assert names(mask_paths([str(tmp_path / "masks")], "video.mp4")) == {8: "8.png", 10: "10.png"}


def test_a_mask_among_the_frames_does_not_shift_the_numbers_of_others(tmp_path):
    folder = frames(tmp_path / "frames", ["0.png", "5.png", "6.png"])
    mask(tmp_path / "masks" / "6.png")
    mask(tmp_path / "frames" / "3.png")
    found = mask_paths([f"0={folder}/3.png", str(tmp_path / "masks")], folder)
    assert names(found) == {0: "3.png", 2: "6.png"}


def test_two_masks_of_one_frame_are_refused(tmp_path):
    a, b = mask(tmp_path / "a.png"), mask(tmp_path / "masks" / "00000.png")
    for values in ([str(a), f"0={b}"], [str(a), str(tmp_path / "masks")], [str(tmp_path / "masks"), str(a)]):
        with pytest.raises(InputError, match=r"frame 0 has two masks, .*a\.png and .*00000\.png: give one"):
            mask_paths(values, "video.mp4")
    mask(tmp_path / "masks" / "0.png")
    with pytest.raises(InputError, match=r"frame 0 has two masks, .*0\.png and .*0\.png: give one"):
        mask_paths([str(tmp_path / "masks")], "video.mp4")


def test_a_mask_whose_name_is_no_frames_is_named(tmp_path):
    folder = frames(tmp_path / "frames", ["00001.jpg", "00002.jpg"])
    mask(tmp_path / "masks" / "00002.png")
    mask(tmp_path / "masks" / "00003.png")
    with pytest.raises(InputError, match=r"00003\.png is named like no frame \(they are called 00001, \.\.\.\)"):
        mask_paths([str(tmp_path / "masks")], folder)
    mask(tmp_path / "others" / "first.png")
    with pytest.raises(InputError, match=r"first\.png is named like no frame \(they are called 00000, 00001, \.\.\.\)"):
        mask_paths([str(tmp_path / "others")], "video.mp4")


def test_a_missing_mask_is_told_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"there is no mask: `ranet-jax frame video\.mp4 4 frame\.png` writes"):
        mask_paths([], "video.mp4", first=4)
    with pytest.raises(InputError, match=r"no mask .*absent\.png.* `ranet-jax frame video\.mp4 9 frame\.png` writes"):
        mask_paths([f"9={tmp_path}/absent.png"], "video.mp4")
    write_label_map(tmp_path / "empty.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(InputError, match=r"empty\.png: the mask is empty.* `ranet-jax frame video\.mp4 2 frame\.png`"):
        open_masks(mask_paths([f"2={tmp_path}/empty.png"], "video.mp4"), SIZE, "video.mp4")


def test_masks_are_read_when_they_are_asked_for_and_know_when_objects_first_come(tmp_path):
    mask(tmp_path / "3.png", _5=3)
    mask(tmp_path / "6.png", _255=2, _5=14)
    given = open_masks(mask_paths([str(tmp_path)], "video.mp4"), SIZE, "video.mp4").from_frame(2)
    assert dict(given.first_frames) == {5: 1, 255: 4}
    assert list(given) == [1, 4]
    assert given.notes == ()
    np.testing.assert_array_equal(given[4], labels_of(_255=2, _5=14))
    assert list(given.from_frame(2)) == [2]


def test_more_objects_than_there_is_room_for_in_all_masks_together(tmp_path):
    for number in range(17):
        mask(tmp_path / f"{number}.png", **{f"_{number + 1}": 3})
    paths = mask_paths([str(tmp_path)], "video.mp4")
    with pytest.raises(InputError, match="17 objects and 16 is the most"):
        open_masks(paths, SIZE, "video.mp4")
    del paths[16]
    assert len(open_masks(paths, SIZE, "video.mp4").first_frames) == 16


def test_a_small_object_is_said_once_and_a_resized_mask_names_its_file_once(tmp_path):
    labels = np.zeros((40, 60), np.uint8)
    labels[:4, :6], labels[20:, 30:] = 1, 2
    for number in range(3):
        write_label_map(tmp_path / f"{number}.png", labels)
    notes = open_masks(mask_paths([str(tmp_path)], "video.mp4"), SIZE, "video.mp4").notes
    small = [note for note in notes if "object 1 has 6 pixels" in note]
    assert small == [f"{tmp_path}/0.png: object 1 has 6 pixels; of fewer than 64, objects are easily lost"]
    assert [note.count("0.png") for note in notes if "resized" in note] == [1, 0, 0]


@pytest.mark.parametrize(("thickness", "thin"), [(3, True), (5, True), (6, False)])
def test_a_thin_object_is_said(tmp_path, thickness, thin):
    size = (320, 480)
    labels = np.zeros(size, np.uint8)
    labels[10:310, 200 : 200 + thickness] = 1
    labels[10:20, 10:20] = labels[300:310, 400:410] = 2  # apart, and neither is thin
    write_label_map(tmp_path / "a.png", labels)
    notes = open_masks({0: tmp_path / "a.png"}, size, "video.mp4").notes
    said = "object 1 is 300 pixels long and nowhere 6 thick: so thin an object comes out several times as thick"
    assert notes == ((f"{tmp_path / 'a.png'}: {said}",) if thin else ())


def test_a_mask_that_does_not_fit_or_cannot_be_read(tmp_path):
    write_label_map(tmp_path / "wide.png", np.ones((20, 31), np.uint8))
    with pytest.raises(InputError, match=r"wide\.png: the mask is 31x20 and the video 30x20"):
        open_masks({0: tmp_path / "wide.png"}, SIZE, "video.mp4")
    (tmp_path / "cut.png").write_bytes(mask(tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"cut\.png"):
        open_masks({0: tmp_path / "cut.png"}, SIZE, "video.mp4")
    with pytest.raises(InputError, match="address on a network: download the mask"):
        open_masks(mask_paths(["https://example.org/a.png"], "video.mp4"), SIZE, "video.mp4")
    with pytest.raises(InputError, match="is a folder: give the mask file of one frame"):
        open_masks(mask_paths([f"3={tmp_path}"], "video.mp4"), SIZE, "video.mp4")
