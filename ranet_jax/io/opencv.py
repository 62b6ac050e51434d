"""OpenCV kept quiet: what is wrong with a file or a camera is said once, by us."""

import contextlib
import os
from collections.abc import Iterator

import cv2


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV and its FFmpeg from printing while the block runs."""
    # FFmpeg's own level (-8: silence) is read once, when OpenCV first opens a video; a user's choice stays.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
