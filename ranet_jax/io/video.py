"""Frames from a video file, a folder of pictures or a camera, one at a time."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.camera import camera_index, open_camera
from ranet_jax.io.container import open_container
from ranet_jax.io.folders import PICTURE_SUFFIXES, frame_files
from ranet_jax.io.frames import (
    FOLDER_FRAMES_PER_SECOND,
    DamagedVideoError,
    Frame,
    FrameReader,
    IncompleteVideoError,
    TruncatedVideoError,
)
from ranet_jax.io.levels import EightBits, Levels
from ranet_jax.io.pictures import is_animated, read_picture

__all__ = [
    "DamagedVideoError",
    "Frame",
    "FrameReader",
    "IncompleteVideoError",
    "TruncatedVideoError",
    "open_frames",
    "read_frame",
    "read_picture",
]


def open_frames(source: str | Path, *, without: Iterable[str | Path] = (), levels: Levels | None = None) -> FrameReader:
    """Opens a video file, a folder of pictures or a camera.

    Pictures and videos are turned and mirrored as their metadata says. Gray, palette and transparent pictures become
    8-bit RGB (transparency is dropped). 16-bit and float values are scaled by the first frame's range, all frames
    alike. Which files of a folder are frames, and their order, is what `ranet_jax.io.folders.frame_files` says.

    Args:
        source: path of a video file that FFmpeg decodes (also GIF) or of a folder; `camera:1`, or digits where nothing
            of that name is on disk, is a camera.
        without: files that are no frames though they lie among them, such as the mask of the first frame.
        levels: the values of 16-bit and float frames that become black and white.

    Returns:
        The reader. Iterating raises `IncompleteVideoError` after the last frame of a file that is cut off or damaged,
        and `InputError` at a picture that is damaged or of another size than the first.

    Raises:
        InputError: nothing there, or nothing that can be decoded.
    """
    camera = camera_index(source)
    if camera is not None:
        return open_camera(camera)
    if re.match("[A-Za-z][A-Za-z0-9+.-]+://", str(source)):
        raise InputError(f"{source} is an address on a network: download the video and give its path")
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, without, EightBits(levels))
    if not path.exists():
        raise InputError(f"there is no video {path}: check the path")
    if path.suffix.lower() in PICTURE_SUFFIXES and not is_animated(path):
        raise InputError(f"{path} is a single picture: give the folder that holds the frames, or a video file")
    return open_container(path, EightBits(levels))


def read_frame(source: str | Path, number: int, *, levels: Levels | None = None) -> Frame:
    """One frame of a video or folder, as the tracker sees it: the one to draw a mask on.

    Args:
        source: see `open_frames`.
        number: from 0.
        levels: see `open_frames`.

    Raises:
        InputError: the source cannot be read, or has fewer frames.
    """
    count = 0
    with open_frames(source, levels=levels) as frames:
        for frame in frames:
            if count == number:
                return frame
            count += 1
    raise InputError(f"{source} has {count} frames, numbered from 0: there is no frame {number}")


def _open_folder(folder: Path, without: Iterable[str | Path], to_eight_bits: EightBits) -> FrameReader:
    listing = frame_files(folder, without=without)
    first = read_picture(listing.files[0], to_eight_bits)
    notes = listing.notes if to_eight_bits.note is None else (*listing.notes, to_eight_bits.note)
    return FrameReader(
        _folder_frames(listing.files, first, to_eight_bits),
        size=(first.shape[0], first.shape[1]),
        frames_per_second=FOLDER_FRAMES_PER_SECOND,
        count=len(listing.files),
        release=lambda: None,
        notes=notes,
    )


def _folder_frames(paths: tuple[Path, ...], first: np.ndarray, to_eight_bits: EightBits) -> Iterator[Frame]:
    yield Frame(paths[0].stem, first)
    for path in paths[1:]:
        image = read_picture(path, to_eight_bits)
        if image.shape != first.shape:
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} but the first frame is "
                f"{first.shape[1]}x{first.shape[0]}: all frames must have one size"
            )
        yield Frame(path.stem, image)
