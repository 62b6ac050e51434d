"""Pictures whose colour tells their label, and how they are written."""

import pathlib

import cv2
import numpy as np
from PIL import Image

from ranet_jax.data.sources import LabelledImage

COLOURS = np.array(
    [(200, 200, 200), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)], np.uint8
)


def blobs(objects: int, size: tuple[int, int] = (60, 96), shift: int = 0) -> np.ndarray:
    """A label map with objects 1, 2, ... side by side, each well inside the picture."""
    height, width = size
    labels = np.zeros(size, np.uint8)
    for label in range(1, objects + 1):
        x = int(width * label / (objects + 1)) + shift
        cv2.ellipse(labels, (x, height // 2), (width // (3 * objects + 2), height // 4), 0, 0, 360, label, -1)
    return labels


def picture(labels: np.ndarray, name: str = "picture") -> LabelledImage:
    return LabelledImage(COLOURS[labels], labels, name)


def write_jpeg(path: pathlib.Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="JPEG", quality=95)


def write_png(path: pathlib.Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG")
