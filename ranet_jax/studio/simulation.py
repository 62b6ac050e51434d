"""A person who clicks, simulated from the truth: the next click is in the middle of the largest error."""

import cv2
import numpy as np
from jaxtyping import Bool

from ranet_jax.clicks.clicks import Point, click_mask
from ranet_jax.clicks.regions import ClickFeatures

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


def simulate_clicks(features: ClickFeatures, truth: Mask, clicks: int, *, tracked: Mask | None = None) -> list[Mask]:
    """Masks after every click.

    Args:
        features: of the frame.
        truth: the object's mask.
        clicks: how many; once nothing is wrong, no more are made, and the mask stays.
        tracked: the mask to begin with, which is not from clicks; without it the first click is on the object.
    """
    positives: list[Point] = []
    negatives: list[Point] = []
    mask = np.zeros_like(truth) if tracked is None else tracked
    trusted = bool(mask.any())
    masks = []
    for _ in range(clicks):
        missing, on = largest_error(truth & ~mask)
        surplus, off = largest_error(mask & ~truth)
        if missing or surplus:
            (positives if missing >= surplus else negatives).append(on if missing >= surplus else off)
            mask = click_mask(features, positives, negatives, previous=mask, trusted=trusted)
        masks.append(mask)
    return masks
