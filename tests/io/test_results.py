import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.results import ResultWriter, old_results, remove_old_results, require_no_old_results
from ranet_jax.io.video import Frame, open_frames


def test_label_maps_and_overlay(tmp_path, rng):
    labels = [rng.integers(0, 3, (33, 40)).astype(np.uint8) for _ in range(3)]
    image = np.zeros((33, 40, 3), np.uint8)
    with OverlayWriter(tmp_path / "overlay.mp4", (33, 40), 24) as overlay:
        write = ResultWriter(tmp_path / "new" / "results", overlay)
        for index, label_map in enumerate(labels):
            write(Frame(f"frame{index}", image), label_map)
    for index, label_map in enumerate(labels):
        np.testing.assert_array_equal(read_label_map(tmp_path / f"new/results/frame{index}.png"), label_map)
    with open_frames(tmp_path / "overlay.mp4") as reader:
        assert len(list(reader)) == 3


def test_old_results_are_replaced_but_frames_are_not(tmp_path):
    write = ResultWriter(tmp_path)
    frame = Frame("00000", np.zeros((2, 3, 3), np.uint8))
    write(frame, np.zeros((2, 3), np.uint8))
    write(frame, np.ones((2, 3), np.uint8))
    assert read_label_map(tmp_path / "00000.png").all()
    Image.new("RGB", (3, 2)).save(tmp_path / "00000.png")
    before = (tmp_path / "00000.png").read_bytes()
    with pytest.raises(InputError, match="another folder"):
        write(frame, np.ones((2, 3), np.uint8))
    assert (tmp_path / "00000.png").read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot create the folder"):
        ResultWriter(tmp_path / "file" / "results")


def test_old_results_are_counted_and_refused(tmp_path):
    assert require_no_old_results(tmp_path / "absent", overwrite=False) == ()
    (tmp_path / "overlay.mp4").touch()
    (tmp_path / ".hidden.png").touch()
    assert require_no_old_results(tmp_path, overwrite=False) == ()
    write = ResultWriter(tmp_path)
    image = np.zeros((2, 3, 3), np.uint8)
    for index in range(12):
        write(Frame(f"{index}", image), np.ones((2, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds 12 PNG files \(0\.png, \.\.\.\) already: .*--overwrite"):
        require_no_old_results(tmp_path, overwrite=False)
    old = require_no_old_results(tmp_path, overwrite=True)
    assert [path.stem for path in old] == [str(index) for index in range(12)]
    for index in range(5):
        write(Frame(f"{index}", image), np.zeros((2, 3), np.uint8))
    assert remove_old_results(old, [f"{index}" for index in range(5)]) == 7
    assert [path.name for path in old_results(tmp_path)] == [f"{index}.png" for index in range(5)]


def test_what_is_no_result_is_never_overwritten(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"photo\.png is no palette PNG"):
        require_no_old_results(tmp_path, overwrite=True)
    (tmp_path / "photo.png").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"photo\.png is no palette PNG"):
        require_no_old_results(tmp_path, overwrite=True)


def test_the_overlay_has_the_time_of_the_frames(tmp_path):
    labels = np.zeros((32, 40), np.uint8)
    with OverlayWriter(tmp_path / "overlay.mp4", (32, 40), 24) as overlay:
        write = ResultWriter(tmp_path / "results", overlay)
        for index, seconds in enumerate([0.0, 0.1, 0.5]):
            write(Frame(f"{index}", np.zeros((32, 40, 3), np.uint8), seconds), labels)
    with open_frames(tmp_path / "overlay.mp4") as reader:
        np.testing.assert_allclose([frame.seconds for frame in reader], [0, 0.1, 0.5], atol=1e-3)
