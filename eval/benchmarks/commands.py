"""`ranet-jax segment` of two checkouts by turns: seconds to the first tracked mask, and memory of a large video."""

import itertools
import pathlib
import statistics
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import jax
import numpy as np

from eval.benchmarks.against import ROOT, require_checkout
from ranet_jax.evaluation.tracking_speed import DEMO, StartUp, time_start_up
from ranet_jax.io.masks import read_label_map, write_label_map
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.video import open_frames

LARGE, LARGE_FRAMES, LARGE_OBJECTS = (1080, 1920), 12, 3
"""Height and width of the video whose memory is measured, its frames, and its objects."""


class Pair(NamedTuple):
    """Medians of one figure in both checkouts, and the median of the rounds' ratios, ours to theirs."""

    theirs: float
    ours: float
    ratio: float


def compare_commands(other: pathlib.Path, model: str, rounds: int) -> dict[str, Pair]:
    """Runs the command in another checkout and in this one, by turns.

    Args:
        other: the root of the other checkout.
        model: a checkpoint that both have, or an absolute path.
        rounds: runs of each.

    Returns:
        By what was measured: seconds, and MiB.

    Raises:
        InputError: the other checkout has no library.
        RuntimeError: a command failed.
    """
    require_checkout(other)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        video, mask = large_video(folder)
        kept = [folder / "theirs", folder / "ours"]

        def first(index: int, number: int) -> StartUp:
            return time_start_up(model, folder / f"none-{index}-{number}", checkout=(other.resolve(), ROOT)[index])

        def again(index: int, number: int) -> StartUp:
            return time_start_up(model, kept[index], checkout=(other.resolve(), ROOT)[index])

        def large(index: int, number: int) -> StartUp:
            checkout = (other.resolve(), ROOT)[index]
            return time_start_up(model, kept[index], checkout=checkout, video=video, mask=mask)

        for index in (0, 1):  # fills the folders of compiled programs
            again(index, 0)
        seconds = lambda found: found.first_tracked
        mebibytes = lambda found: found.peak_bytes / 2**20
        height, width = LARGE
        return {
            "nothing compiled before: s to the first tracked mask": _by_turns(first, seconds, rounds),
            "compiled programs kept: s to the first tracked mask": _by_turns(again, seconds, rounds),
            f"{width}x{height}, {LARGE_OBJECTS} objects: peak MiB resident": _by_turns(large, mebibytes, rounds),
        }


def _by_turns(run: Callable[[int, int], StartUp], figure: Callable[[StartUp], float], rounds: int) -> Pair:
    found: list[list[float]] = [[], []]
    for number in range(rounds):
        # Whoever comes second finds the machine warmer: they change places.
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            found[index].append(figure(run(index, number)))
    theirs, ours = map(statistics.median, found)
    return Pair(theirs, ours, float(np.median(np.divide(found[1], found[0]))))


def large_video(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the beginning of the embedded clip, enlarged, and a mask in which its object is three.

    Args:
        folder: for both files.

    Returns:
        The video and the mask.
    """
    video, mask = folder / "large.mp4", folder / "large.png"
    with open_frames(str(DEMO / "bunny.mp4")) as frames, OverlayWriter(video, LARGE, 25.0) as writer:
        for image in _enlarged(itertools.islice((frame.image for frame in frames), LARGE_FRAMES)):
            writer.write(image)
    object_mask = cv2.resize(read_label_map(DEMO / "bunny_mask.png"), LARGE[::-1], interpolation=cv2.INTER_NEAREST) > 0
    rows = np.flatnonzero(object_mask.any(axis=1))
    bands = np.digitize(np.arange(LARGE[0]), np.linspace(rows[0], rows[-1] + 1, LARGE_OBJECTS + 1))
    write_label_map(mask, np.where(object_mask, bands[:, None], 0).astype(np.uint8))
    return video, mask


def _enlarged(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for image in images:
        yield cv2.resize(image, LARGE[::-1], interpolation=cv2.INTER_CUBIC)


def print_comparison(other: pathlib.Path, model: str, rounds: int) -> None:
    """Prints one row for each figure."""
    found = compare_commands(other, model, rounds)
    device = jax.devices()[0].device_kind
    print(f"{model}: `ranet-jax segment` in {other} and here by turns, {device}, median of {rounds} runs each")
    width = max(map(len, found))
    print(f"{'':{width}s}     there      here  here/there")
    for what, pair in found.items():
        print(f"{what:{width}s}  {pair.theirs:8.2f}  {pair.ours:8.2f}  {pair.ratio:10.3f}", flush=True)
