"""A small clip, a micro network, and a server that runs in this process."""

import fractions
import pathlib
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest

from ranet_jax.ranet import RANetConfig
from ranet_jax.studio.library import Library
from ranet_jax.studio.pages import Pages
from ranet_jax.studio.project import Project
from ranet_jax.studio.session import Session
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import initial_variables, save_checkpoint

SIZE = (64, 96)
FRAMES = 40
TOKEN = "t" * 43


def picture(index: int) -> np.ndarray:
    """A red square that moves over a background that does not repeat."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([rows * 2, columns * 2, (rows + columns) % 64], axis=-1).astype(np.uint8)
    image[20:44, 8 + index : 32 + index] = (230, 30, 40)
    return image


def square(index: int, id: int = 1) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[20:44, 8 + index : 32 + index] = id
    return labels


def write_video(path: pathlib.Path, frames: int = FRAMES, *, keyframes: int = 12, bframes: int = 2) -> None:
    with av.open(str(path), "w") as container:
        options = {"g": str(keyframes), "bf": str(bframes), "crf": "10", "preset": "ultrafast", "sc_threshold": "0"}
        stream: Any = container.add_stream("libx264", rate=fractions.Fraction(20), options=options)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for index in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("clip") / "square.mp4"
    write_video(path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("network") / "micro"
    config = RANetConfig.lite(backbone="resnet_micro", input_size=SIZE, template_grid=(4, 6), hints=0)
    save_checkpoint(folder, config, TrackerConfig(), initial_variables(config))
    return str(folder)


@pytest.fixture
def project(tmp_path, clip, checkpoint) -> Iterator[Project]:
    made = Project.create(tmp_path / "project", clip, checkpoint=checkpoint)
    yield made
    made.close()


@pytest.fixture
def session(tmp_path, checkpoint) -> Iterator[Session]:
    made = Session(Library(tmp_path / "library"), Pages(), checkpoint=checkpoint)
    yield made
    made.close()
