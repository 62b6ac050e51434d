"""The results of a video on disk: one palette PNG per frame and, where wanted, an overlay video."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import make_folder
from ranet_jax.io.masks import write_label_map
from ranet_jax.io.overlay import OverlayWriter, draw_overlay
from ranet_jax.io.video import Frame


class ResultWriter:
    """Writes `<folder>/<frame name>.png` label maps and adds to an overlay; the sink of `tracking.stream`.

    Every PNG appears complete or not at all. The overlay is closed by whoever opened it:

        with OverlayWriter("overlay.mp4", (480, 854), 24) as overlay:
            report = stream(tracker, variables, frames, {0: labels}, ResultWriter("results", overlay))
    """

    def __init__(self, folder: str | Path, overlay: OverlayWriter | None = None):
        """Creates the folder.

        Args:
            folder: where the label maps go; created with its parents where missing.
            overlay: also gets every frame with its segmentation drawn over it.

        Raises:
            InputError: the folder cannot be created.
        """
        self._folder = make_folder(folder)
        self._overlay = overlay

    def __call__(self, frame: Frame, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Writes the label map of one frame.

        Args:
            frame: names the file, and is what the overlay shows.
            label_map: uint8 (height, width).

        Raises:
            InputError: the file cannot be written, or a picture that is no palette PNG has that name: results
                written into the folder of the frames would otherwise replace them.
        """
        path = self._folder / f"{frame.name}.png"
        if path.exists() and not _is_palette_image(path):
            raise InputError(f"{path} exists and is not a palette PNG, so it is kept: choose another folder")
        write_label_map(path, label_map)
        if self._overlay is not None:
            self._overlay.write(draw_overlay(frame.image, label_map))


def _is_palette_image(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode == "P"
    except OSError:
        return False
