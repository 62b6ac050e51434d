import numpy as np
import pytest
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.results import ResultWriter
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
