"""Segmentations drawn over their frames, as pictures and as a video."""

import contextlib
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.masks import DAVIS_PALETTE
from ranet_jax.io.video import TruncatedVideoError, quiet_opencv


def draw_overlay(
    image: UInt8[np.ndarray, "height width 3"],
    label_map: UInt8[np.ndarray, "height width"],
    *,
    opacity: float = 0.45,
    palette: UInt8[np.ndarray, "256 3"] = DAVIS_PALETTE,
) -> UInt8[np.ndarray, "height width 3"]:
    """Mixes the colours of the labels into a frame and draws the outline of every object.

    An outline is the object's outermost two pixels in its full colour, with a black pixel outside where it
    borders on the background, so that it shows on ground of any colour.

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
    # The background's colour is black: one pixel on both sides of a border gives the dark edge, too. The second
    # pixel is wanted only inside, where the label, and with it its bitwise "and" with 255, is not 0.
    cv2.copyTo(colours, _near_a_border(label_map, 3), drawn)
    cv2.copyTo(colours, cv2.bitwise_and(_near_a_border(label_map, 5), label_map), drawn)
    return drawn


def _near_a_border(label_map: np.ndarray, side: int) -> UInt8[np.ndarray, "height width"]:
    """255 where the labels in a square around a pixel differ, else 0."""
    square = np.ones((side, side), np.uint8)
    return cv2.compare(cv2.dilate(label_map, square), cv2.erode(label_map, square), cv2.CMP_NE)


class _Abandoned(Exception):
    """Ends the temporary file's block without a result."""


class OverlayWriter:
    """Writes RGB pictures to an mp4 file (MPEG-4 part 2), which appears when the `with` block ends.

    Pictures of odd height or width, which the codec cannot hold, get their last row or column twice. When the
    block ends with an error no file appears, except for `TruncatedVideoError`: what was decoded is kept.
    Neither does one appear when no picture was written.

    Example:
        with OverlayWriter("overlay.mp4", reader.size, reader.frames_per_second) as writer:
            writer.write(draw_overlay(frame.image, labels))
    """

    def __init__(self, path: str | Path, size: tuple[int, int], frames_per_second: int | float):
        """Opens a temporary file beside `path`.

        Args:
            path: the file to write, .mp4; missing parent folders are created.
            size: (height, width) of the pictures in pixels.
            frames_per_second: above 0.

        Raises:
            InputError: the file cannot be written there, its suffix is not .mp4, or the codec is missing.
        """
        self._path = Path(path)
        if self._path.suffix.lower() != ".mp4":
            raise InputError(f"the overlay {path} must be an .mp4 file: change its suffix")
        self._size = size
        self._padding = size[0] % 2, size[1] % 2
        self._count = 0
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_file(self._path))
            # MPEG-4 counts time in steps of at least 1/65535 s: above 65 Hz three decimals do not fit.
            rate = round(frames_per_second, 3 if frames_per_second < 65 else 1)
            padded = (size[1] + self._padding[1], size[0] + self._padding[0])
            with quiet_opencv():
                self._video = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*"mp4v"), rate, padded)
            if not self._video.isOpened():
                raise InputError(f"cannot write {path}: this OpenCV has no MPEG-4 encoder; leave the overlay out")
            stack.callback(self._video.release)
            self._open = stack.pop_all()

    def write(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Appends one picture.

        Args:
            image: uint8 RGB of the size given to the constructor.

        Raises:
            ValueError: the picture has another size.
        """
        if image.shape[:2] != self._size:
            raise ValueError(f"a picture of {image.shape[:2]} in an overlay of {self._size} (height, width)")
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if any(self._padding):
            below, right = self._padding
            picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
        self._video.write(picture)
        self._count += 1

    def __enter__(self) -> "OverlayWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        keep = self._count > 0 and (error is None or isinstance(error, TruncatedVideoError))
        with contextlib.suppress(_Abandoned), self._open:
            if not keep:
                raise _Abandoned
            self._video.release()
            # OpenCV reports no failed write: whether all is on the disk shows only in reading it.
            with quiet_opencv():
                written = cv2.VideoCapture(str(self._temporary)).get(cv2.CAP_PROP_FRAME_COUNT)
            if written != self._count:
                raise InputError(f"cannot write {self._path}: the disk is probably full; make room")
