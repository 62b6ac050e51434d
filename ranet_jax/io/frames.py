"""What a video is to everybody else: frames, one at a time, and the errors with which they may end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError

FOLDER_FRAMES_PER_SECOND = 24.0


class IncompleteVideoError(InputError):
    """Raised after the last frame of a video file of which frames are missing; all others were yielded before.

    Attributes:
        decoded: number of frames that were decoded.
    """

    def __init__(self, message: str, decoded: int):
        super().__init__(message)
        self.decoded = decoded


class TruncatedVideoError(IncompleteVideoError):
    """A video file ends early.

    Attributes:
        decoded: number of frames that were decoded, all of which were yielded before this error.
        announced: number of frames the file announces; None where it announces none.
    """

    def __init__(self, path: str | Path, decoded: int, announced: int | None = None):
        got = f"{decoded} frames" if announced is None else f"{decoded} of its {announced} frames"
        super().__init__(f"{path} is cut off: {got} could be decoded; get a complete copy", decoded)
        self.announced = announced


class DamagedVideoError(IncompleteVideoError):
    """Frames in the middle of a video file cannot be decoded: the later ones have moved up in number.

    Attributes:
        decoded: number of frames that were decoded, all of which were yielded before this error.
        lost: number of pieces of the file that gave no frame.
    """

    def __init__(self, path: str | Path, decoded: int, lost: int):
        super().__init__(
            f"{path} is damaged: {decoded} frames could be decoded and {lost} in between could not;"
            " get an undamaged copy",
            decoded,
        )
        self.lost = lost


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        name: what its results are named after: the file stem in a folder, else the index, "00000".
        image: uint8 RGB (height, width, 3).
        seconds: when it is shown, counted from the first frame; None where the source has no clock (folders).
    """

    name: str
    image: UInt8[np.ndarray, "height width 3"]
    seconds: float | None = None


class FrameReader(Iterator[Frame]):
    """The frames of one source, in order, once; made by `open_frames`.

    A context manager, and it also closes itself at the last frame.

    Attributes:
        size: (height, width) of every frame in pixels.
        frames_per_second: on average; 24 for folders and where a file does not know.
        count: number of frames; None where unknown (cameras, Matroska). For a video it is what the file announces.
        notes: what the user should know about how the source is read, a line each: pictures that were left out, values
            that were scaled. Known from the start.
        live: whether the source is a camera, which ends only by `stop`.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        *,
        size: tuple[int, int],
        frames_per_second: float,
        count: int | None,
        release: Callable[[], None],
        notes: tuple[str, ...] = (),
        live: bool = False,
    ):
        self.size = size
        self.frames_per_second = frames_per_second
        self.count = count
        self.notes = notes
        self.live = live
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
