"""How good masks from clicks are, with clicks simulated from the truth.

    python -m ranet_jax.studio.simulation --davis DAVIS [--sequences blackswan,car-shadow] [--clicks 10]

The first click lies in the middle of the object, each next one in the middle of the largest error. Prints the IoU of
every sequence's first mask after 1, 3, 5 and 10 clicks, and what a click takes.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool

from ranet_jax.clicks.clicks import Point, click_mask
from ranet_jax.clicks.features import Encoder
from ranet_jax.clicks.regions import ClickFeatures
from ranet_jax.io.folders import frame_files
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.pictures import read_picture
from ranet_jax.weights import open_checkpoint

SHOWN = (1, 3, 5, 10)
Mask = Bool[np.ndarray, "height width"]


def intersection_over_union(a: Mask, b: Mask) -> float:
    """1 where both are empty."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def largest_error(wrong: Mask) -> tuple[int, Point]:
    """Pixels of the largest connected error, and the point of it that is farthest from its border.

    The frame's own border counts as one. Without an error the point means nothing.
    """
    count, parts, figures, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))
    if count < 2:
        return 0, (0.0, 0.0)
    number = 1 + int(np.argmax(figures[1:, cv2.CC_STAT_AREA]))
    padded = np.pad((parts == number).astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(figures[number, cv2.CC_STAT_AREA]), (float(x), float(y))


def simulate_clicks(features: ClickFeatures, truth: Mask, clicks: int) -> tuple[list[Mask], list[float]]:
    """Masks after every click, and the seconds each took."""
    positives: list[Point] = []
    negatives: list[Point] = []
    mask = np.zeros_like(truth)
    masks, seconds = [], []
    for _ in range(clicks):
        missing, on = largest_error(truth & ~mask)
        surplus, off = largest_error(mask & ~truth)
        if missing or surplus:
            (positives if missing >= surplus else negatives).append(on if missing >= surplus else off)
            start = time.perf_counter()
            mask = click_mask(features, positives, negatives, previous=mask)
            seconds.append(time.perf_counter() - start)
        masks.append(mask)
    return masks, seconds


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="IoU of masks from simulated clicks on first frames.")
    parser.add_argument("--davis", required=True, type=Path, help="DAVIS folder")
    parser.add_argument("--sequences", help="names, separated by commas (default: all)")
    parser.add_argument("--clicks", type=int, default=10, help="most clicks (default 10)")
    parser.add_argument("--checkpoint", help="embedded name or checkpoint folder (default: the shipped one)")
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.checkpoint, None)
    encoder = Encoder(checkpoint.config, checkpoint.variables)
    images = options.davis / "JPEGImages" / "480p"
    names: Iterable[str] = sorted(path.name for path in images.iterdir())
    names = options.sequences.split(",") if options.sequences else names
    rows, seconds = [], []
    shown = [number for number in SHOWN if number <= options.clicks]
    print("sequence".ljust(20), *(f"{number:>6}" for number in shown))
    for name in names:
        path = frame_files(images / name).files[0]
        truth = read_label_map(options.davis / "Annotations" / "480p" / name / f"{path.stem}.png") > 0
        features = encoder.encode(name, read_picture(path))
        masks, taken = simulate_clicks(features, truth, options.clicks)
        rows.append([intersection_over_union(masks[number - 1], truth) for number in shown])
        seconds += taken
        print(name.ljust(20), *(f"{value:6.3f}" for value in rows[-1]), flush=True)
    print("mean".ljust(20), *(f"{value:6.3f}" for value in np.mean(rows, axis=0)))
    print(f"a click: median {1e3 * np.median(seconds):.0f} ms, longest {1e3 * max(seconds):.0f} ms")


if __name__ == "__main__":
    main()
