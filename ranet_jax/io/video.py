"""Frames from a video file, a folder of pictures or a camera, one at a time."""

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from ranet_jax.errors import InputError

FOLDER_FRAMES_PER_SECOND = 24.0
CAMERA_FRAMES_PER_SECOND = 30.0
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
_FIRST_ISO_BLOCKS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


class TruncatedVideoError(InputError):
    """A video file ends early: fewer frames could be decoded than it announces.

    Attributes:
        decoded: number of frames that were decoded, all of which were yielded before this error.
        announced: number of frames the file announces.
    """

    def __init__(self, path: str | Path, decoded: int, announced: int):
        super().__init__(
            f"{path} is cut off: {decoded} of its {announced} frames could be decoded; get a complete copy"
        )
        self.decoded = decoded
        self.announced = announced


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        name: what its results are named after: the file stem in a folder, else the index, "00000".
        image: uint8 RGB (height, width, 3).
    """

    name: str
    image: UInt8[np.ndarray, "height width 3"]


class FrameReader(Iterator[Frame]):
    """The frames of one source, in order, once; made by `open_frames`.

    A context manager, and it also closes itself at the last frame.

    Attributes:
        size: (height, width) of every frame in pixels.
        frames_per_second: of the video; 24 for folders and where a file does not know.
        count: number of frames, None where unknown (cameras). For a video it is what the file announces.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        *,
        size: tuple[int, int],
        frames_per_second: float,
        count: int | None,
        release: Callable[[], None],
    ):
        self.size = size
        self.frames_per_second = frames_per_second
        self.count = count
        self._frames = frames
        self._release = release
        self._stopped = False

    def __next__(self) -> Frame:
        if self._stopped:
            self.close()
            raise StopIteration
        try:
            return next(self._frames)
        except BaseException:  # the last frame, too, arrives here: as StopIteration
            self.close()
            raise

    def stop(self) -> None:
        """Makes the current frame the last one; may be called from another thread or a signal handler."""
        self._stopped = True

    def close(self) -> None:
        """Releases the file or camera. Not while another thread is reading."""
        self._stopped = True
        self._release()

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_frames(source: str | Path) -> FrameReader:
    """Opens a video file, a folder of pictures or a camera.

    Pictures and rotated videos are turned upright as their metadata says. Gray, 16-bit, palette and
    transparent pictures become 8-bit RGB (transparency is dropped). The pictures of a folder are its .jpg,
    .jpeg and .png files, sorted by name with numbers in numeric order; hidden files are left out.

    Args:
        source: path of an mp4, avi or mov file (or another that OpenCV decodes) or of a folder; a string of
            digits is the index of a camera ("./0" is a folder named 0).

    Returns:
        The reader. Iterating raises `TruncatedVideoError` after the last frame of a file that is cut off, and
        `InputError` at a picture that is damaged or of another size than the first.

    Raises:
        InputError: nothing there, or nothing that can be decoded.
    """
    if isinstance(source, str) and re.fullmatch("[0-9]+", source):
        return _open_camera(int(source))
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise InputError(f"there is no video {path}: check the path")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(f"{path} is a single picture: give the folder that holds the frames, or a video file")
    return _open_video(path)


def read_picture(path: str | Path) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a picture as 8-bit RGB, upright as its EXIF orientation says.

    Pillow decodes JPEGs to the same values as OpenCV, and unlike OpenCV 4 it refuses files that are cut off.

    Args:
        path: a JPEG, PNG or other file that Pillow reads. Of 16-bit values the upper 8 bits are kept.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        InputError: the file is missing, damaged or not a picture.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip rather than scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the picture {path} ({error}): replace it by an undamaged one") from error


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV and its FFmpeg from printing: what is wrong with a file is said once, by us."""
    # FFmpeg's own level (-8: silence) is read once, when OpenCV first opens a video; a user's choice stays.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", path.name.lower())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], path.name


def _open_folder(folder: Path) -> FrameReader:
    try:
        names = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}; check its permissions") from error
    paths = sorted((path for path in names if not path.name.startswith(".")), key=_natural_order)
    if not paths:
        raise InputError(f"{folder} holds no .jpg, .jpeg or .png frames: check the path")
    by_stem: dict[str, Path] = {}
    for path in paths:
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            raise InputError(
                f"the results of {other} and {path.name} would have one name: leave one of them in the folder"
            )
    first = read_picture(paths[0])
    return FrameReader(
        _folder_frames(paths, first),
        size=(first.shape[0], first.shape[1]),
        frames_per_second=FOLDER_FRAMES_PER_SECOND,
        count=len(paths),
        release=lambda: None,
    )


def _folder_frames(paths: list[Path], first: np.ndarray) -> Iterator[Frame]:
    yield Frame(paths[0].stem, first)
    for path in paths[1:]:
        image = read_picture(path)
        if image.shape != first.shape:
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} but the first frame is "
                f"{first.shape[1]}x{first.shape[0]}: all frames must have one size"
            )
        yield Frame(path.stem, image)


def _open_camera(index: int) -> FrameReader:
    with quiet_opencv():
        capture = cv2.VideoCapture(index)
        first = _next_image(capture)
    if first is None:
        capture.release()
        raise InputError(f"camera {index} gives no picture: check that it is connected and not in use")
    return FrameReader(
        _captured_frames(capture, first),
        size=(first.shape[0], first.shape[1]),
        frames_per_second=_frame_rate(capture, CAMERA_FRAMES_PER_SECOND),
        count=None,
        release=capture.release,
    )


def _open_video(path: Path) -> FrameReader:
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path))
        first = _next_image(capture)
    if first is None:
        capture.release()
        raise InputError(f"cannot decode {path}: it is not a video, or damaged, or cut off before its index")
    announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    count = int(announced) if 1 <= announced < 2**31 else None
    return FrameReader(
        _video_frames(path, capture, first, count),
        size=(first.shape[0], first.shape[1]),
        frames_per_second=_frame_rate(capture, FOLDER_FRAMES_PER_SECOND),
        count=count,
        release=capture.release,
    )


def _frame_rate(capture: cv2.VideoCapture, default: float) -> float:
    """What the source says, where it can be true: some files say 0, NaN or their clock's ticks (90000)."""
    frames_per_second = capture.get(cv2.CAP_PROP_FPS)
    return frames_per_second if 0 < frames_per_second <= 1000 else default


def _next_image(capture: cv2.VideoCapture) -> UInt8[np.ndarray, "height width 3"] | None:
    decoded, image = capture.read()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if decoded else None


def _captured_frames(capture: cv2.VideoCapture, first: np.ndarray) -> Iterator[Frame]:
    image: np.ndarray | None = first
    index = 0
    while image is not None:
        yield Frame(f"{index:05d}", image)
        index += 1
        image = _next_image(capture)


def _video_frames(path: Path, capture: cv2.VideoCapture, first: np.ndarray, count: int | None) -> Iterator[Frame]:
    decoded = 0
    for frame in _captured_frames(capture, first):
        decoded += 1
        yield frame
    # The count alone proves nothing: clips cut without re-encoding announce frames that players must skip.
    if count is not None and decoded < count and _ends_early(path):
        raise TruncatedVideoError(path, decoded, count)


def _ends_early(path: Path) -> bool:
    """Whether the outermost blocks of an MP4, MOV or AVI file reach beyond its end.

    MP4 and MOV are sequences of a big-endian length, which counts its own header, four letters and content
    (ISO/IEC 14496-12, 4.2); AVI of four letters, a little-endian length and content (RIFF). A length of 0, or
    of all ones in RIFF, stands for "to the end", as in a recording that was never closed. Other formats
    announce no reliable number of frames, and are taken as they are.
    """
    end = path.stat().st_size
    start = 0
    with path.open("rb") as file:
        while start + 8 <= end:
            file.seek(start)
            header = file.read(16)
            if header[:4] == b"RIFF":
                (content,) = struct.unpack("<I", header[4:8])
                length = 0 if content in (0, 2**32 - 1) else 8 + content
            elif start > 0 or header[4:8] in _FIRST_ISO_BLOCKS:
                (length,) = struct.unpack(">I", header[:4])
                if length == 1 and len(header) == 16:
                    (length,) = struct.unpack(">Q", header[8:])
            else:
                return False
            if length < 8:
                return False
            start += length
    return start > end
