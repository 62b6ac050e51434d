"""Pictures of frames for the page: exact ones where they are decoded quickly, small ones from disk where not.

For videos in which decoding can start only every few seconds, a process of its own goes through the video once and
leaves a small picture of every frame in the project:

    python -m ranet_jax.studio.pictures SOURCE FOLDER
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.video import read_picture
from ranet_jax.studio.frames import FrameStore, encode_jpeg

SMALL = 640
"""Longer side, in pixels, of the pictures on disk."""
THUMBNAIL = 160


class Pictures:
    """What the page shows of a project's frames."""

    def __init__(self, frames: FrameStore, folder: Path):
        """Starts making small pictures where they are needed.

        Args:
            frames: of the video.
            folder: of the project for them.
        """
        self._frames, self._folder = frames, folder
        self._maker: subprocess.Popen[bytes] | None = None
        if not frames.is_quick_everywhere() and not _small_path(folder, len(frames) - 1).exists():
            command = [sys.executable, "-m", "ranet_jax.studio.pictures", str(frames.path), str(folder)]
            self._maker = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def picture(self, index: int, *, exact: bool) -> tuple[bytes, bool]:
        """A frame as a JPEG, and whether it is the frame itself.

        Args:
            index: of the frame.
            exact: whether to wait for the frame itself, however long it takes to decode.

        Raises:
            InputError: the frame cannot be decoded.
        """
        small = _small_path(self._folder, index)
        if not exact and not self._frames.is_quick(index) and small.exists():
            return small.read_bytes(), False
        return encode_jpeg(self._frames.image(index), quality=92), True

    def thumbnail(self, index: int) -> bytes:
        """A frame, or one shortly before it that is decoded sooner, as a JPEG of at most 160 pixels a side."""
        small = _small_path(self._folder, index)
        image = read_picture(small) if small.exists() else self._frames.image(self._frames.quick_neighbour(index))
        return encode_jpeg(image, longest=THUMBNAIL, quality=80)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While tracking needs the processor, making pictures waits."""
        self._signal("SIGSTOP")
        try:
            yield
        finally:
            self._signal("SIGCONT")

    def close(self) -> None:
        """Ends the process."""
        if self._maker is not None:
            self._signal("SIGCONT")
            self._maker.terminate()
            self._maker.wait()

    def _signal(self, name: str) -> None:
        # Windows has no such signals: there the process only has a low priority.
        if self._maker is not None and self._maker.poll() is None and hasattr(signal, name):
            self._maker.send_signal(getattr(signal, name))


def _small_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.jpg"


def make_small_pictures(source: Path, folder: Path) -> None:
    """Writes a small picture of every frame that has none yet."""
    frames = FrameStore(source)
    missing = [index for index in range(len(frames)) if not _small_path(folder, index).exists()]
    if not missing:
        return
    first = missing[0]
    for index, frame in enumerate(frames.run(first, len(frames)), start=first):
        with atomic_file(_small_path(folder, index)) as temporary:
            temporary.write_bytes(encode_jpeg(frame.image, longest=SMALL, quality=80))


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(10)
    make_small_pictures(Path(sys.argv[1]), Path(sys.argv[2]))
