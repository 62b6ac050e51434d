"""Segments a long video and says how much memory that takes early and late.

    python -m tests.reliability.long_video --frames 10000

The video, 64x96 pixels, and the micro network are made here; masks and an overlay are written. Exit code 1 if the
largest resident memory after the first tenth is over the largest within it by more than `--room`.
"""

import argparse
import os
import pathlib
import resource
import sys
import tempfile

import numpy as np

SIZE = (64, 96)
EVERY = 100
"""Frames from one look at the memory to the next."""


def main() -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--room", type=float, default=10.0, metavar="MIB", help="how much more late frames may take")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        megabytes = _resident_megabytes(pathlib.Path(folder), options.frames)
    first = len(megabytes) // 10
    for share in range(10):
        part = megabytes[share * first : (share + 1) * first]
        print(f"to frame {(share + 1) * first * EVERY:6}: at most {max(part):.1f} MiB")
    growth = max(megabytes[first:]) - max(megabytes[:first])
    print(f"{options.frames} frames: after the first tenth {growth:+.1f} MiB")
    return int(growth > options.room)


def _resident_megabytes(folder: pathlib.Path, frames: int) -> list[float]:
    """Resident memory of this process at every hundredth frame."""
    from ranet_jax.io.masks import write_label_map
    from ranet_jax.networks import RANetConfig
    from ranet_jax.runtime.segment import Outputs, segment_video
    from ranet_jax.tracker import Tracker, TrackerConfig
    from ranet_jax.weights import initial_variables

    _write_video(folder / "video.mp4", frames)
    labels = np.zeros(SIZE, np.uint8)
    labels[20:44, 8:32] = 1
    write_label_map(folder / "mask.png", labels)
    config = RANetConfig.lite(
        backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
    )
    found: list[float] = []

    def look(done: int, total: int | None) -> None:
        if done % EVERY == 0:
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
            found.append(pages * resource.getpagesize() / 2**20)

    outputs = Outputs(folder / "out", overlay=folder / "overlay.mp4")
    make = lambda size, objects: Tracker(config, TrackerConfig.lite(), size)
    video, masks = str(folder / "video.mp4"), [str(folder / "mask.png")]
    report = segment_video(video, masks, outputs, make, initial_variables(config), progress=look)
    if report.frames != frames:
        raise RuntimeError(f"{report.frames} of {frames} frames were segmented")
    return found


def _write_video(path: pathlib.Path, frames: int) -> None:
    """A square that goes to and fro before noise."""
    from ranet_jax.io.overlay import OverlayWriter

    background = np.random.default_rng(0).integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    with OverlayWriter(path, SIZE, 25.0) as video:
        for number in range(frames):
            image, left = background.copy(), 8 + abs(56 - number % 112)
            image[20:44, left : left + 24] = (220, 180, 60)
            video.write(image, number / 25)


if __name__ == "__main__":
    sys.exit(main())
