"""Frames from a camera."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.frames import Frame, FrameReader
from ranet_jax.io.opencv import quiet_opencv

CAMERA_FRAMES_PER_SECOND = 30.0


def camera_index(source: str | Path) -> int | None:
    """The number of the camera that a source names; None where it names a file or folder.

    `camera:1` is always a camera; digits alone are one only where nothing of that name exists on disk.
    """
    named = isinstance(source, str) and re.fullmatch("(camera:)?([0-9]{1,4})", source)
    if not named or (named[1] is None and Path(source).exists()):
        return None
    return int(named[2])


def open_camera(index: int) -> FrameReader:
    """Opens a camera; its frames end only by `FrameReader.stop`.

    Args:
        index: which one, from 0.

    Raises:
        InputError: it gives no picture.
    """
    with quiet_opencv():
        capture = cv2.VideoCapture(index)
        first = _next_image(capture)
    if first is None:
        capture.release()
        raise InputError(f"camera {index} gives no picture: check that it is connected and not in use")
    rate = capture.get(cv2.CAP_PROP_FPS)
    return FrameReader(
        _captured_frames(capture, first),
        size=(first.shape[0], first.shape[1]),
        # Some drivers say 0, NaN or their clock's ticks (90000).
        frames_per_second=rate if 0 < rate <= 1000 else CAMERA_FRAMES_PER_SECOND,
        count=None,
        release=capture.release,
        live=True,
    )


def _next_image(capture: cv2.VideoCapture) -> UInt8[np.ndarray, "height width 3"] | None:
    decoded, image = capture.read()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if decoded else None


def _captured_frames(capture: cv2.VideoCapture, first: np.ndarray) -> Iterator[Frame]:
    image: np.ndarray | None = first
    start = time.perf_counter()
    index = 0
    while image is not None:
        yield Frame(f"{index:05d}", image, time.perf_counter() - start)
        index += 1
        image = _next_image(capture)
