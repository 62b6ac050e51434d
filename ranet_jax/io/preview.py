"""A sheet of a few frames with their masks: a whole video at a glance."""

import math
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.file_sink import FileSink
from ranet_jax.io.frames import Frame
from ranet_jax.io.overlay import draw_overlay

SHOWN = 12
_LONGER_SIDE = 320
_GAP = 4
_SUFFIXES = (".png", ".jpg", ".jpeg")


class PreviewSheet(FileSink):
    """Draws up to twelve frames, evenly spread from the first to the last, with their masks and names.

    How many frames come need not be known: of those seen, every k-th is kept, with k doubled when there are too many.

    Examples:
        with PreviewSheet("sheet.png") as preview:
            preview(frame, labels)
    """

    def __init__(self, path: str | Path):
        """Opens the file.

        Args:
            path: the .png or .jpg to write.

        Raises:
            InputError: it has another suffix, or cannot be written there.
        """
        if Path(path).suffix.lower() not in _SUFFIXES:
            raise InputError(f"the preview {path} must be one of {', '.join(_SUFFIXES)}: change its suffix")
        super().__init__(path)
        self._step = 1
        self._kept: dict[int, np.ndarray] = {}
        self._last: tuple[Frame, np.ndarray] | None = None

    def __call__(self, frame: Frame, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Takes notice of one frame."""
        if self.count % self._step == 0:
            self._kept[self.count] = _thumbnail(frame, label_map)
            if len(self._kept) > 8 * SHOWN:
                self._step *= 2
                self._kept = {number: kept for number, kept in self._kept.items() if number % self._step == 0}
        self._last = frame, label_map
        self.count += 1

    def _finish(self) -> None:
        assert self._last is not None
        self._kept[self.count - 1] = _thumbnail(*self._last)
        wanted = np.linspace(0, self.count - 1, min(SHOWN, self.count))
        numbers = sorted({min(self._kept, key=lambda number: abs(number - place)) for place in wanted})
        sheet = Image.fromarray(_grid([self._kept[number] for number in numbers]))
        with self.writing():
            sheet.save(self.temporary)


def _thumbnail(frame: Frame, label_map: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """The frame, small, with its masks and its name; outlines are drawn at the size at which they are seen."""
    height, width = label_map.shape
    scale = min(1.0, _LONGER_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    drawn = draw_overlay(image, cv2.resize(label_map, size, interpolation=cv2.INTER_NEAREST_EXACT))
    # White on black: thicker letters would be wider, too.
    for right, down, colour in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 255)):
        place = (5 + right, size[1] - 7 + down)
        cv2.putText(drawn, frame.name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (colour,) * 3, 1, cv2.LINE_AA)
    return drawn


def _grid(pictures: list[np.ndarray]) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of one size in rows: a sheet about as wide as a screen."""
    height, width = pictures[0].shape[:2]
    columns = min(len(pictures), 6 if height > width else 4)
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet
