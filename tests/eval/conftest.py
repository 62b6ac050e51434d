"""A fabricated data set for the programs that track one."""

import numpy as np
import pytest
from PIL import Image

SIZE = (48, 80)
SEQUENCES = ("cow", "dog")


@pytest.fixture
def root(tmp_path, rng):
    for name in SEQUENCES:
        for i in range(3):
            truth = np.zeros(SIZE, np.uint8)
            truth[10:30, 10 + 4 * i : 40 + 4 * i] = 255
            for kind, array, suffix in (
                ("JPEGImages", rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8), "jpg"),
                ("Annotations", truth, "png"),
            ):
                folder = tmp_path / "DAVIS" / kind / "480p" / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"{i:05d}.{suffix}")
    lists = tmp_path / "DAVIS" / "ImageSets" / "2016"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(SEQUENCES) + "\n")
    return tmp_path / "DAVIS"
