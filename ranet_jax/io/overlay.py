"""Segmentations drawn over their frames, as pictures and as a video."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.encoder import SUFFIXES, Encoder
from ranet_jax.io.file_sink import FileSink
from ranet_jax.io.palette import DAVIS_PALETTE

_SIDE_OF_THIN_LINES = 240
"""Outlines are one pixel for each so many of the shorter side: two at 480p."""


def draw_overlay(
    image: UInt8[np.ndarray, "height width 3"],
    label_map: UInt8[np.ndarray, "height width"],
    *,
    opacity: float = 0.45,
    palette: UInt8[np.ndarray, "256 3"] = DAVIS_PALETTE,
) -> UInt8[np.ndarray, "height width 3"]:
    """Mixes the colours of the labels into a frame and draws the outline of every object.

    An outline is the object's outermost pixels in its full colour, two of them at 480p and more in larger frames, with
    half as many black ones outside where it borders on the background, so that it shows on ground of any colour.

    Args:
        image: RGB frame, uint8 (height, width, 3).
        label_map: label of every pixel, uint8 (height, width), 0 for the background, which is left as it is.
        opacity: share of the label's colour inside an object, 0 to 1.
        palette: RGB of every label; black for the background.

    Returns:
        The picture, uint8 RGB (height, width, 3); the inputs are not changed.
    """
    colours = cv2.applyColorMap(label_map, palette.reshape(256, 1, 3))
    drawn = image.copy()
    cv2.copyTo(cv2.addWeighted(image, 1.0 - opacity, colours, opacity, 0.0), label_map, drawn)
    inside = max(1, round(min(label_map.shape) / _SIDE_OF_THIN_LINES))
    outside = max(1, inside // 2)
    # The background's colour is black: around a border it gives the dark edge. What else is near a border is wanted
    # only inside, where the label, and with it its bitwise "and" with 255, is not 0.
    cv2.copyTo(colours, _near_a_border(label_map, outside), drawn)
    cv2.copyTo(colours, cv2.bitwise_and(_near_a_border(label_map, inside), label_map), drawn)
    return drawn


def _near_a_border(label_map: np.ndarray, distance: int) -> UInt8[np.ndarray, "height width"]:
    """255 where the labels in the square of pixels up to a distance differ, else 0."""
    square = np.ones((2 * distance + 1,) * 2, np.uint8)
    return cv2.compare(cv2.dilate(label_map, square), cv2.erode(label_map, square), cv2.CMP_NE)


class OverlayWriter(FileSink):
    """Writes RGB pictures to a video that browsers play, which appears when the `with` block ends.

    The suffix decides: .mp4 is H.264, .webm VP9, .gif a GIF. Pictures keep the times of the frames. Pictures of odd
    height or width, which the codecs cannot hold, get their last row or column twice. When the block ends with an
    error no file appears, except for `IncompleteVideoError`: what was decoded is kept. Neither does one appear when no
    picture was written.

    Examples:
        with OverlayWriter("overlay.mp4", reader.size, reader.frames_per_second) as writer:
            writer.write(draw_overlay(frame.image, labels), frame.seconds)
    """

    def __init__(self, path: str | Path, size: tuple[int, int], frames_per_second: int | float):
        """Opens a temporary file beside `path`.

        Args:
            path: the file to write, .mp4, .webm or .gif; missing parent folders are created.
            size: (height, width) of the pictures in pixels.
            frames_per_second: above 0; of pictures without a time, and of the last one.

        Raises:
            InputError: the file cannot be written there, its suffix is another one, or the codec is missing.
        """
        if Path(path).suffix.lower() not in SUFFIXES:
            raise InputError(f"the overlay {path} must be one of {', '.join(SUFFIXES)}: change its suffix")
        super().__init__(path)
        self._size = size
        self._padding = (0, 0) if self.path.suffix.lower() == ".gif" else (size[0] % 2, size[1] % 2)
        padded = size[0] + self._padding[0], size[1] + self._padding[1]
        with self.removed_on_error():
            self._encoder = Encoder(self.temporary, padded, frames_per_second, name=self.path)

    def write(self, image: UInt8[np.ndarray, "height width 3"], seconds: float | None = None) -> None:
        """Appends one picture.

        Args:
            image: uint8 RGB of the size given to the constructor.
            seconds: when it is shown; None for what its number and the rate say.

        Raises:
            InputError: the file cannot be written: the disk is full.
            ValueError: the picture has another size.
        """
        if image.shape[:2] != self._size:
            raise ValueError(f"a picture of {image.shape[:2]} in an overlay of {self._size} (height, width)")
        if any(self._padding):
            below, right = self._padding
            image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        self._encoder.write(image, seconds)
        self.count += 1

    def _finish(self) -> None:
        self._encoder.finish()

    def _abandon(self) -> None:
        self._encoder.abandon()
