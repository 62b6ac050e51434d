"""The results of a video on disk: one palette PNG per frame and, where wanted, an overlay video."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import explain, make_folder
from ranet_jax.io.folders import naturally_sorted
from ranet_jax.io.masks import write_label_map
from ranet_jax.io.overlay import OverlayWriter, draw_overlay
from ranet_jax.io.video import Frame


def old_results(folder: str | Path) -> tuple[Path, ...]:
    """PNG files that lie in a folder already and would mix with new results, in the order of their numbers.

    Args:
        folder: the folder, which need not exist.
    """
    try:
        paths = [path for path in Path(folder).iterdir() if path.suffix.lower() == ".png" and path.is_file()]
    except OSError:  # not there, or cannot be read: `ResultWriter` says so
        return ()
    return naturally_sorted(path for path in paths if not path.name.startswith("."))


def require_no_old_results(folder: str | Path, *, overwrite: bool) -> tuple[Path, ...]:
    """Refuses a folder that holds results already, unless they may go; to be asked before anything is computed.

    Args:
        folder: where results shall go.
        overwrite: whether old results may be replaced. Other pictures than palette PNGs may not.

    Returns:
        The old results, for `remove_old_results` once the new ones are complete; none without `overwrite`.

    Raises:
        InputError: saying how many there are.
    """
    old = old_results(folder)
    if not old:
        return ()
    some = f"{len(old)} PNG file{'' if len(old) == 1 else 's'} ({old[0].name}{', ...' if len(old) > 1 else ''})"
    if not overwrite:
        raise InputError(f"{folder} holds {some} already: choose another folder, or give --overwrite")
    foreign = next((path for path in old if not _is_palette_image(path)), None)
    if foreign is not None:
        raise InputError(f"{foreign} is no palette PNG, so it is no result and is kept: choose another folder")
    return old


def remove_old_results(old: Iterable[Path], written: Iterable[str]) -> int:
    """Removes old results that no new one has replaced, so that a shorter video's do not mix with them.

    Args:
        old: what `require_no_old_results` returned.
        written: the names of the frames whose results were written.

    Returns:
        How many were removed.

    Raises:
        InputError: one cannot be removed.
    """
    kept = set(written)
    gone = [path for path in old if path.stem not in kept]
    try:
        for path in gone:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(explain("cannot remove the old result", path, error)) from error
    return len(gone)


class ResultWriter:
    """Writes `<folder>/<frame name>.png` label maps and adds to an overlay; the sink of `runtime.stream`.

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
            self._overlay.write(draw_overlay(frame.image, label_map), frame.seconds)


def _is_palette_image(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode == "P"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
