"""From clicks or a box to an object's mask.

Ridge regression on the encoder's features, as the tracker's target model (`ranet_jax.tracker.target`), is fitted to the
clicks, to the mask so far, and to the background far away; its scores, the clicks, and what neighbouring regions have
in common are then weighed against each other by a linear system (a random walk with priors; Grady, "Multilabel Random
Walker Image Segmentation Using Prior Models", CVPR 2005), and the fit is repeated with what came out.

The constants were chosen on first frames of DAVIS 2016's training split (docs/studio.md).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float
from scipy.sparse.linalg import spsolve

from ranet_jax.clicks.regions import ClickFeatures
from ranet_jax.errors import InputError

ROUNDS = 2
RIDGE = 0.25
GAIN = 3.1
MIDDLE = 0.46
"""The logistic function from scores to what the walk expects: its slope, and the score that is undecided."""
PRIOR = 0.24
"""Weight of these expectations, beside affinities of neighbours of about 1."""
BORDER = 2.7
"""Further weight of the background in regions at the frame's border, in units of `PRIOR`."""
PREVIOUS = 0.024
"""Weight of the mask so far in the walk."""
PREVIOUS_IN_FIT = 0.8
"""And in the fit."""
FORGET = 0.036
"""Around a click that contradicts it the mask so far counts little: the distance, as a share of the frame's width."""
SETTLED = 7
SETTLED_WEIGHT = 1.0
"""Clicks after which a mask from clicks has this weight in the walk: late ones mend details."""
TRUSTED = 5.0
TRUSTED_FORGET = 0.15
"""Weight and distance for a mask that is not from clicks: it changes near clicks alone."""
SEED = 0.034
"""What lies so near a click on the object, as a share of the frame's width, is taken for it in the fit."""
FAR = 0.48
"""Without a mask so far, what lies so far from all clicks is taken for background in the fit."""
CLICK_IN_FIT = 0.49
"""Weight of all clicks on one side in the fit, in units of that of everything else on it."""
TRUST = 0.37
"""Weight of what came out of the first round, in the second, where nothing else is known."""
HARD = 100.0
"""Weight of the clicks themselves in the walk."""

Point = tuple[float, float]
PerRegion = Float[np.ndarray, "n"]


def click_mask(
    features: ClickFeatures,
    positives: Sequence[Point],
    negatives: Sequence[Point] = (),
    *,
    box: tuple[float, float, float, float] | None = None,
    others: Bool[np.ndarray, "height width"] | None = None,
    previous: Bool[np.ndarray, "height width"] | None = None,
    trusted: bool = False,
) -> Bool[np.ndarray, "height width"]:
    """An object's mask.

    Args:
        features: of the frame, from `ranet_jax.clicks.features.Encoder`.
        positives: points (x, y) on the object, in pixels of the frame.
        negatives: points that are not on it.
        box: (left, top, right, bottom) that holds all of it.
        others: pixels of other objects, which stay theirs.
        previous: the object's mask so far: what earlier ones of these clicks gave, or where they began.
        trusted: whether the object had a mask, tracked or drawn, before the first of these clicks.

    Returns:
        The mask: connected parts that hold a click on the object or belonged to it before.

    Raises:
        InputError: a point lies outside the frame, or nothing says where the object is.
    """
    height, width = features.size
    for x, y in (*positives, *negatives):
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f"the click at ({x:.0f}, {y:.0f}) lies outside the frame of {width}x{height}")
    before = _shares(features, previous) > 0.5
    if not positives and box is None and not before.any():
        raise InputError("the first click has to be on the object, or give a box")
    on, off = _hit(features, positives), _hit(features, negatives)
    off &= ~on
    off |= (_shares(features, others) > 0.5) & ~on
    if box is not None:
        off |= _outside(features, box) & ~on
        if not positives and not before.any():
            before = _middle(features, box) & ~off
    mask = _solve(features, on, off, before, positives, negatives, trusted)
    return _connected(features, mask, positives, previous, others)


def _solve(
    features: ClickFeatures,
    on: Bool[np.ndarray, "n"],
    off: Bool[np.ndarray, "n"],
    before: Bool[np.ndarray, "n"],
    positives: Sequence[Point],
    negatives: Sequence[Point],
    trusted: bool,
) -> Bool[np.ndarray, "n"]:
    """Which regions are the object's."""
    near, far = _distances(features, positives), _distances(features, negatives)
    settled = min(1.0, max(0.0, (len(positives) + len(negatives) - 1) / (SETTLED - 1)))
    strength = TRUSTED if trusted else PREVIOUS ** (1.0 - settled) * SETTLED_WEIGHT**settled
    has_before = bool(before.any())
    if has_before:
        contradicting = np.where(before, far, near)
        kept = 1.0 - np.exp(-((np.minimum(contradicting, 1e3) / (TRUSTED_FORGET if trusted else FORGET)) ** 2))
        trust = PREVIOUS_IN_FIT * kept
    else:
        kept = np.zeros(near.size)
        trust = ((near > FAR) | features.at_border).astype(np.float64)
    seeds = (near < SEED) & (near < far)
    inside = before
    for number in range(ROUNDS):
        inside = (inside | on | seeds) & ~off
        weight = np.where(inside & seeds, 1.0, trust)
        scores = _fitted_scores(features, inside, np.where(on | off, 1.0, weight), on, off)
        expected = 1.0 / (1.0 + np.exp(-GAIN * (scores - MIDDLE)))
        inside = _walk(features, expected, strength * kept * has_before, before, on, off) > 0.5
        if number == 0:
            trust = np.maximum(trust, TRUST)
    return (inside | on) & ~off


def _fitted_scores(
    features: ClickFeatures, inside: np.ndarray, weight: np.ndarray, on: np.ndarray, off: np.ndarray
) -> PerRegion:
    """Ridge regression of what is inside, both sides weighing the same; its scores everywhere."""
    weighted = features.areas * weight
    total = np.zeros(weight.size)
    for side, clicked in ((inside, on), (~inside, off)):
        total[side] += 0.5 * weighted[side] / max(float(weighted[side].sum()), 1e-6)
        if clicked.any():
            total[clicked] += 0.5 * CLICK_IN_FIT / clicked.sum()
    x = features.values
    squares = (x * total[:, None].astype(np.float32)).T @ x
    squares[np.diag_indices_from(squares)] += RIDGE
    return (x @ np.linalg.solve(squares, x.T @ (total * inside).astype(np.float32))).astype(np.float64)


def _walk(
    features: ClickFeatures,
    expected: PerRegion,
    previous_weight: PerRegion,
    before: np.ndarray,
    on: np.ndarray,
    off: np.ndarray,
) -> PerRegion:
    """Values in [0, 1] that are alike where regions belong together, as expected elsewhere, and fixed at clicks."""
    degree = np.asarray(features.affinity.sum(axis=1)).reshape(-1)
    diagonal = degree + PRIOR * (1.0 + BORDER * features.at_border) + previous_weight + HARD * (on | off)
    right = PRIOR * expected + previous_weight * before + HARD * on
    return spsolve((sparse.diags(diagonal) - features.affinity).tocsc(), right)


def _connected(
    features: ClickFeatures,
    inside: Bool[np.ndarray, "n"],
    positives: Sequence[Point],
    previous: Bool[np.ndarray, "height width"] | None,
    others: Bool[np.ndarray, "height width"] | None,
) -> Bool[np.ndarray, "height width"]:
    """The mask in pixels, without parts that nobody asked for."""
    height, width = features.size
    small = inside[features.regions]
    if small.shape == features.size:
        mask = small
    else:  # smooth, not in steps
        mask = cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    if others is not None:
        mask = mask & ~others
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    keep = np.zeros(count, np.bool_)
    for x, y in positives:
        keep[parts[int(y), int(x)]] = True
    if previous is not None and previous.any():
        shared = np.bincount(parts[previous], minlength=count) / np.bincount(parts.reshape(-1), minlength=count)
        keep |= shared > 0.5
    elif not positives and count > 1:  # a box: its largest part
        keep[1 + np.argmax(np.bincount(parts.reshape(-1))[1:])] = True
    keep[0] = False
    return keep[parts]


def _hit(features: ClickFeatures, points: Sequence[Point]) -> Bool[np.ndarray, "n"]:
    hit = np.zeros(features.areas.size, np.bool_)
    (height, width), (h, w) = features.size, features.regions.shape
    for x, y in points:
        hit[features.regions[min(int(y * h / height), h - 1), min(int(x * w / width), w - 1)]] = True
    return hit


def _distances(features: ClickFeatures, points: Sequence[Point]) -> PerRegion:
    """To the nearest point, as shares of the frame's width."""
    if not points:
        return np.full(features.areas.size, np.inf)
    apart = features.centres[:, None] - np.asarray(points, np.float32)[None]
    return np.hypot(apart[..., 0], apart[..., 1]).min(axis=1).astype(np.float64) / features.size[1]


def _shares(features: ClickFeatures, mask: Bool[np.ndarray, "height width"] | None) -> PerRegion:
    """Share of every region that a mask covers."""
    if mask is None or not mask.any():
        return np.zeros(features.areas.size)
    h, w = features.regions.shape
    small = mask if mask.shape == (h, w) else cv2.resize(mask.astype(np.uint8), (w, h), interpolation=cv2.INTER_AREA)
    counts = np.bincount(features.regions.reshape(-1), small.reshape(-1).astype(np.float64), features.areas.size)
    return counts / features.areas


def _outside(features: ClickFeatures, box: tuple[float, float, float, float]) -> Bool[np.ndarray, "n"]:
    x, y = features.centres.T
    left, top, right, bottom = box
    return (x < left) | (x > right) | (y < top) | (y > bottom)


def _middle(features: ClickFeatures, box: tuple[float, float, float, float]) -> Bool[np.ndarray, "n"]:
    """An ellipse in the box, which most objects fill."""
    x, y = features.centres.T
    left, top, right, bottom = box
    across = (x - (left + right) / 2) / max(1.0, 0.4 * (right - left))
    down = (y - (top + bottom) / 2) / max(1.0, 0.4 * (bottom - top))
    return across**2 + down**2 <= 1.0
