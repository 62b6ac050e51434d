"""A frame as a graph of small regions that follow its edges, for clicks.

A click should move borders to where the picture has some, and answer at once. So a frame is cut into about two thousand
regions by flooding its gradient from a grid of markers (a watershed), and the encoder's features are averaged in each:
what a click has to solve is then small, and its borders are exact to the pixel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float32, Int32, UInt8

CELL = 8
"""Pixels between two markers."""
FEATURE_LEVELS = (2, 3)
"""What the classifier sees: features at 1/8 and 1/16 of the frame; beside them the colour."""
FEATURE_SCALES = (1.0, 0.63)
"""Of each of these levels: the penalty of the fit is one for all."""
EDGE_LEVELS = (0, 1, 2)
"""What neighbours are compared by."""
FEATURE_WEIGHT = 0.17
COLOUR_WEIGHT = 0.21
"""How fast neighbours drift apart with the difference of their features and colours, in units of the median."""
LEAST_AFFINITY = 1e-4
_COLOUR_SCALE = np.array((60.0, 12.0, 12.0), np.float32)  # about the deviations of L*, a*, b* in photographs


class ClickFeatures(NamedTuple):
    """What is known of a frame before anybody clicks.

    Attributes:
        regions: number of the region of every pixel, at the resolution that the encoder saw.
        size: height and width of the frame itself.
        values: of every region: features, colour, and a last one of ones.
        areas: pixels of every region.
        centres: (x, y) of every region, in pixels of the frame.
        affinity: symmetric sparse matrix: how much neighbouring regions belong together.
        at_border: which regions touch the frame's border.
    """

    regions: Int32[np.ndarray, "h w"]
    size: tuple[int, int]
    values: Float32[np.ndarray, "n c"]
    areas: Float32[np.ndarray, "n"]
    centres: Float32[np.ndarray, "n 2"]
    affinity: sparse.csr_matrix
    at_border: Bool[np.ndarray, "n"]


def click_features(
    image: UInt8[np.ndarray, "h w 3"], levels: Sequence[Float32[np.ndarray, "_ _ _"]], size: tuple[int, int]
) -> ClickFeatures:
    """Cuts a frame into regions and averages its features in them.

    Args:
        image: the frame as the encoder saw it, RGB, without padding.
        levels: the encoder's features at 1/2, 1/4, 1/8, 1/16, ..., of the image padded below and to the right.
        size: height and width of the frame itself.
    """
    regions = _watershed(image)
    count = int(regions.max()) + 1
    areas = np.bincount(regions.reshape(-1), minlength=count).astype(np.float32)
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) / _COLOUR_SCALE
    colours = _means(colours, regions, count)
    features = [_region_features(level, regions, count, 2 << number) for number, level in enumerate(levels[:4])]
    chosen = [features[level] * scale for level, scale in zip(FEATURE_LEVELS, FEATURE_SCALES, strict=True)]
    values = np.concatenate([*chosen, colours, np.ones((count, 1), np.float32)], axis=1).astype(np.float32)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    scale = np.array((size[1] / image.shape[1], size[0] / image.shape[0]), np.float32)
    centres = (_means(np.stack([columns, rows], axis=-1), regions, count) + 0.5) * scale
    at_border = np.zeros(count, np.bool_)
    for edge in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        at_border[edge] = True
    affinity = _affinity(regions, count, [features[level] for level in EDGE_LEVELS], colours)
    return ClickFeatures(regions, size, values, areas, centres.astype(np.float32), affinity, at_border)


def _watershed(image: UInt8[np.ndarray, "h w 3"]) -> Int32[np.ndarray, "h w"]:
    height, width = image.shape[:2]
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    gray = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.abs(cv2.Sobel(gray, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    markers = np.zeros((height, width), np.int32)
    number = 0
    for row, y in enumerate(range(min(CELL // 2, height - 1), height, CELL)):
        for x in range(min(CELL // 2 + (row % 2) * (CELL // 2), width - 1), width, CELL):
            # Off edges, so that no region lies on both sides of one.
            top, left = max(0, y - 3), max(0, x - 3)
            around = gradient[top : y + 4, left : x + 4]
            dy, dx = np.unravel_index(int(np.argmin(around)), around.shape)
            number += 1
            markers[top + dy, left + dx] = number
    cv2.watershed(np.ascontiguousarray(smooth), markers)
    # The lines between regions, one pixel wide, go to a neighbour.
    markers[markers < 0] = 0
    while not markers.all():
        grown = cv2.dilate(markers.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        markers = np.where(markers == 0, grown, markers)
    # Two markers may have met in one pixel: numbers without a gap.
    return np.unique(markers, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def _means(values: Float32[np.ndarray, "h w c"], regions: np.ndarray, count: int) -> Float32[np.ndarray, "n c"]:
    flat = regions.reshape(-1)
    member = sparse.csr_matrix((np.ones(flat.size, np.float32), flat, np.arange(flat.size + 1)), (flat.size, count)).T
    sums = member @ values.reshape(flat.size, -1)
    return (sums / np.maximum(np.bincount(flat, minlength=count), 1)[:, None]).astype(np.float32)


def _region_features(
    level: Float32[np.ndarray, "_ _ _"], regions: np.ndarray, count: int, stride: int
) -> Float32[np.ndarray, "n c"]:
    """Means of standardised channels over regions, from bilinear values at 1/4 of the image."""
    values = (level - level.mean(axis=(0, 1))) / (level.std(axis=(0, 1)) + 1e-3)
    target = (level.shape[1] * stride // 4, level.shape[0] * stride // 4)
    method = cv2.INTER_AREA if stride < 4 else cv2.INTER_LINEAR
    # OpenCV resizes few channels at a time quickly.
    parts = [cv2.resize(values[..., i : i + 4], target, interpolation=method) for i in range(0, level.shape[-1], 4)]
    full = np.concatenate([part.reshape(target[1], target[0], -1) for part in parts], axis=-1)
    small = regions[::4, ::4]
    means = _means(full[: small.shape[0], : small.shape[1]], small, count)
    missed = np.bincount(small.reshape(-1), minlength=count) == 0
    if missed.any():  # regions between the samples: what lies at one of their pixels
        first = np.zeros(count, np.int64)
        first[regions.reshape(-1)] = np.arange(regions.size)
        rows, columns = np.divmod(first[missed], regions.shape[1])
        means[missed] = full[rows // 4, columns // 4]
    return means


def _affinity(
    regions: np.ndarray, count: int, features: Sequence[np.ndarray], colours: np.ndarray
) -> sparse.csr_matrix:
    sides = [(regions[:, 1:], regions[:, :-1]), (regions[1:], regions[:-1])]
    pairs = np.concatenate([np.stack([a.reshape(-1), b.reshape(-1)], axis=1) for a, b in sides]).astype(np.int64)
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    codes, lengths = np.unique(pairs[:, 0] * count + pairs[:, 1], return_counts=True)
    if not codes.size:
        return sparse.csr_matrix((count, count))
    a, b = np.divmod(codes, count)
    apart = sum(np.mean((f[a] - f[b]) ** 2, axis=1) for f in features) / len(features)
    colour = np.mean((colours[a] - colours[b]) ** 2, axis=1)
    typical = lambda x: max(float(np.median(x)), 1e-6)
    weights = np.exp(-FEATURE_WEIGHT * apart / typical(apart) - COLOUR_WEIGHT * colour / typical(colour))
    weights = lengths / CELL * weights + LEAST_AFFINITY
    both = (np.concatenate([a, b]), np.concatenate([b, a]))
    return sparse.csr_matrix((np.concatenate([weights, weights]), both), shape=(count, count))
