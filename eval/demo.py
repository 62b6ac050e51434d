"""The first thing to run: makes a short clip and its first mask, and segments it with the default network.

`make demo`, or `python -m eval.demo --out demo-output`. The clip is drawn, not filmed: a disc and a box drift over a
striped ground, the camera pans, and the box passes behind the disc.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from ranet_jax import cli
from ranet_jax.io.masks import write_label_map
from ranet_jax.io.overlay import OverlayWriter

SIZE = (240, 432)
FRAMES = 30


def draw_frame(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame `t` of the clip: RGB uint8 (240, 432, 3), and its labels (240, 432): 1 the disc, 2 the box."""
    height, width = SIZE
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    stripes = 40 * np.sin(0.05 * (x + 2 * t) + 0.09 * y) + 15 * np.sin(0.31 * y)
    image = np.stack([95 + stripes, 120 + 0.7 * stripes, 90 - 0.5 * stripes], axis=-1)
    labels = np.zeros(SIZE, np.uint8)
    box = (abs(x - 330 + 6 * t) < 36) & (abs(y - 130 + t) < 28)
    disc = (x - 110 - 4 * t) ** 2 + (y - 115 - 12 * np.sin(t / 5)) ** 2 < 44**2
    for label, region, colour in ((2, box, (60, 90, 200)), (1, disc, (215, 120, 50))):
        texture = 25 * np.sin(0.4 * x - 0.3 * y + t * label)
        image[region] = (np.array(colour) + texture[..., None])[region]
        labels[region] = label
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_clip(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes clip.mp4 and first_mask.png to a folder and returns their paths."""
    clip, mask = folder / "clip.mp4", folder / "first_mask.png"
    write_label_map(mask, draw_frame(0)[1])
    with OverlayWriter(clip, SIZE, 15.0) as writer:
        for t in range(FRAMES):
            # A little softness, as a lens has: the codec would ring at the drawn edges.
            writer.write(cv2.GaussianBlur(draw_frame(t)[0], (3, 3), 0))
    return clip, mask


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = argparse.ArgumentParser(prog="python -m eval.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the clip and the results")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    code = cli.run(lambda: write_clip(options.out), debug=options.debug)
    if code:
        return code
    command = ["segment", str(options.out / "clip.mp4"), "--mask", str(options.out / "first_mask.png")]
    command += ["--out", str(options.out / "masks"), "--overlay", str(options.out / "overlay.mp4")]
    print("ranet-jax " + " ".join(command))
    return cli.main(command + (["--debug"] if options.debug else []))


if __name__ == "__main__":
    sys.exit(main())
