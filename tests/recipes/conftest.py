"""Every data set of the recipes, fabricated: a few small images in the published layouts."""

import pathlib

import numpy as np
import pytest
from fabricated import COLOURS, blobs, write_jpeg, write_png

from ranet_jax.io.masks import write_label_map


def _davis(root, year):
    # Of DAVIS 2017, `lite` reads one sequence by its name.
    sequences = ("walk", "swim", "longboard")
    for sequence in sequences:
        for i in range(4):
            labels = blobs(2, shift=2 * i)
            write_jpeg(root / "JPEGImages" / "480p" / sequence / f"{i:05d}.jpg", COLOURS[labels])
            write_label_map(root / "Annotations" / "480p" / sequence / f"{i:05d}.png", labels)
    folder = root / "ImageSets" / str(year)
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("".join(f"{sequence}\n" for sequence in sequences))
    (folder / "val.txt").write_text("swim\n")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("data")
    _davis(root / "DAVIS", 2016)
    _davis(root / "DAVIS17", 2017)
    single = ((blobs(1) > 0) * 255).astype(np.uint8)
    several = COLOURS[blobs(3)] * (blobs(3) > 0)[..., None].astype(np.uint8)
    image = COLOURS[blobs(3)]
    for i in range(3):
        name = f"{i + 1:04d}"
        write_jpeg(root / "MSRA10K" / "Imgs" / f"{name}.jpg", image)
        write_png(root / "MSRA10K" / "Imgs" / f"{name}.png", single)
        write_jpeg(root / "ECSSD" / "images" / f"{name}.jpg", image)
        write_png(root / "ECSSD" / "ground_truth_mask" / f"{name}.png", single)
        write_png(root / "HKU-IS" / "imgs" / f"{name}.png", image)
        write_png(root / "HKU-IS" / "gt" / f"{name}.png", single)
        write_jpeg(root / "SOC" / "TrainSet" / "Imgs" / f"{name}.jpg", image)
        write_png(root / "SOC" / "TrainSet" / "Instance gt" / "gt" / f"{name}.png", several)
        write_jpeg(root / "ILSO" / "imgs" / f"{name}.jpg", image)
        write_png(root / "ILSO" / "gt" / f"{name}.png", several)
    (root / "ILSO" / "ImageSets").mkdir()
    (root / "ILSO" / "ImageSets" / "train_id_1000.txt").write_text("0001\n0002\n0003\n")
    return root
