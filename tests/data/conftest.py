"""Small fabricated data in memory and in the published layouts."""

import pathlib
from collections.abc import Callable

import pytest
from fabricated import COLOURS, blobs, picture, write_jpeg

from ranet_jax.data.sources import MemorySource
from ranet_jax.io.masks import write_label_map


@pytest.fixture
def videos() -> MemorySource:
    """Three videos of 6, 4 and 3 frames: one moving object; two objects, none in frames 1 and 2; three objects."""
    first = [picture(blobs(1, shift=i), f"first/{i}") for i in range(6)]
    second = [picture(blobs(2 if i in (0, 3) else 0), f"second/{i}") for i in range(4)]
    third = [picture(blobs(3, shift=i), f"third/{i}") for i in range(3)]
    return MemorySource(first + second + third, [6, 4, 3])


@pytest.fixture
def davis_root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A DAVIS folder: "walk" of 4 frames, two objects and a void pixel; "swim" of 3, the last not annotated."""
    root = tmp_path / "DAVIS"
    for sequence, frames, annotated in (("walk", 4, 4), ("swim", 3, 2)):
        for i in range(frames):
            labels = blobs(2, shift=2 * i)
            write_jpeg(root / "JPEGImages" / "480p" / sequence / f"{i:05d}.jpg", COLOURS[labels])
            labels[0, 0] = 255
            if i < annotated:
                write_label_map(root / "Annotations" / "480p" / sequence / f"{i:05d}.png", labels)
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
        (root / "ImageSets" / year / "train.txt").write_text("walk\nswim\n")
    return root


@pytest.fixture
def cut_off() -> Callable[[pathlib.Path], None]:
    """Cuts a file in half."""

    def cut(path: pathlib.Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut
