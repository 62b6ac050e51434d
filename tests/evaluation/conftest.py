"""A fabricated data set for the programs that track one."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

SIZE = (48, 80)
SEQUENCES = ("cow", "dog")


@pytest.fixture
def write_davis(tmp_path, rng) -> Callable[..., pathlib.Path]:
    """Writes a DAVIS 2016 folder, its split `val` of sequences with an object that moves."""

    def write(lengths, sizes=None):
        for name, length in lengths.items():
            size = (sizes or {}).get(name, SIZE)
            for i in range(length):
                truth = np.zeros(size, np.uint8)
                truth[10:30, 10 + 4 * i : 40 + 4 * i] = 255
                for kind, array, suffix in (
                    ("JPEGImages", rng.integers(0, 255, (*size, 3), dtype=np.uint8), "jpg"),
                    ("Annotations", truth, "png"),
                ):
                    folder = tmp_path / "DAVIS" / kind / "480p" / name
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(folder / f"{i:05d}.{suffix}")
        lists = tmp_path / "DAVIS" / "ImageSets" / "2016"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("\n".join(lengths) + "\n")
        return tmp_path / "DAVIS"

    return write


@pytest.fixture
def root(write_davis):
    return write_davis(dict.fromkeys(SEQUENCES, 3))
