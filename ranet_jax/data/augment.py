"""Random transformations of an image and its label map (ICCV 2019 paper, section 4.1), in OpenCV.

A pixel of the output is traced back through all transformations at once, so that an image is resampled once:

    output pixel -> thin-plate spline -> rotation, scale, flip, translation (`Deformation`)
                 -> placement in the source image (`fit_frame`, `place_box`) -> source pixel

Images are interpolated bilinearly. Label maps take the nearest pixel, at the same positions, so they keep
their ids and stay aligned. Positions are continuous: pixel (0, 0) covers the square from 0 to 1 and has its
centre at 0.5. Matrices are 3x3, act on (x, y, 1) and lead backwards, from the output to the source.

Everything random comes from the `numpy.random.Generator` that is given.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from ranet_jax.data.config import BoxConfig, ColourConfig, GeometryConfig, PerturbationConfig

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's mean colour, RGB: what a box crop shows outside the frame."""

_STRIDE = 8  # the spline is evaluated on every 8th pixel: off by under half a pixel between them
_CONTROL = 4  # control points a side
_GHOST_SCALE = (0.3, 1.0)  # size of a ghost, in sizes of its object
_LUMINANCE = np.array((0.299, 0.587, 0.114))


@dataclasses.dataclass(frozen=True)
class Deformation:
    """A deformation of the output's plane: `matrix @ (p + spline(p))` for an output position p.

    Attributes:
        matrix: Rotation, scale, flip and translation, in output pixels.
        shifts: Where the spline moves each control point (row by row; x, y), as a share of width and height.
    """

    matrix: Float64[np.ndarray, "3 3"]
    shifts: Float64[np.ndarray, "16 2"]

    def then(self, other: "Deformation") -> "Deformation":
        """About the deformation that applies `other` to the result of this one; `other` should be small."""
        return Deformation(self.matrix @ other.matrix, self.shifts + other.shifts)


def sample_deformation(
    rng: np.random.Generator, config: GeometryConfig, size: tuple[int, int], *, flip: bool
) -> Deformation:
    """Draws a deformation of an output of `size` (height, width).

    Whether it is mirrored is the caller's draw, for several images of a sample may have to agree.
    """
    height, width = size
    shifts = rng.uniform(-config.control_shift, config.control_shift, (_CONTROL**2, 2))
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    scale = np.exp(rng.uniform(*np.log(config.scale)))
    dx, dy = rng.uniform(-config.translation, config.translation, 2) * (width, height)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    mirror = -1.0 if flip else 1.0
    to_centre = np.array(((1, 0, -width / 2 - dx), (0, 1, -height / 2 - dy), (0, 0, 1)))
    turn = np.array(((mirror * cosine, mirror * -sine, width / 2), (sine, cosine, height / 2), (0, 0, 1)))
    return Deformation(turn @ to_centre, shifts)


def no_deformation() -> Deformation:
    """The deformation that changes nothing."""
    return Deformation(np.eye(3), np.zeros((_CONTROL**2, 2)))


def fit_frame(frame_size: tuple[int, int], size: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
    """Placement of a whole frame in an output: as large as fits, centred. Sizes are (height, width)."""
    scale = min(size[0] / frame_size[0], size[1] / frame_size[1])
    (y, x), (centre_y, centre_x) = (np.array(frame_size) / 2, np.array(size) / 2)
    return np.array(((1 / scale, 0, x - centre_x / scale), (0, 1 / scale, y - centre_y / scale), (0, 0, 1)), np.float64)


def place_box(
    rng: np.random.Generator,
    labels: UInt8[np.ndarray, "height width"],
    size: tuple[int, int],
    config: BoxConfig,
) -> Float64[np.ndarray, "3 3"]:
    """Placement of a random box around all objects; without an object, of the box around the whole frame.

    As in tracking, a box has the output's aspect, may reach over the frame, and is never higher than twice
    the box around the frame nor lower than a quarter of the output.

    Args:
        rng: For the box's size and centre.
        labels: Where the objects are, in the frame.
        size: Height and width of the output.
        config: Ranges of the box's size and centre.

    Returns:
        The matrix from output to frame positions.
    """
    height, width = labels.shape
    aspect = size[0] / size[1]
    whole = max(height, width * aspect)
    x, y, columns, rows = cv2.boundingRect(labels)
    scale, jitter = rng.uniform(*config.scale), rng.uniform(-config.jitter, config.jitter, 2)
    if rows == 0:
        x, y, columns, rows, box_height = 0, 0, width, height, whole
        jitter = np.zeros(2)
    else:
        box_height = float(np.clip(scale * max(rows, columns * aspect), min(size[0] / 4, whole), 2 * whole))
    step = box_height / size[0]
    left = x + columns * (0.5 + jitter[0]) - step * size[1] / 2
    top = y + rows * (0.5 + jitter[1]) - step * size[0] / 2
    return np.array(((step, 0, left), (0, step, top), (0, 0, 1)), np.float64)


def backward_map(
    deformation: Deformation, placement: Float64[np.ndarray, "3 3"], size: tuple[int, int]
) -> Float32[np.ndarray, "height width 2"]:
    """For every pixel of an output of `size`, the (x, y) index of its source pixel, as `cv2.remap` takes."""
    height, width = size
    positions, basis = _coarse_grid(height, width)
    moved = positions + basis @ deformation.shifts * (width, height)
    matrix = placement @ deformation.matrix
    source = moved @ matrix[:2, :2].T + (matrix[:2, 2] - 0.5)
    rows, columns = height // _STRIDE + 3, width // _STRIDE + 3
    coarse = source.astype(np.float32).reshape(rows, columns, 2)
    # One coarse cell too many on every side: between cells, resizing is linear; at the border it is not.
    fine = cv2.resize(coarse, (columns * _STRIDE, rows * _STRIDE), interpolation=cv2.INTER_LINEAR)
    return fine[_STRIDE : _STRIDE + height, _STRIDE : _STRIDE + width]


def warp_image(
    image: UInt8[np.ndarray, "height width 3"],
    positions: Float32[np.ndarray, "rows columns 2"],
    outside: tuple[int, int, int],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Resamples an image bilinearly; `outside` is its colour beyond its border."""
    return _remap(image, positions, cv2.INTER_LINEAR, outside)


def warp_labels(
    labels: UInt8[np.ndarray, "height width"], positions: Float32[np.ndarray, "rows columns 2"]
) -> UInt8[np.ndarray, "rows columns"]:
    """Resamples a label map to the nearest pixel; beyond its border is background."""
    return _remap(labels, positions, cv2.INTER_NEAREST, (0,))


def sample_colour(rng: np.random.Generator, config: ColourConfig) -> Float64[np.ndarray, "4"]:
    """Draws factors of brightness, contrast and saturation, and the hue's angle in radians.

    Factors multiply and angles add: `apply_colour` takes several draws.
    """
    strengths = np.array((config.brightness, config.contrast, config.saturation, 2 * np.pi * config.hue))
    return np.array((1.0, 1.0, 1.0, 0.0)) + rng.uniform(-1, 1, 4) * strengths


def apply_colour(
    image: UInt8[np.ndarray, "height width 3"], *draws: Float[np.ndarray, "4"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Changes an image's colours by all draws of `sample_colour` together, in one affine map of RGB."""
    brightness, contrast, saturation = np.prod([draw[:3] for draw in draws], axis=0)
    hue = sum(draw[3] for draw in draws)
    gray_axis = np.full(3, 1 / np.sqrt(3))
    turn = cv2.Rodrigues(hue * gray_axis)[0]
    saturate = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMINANCE, (3, 1))
    mean = float(_LUMINANCE @ cv2.mean(image)[:3])
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return cv2.transform(image, np.hstack((brightness * contrast * saturate @ turn, offset)))


def perturb_labels(
    rng: np.random.Generator, labels: UInt8[np.ndarray, "height width"], config: PerturbationConfig
) -> UInt8[np.ndarray, "height width"]:
    """A label map as an earlier prediction may have been: each object deformed, damaged or lost by itself."""
    result = np.zeros_like(labels)
    for label in label_ids(labels):
        mask = (labels == label).view(np.uint8)
        x, y, columns, rows = cv2.boundingRect(mask)
        margin_x, margin_y = columns // 3 + 4, rows // 3 + 4
        window = (
            slice(max(0, y - margin_y), y + rows + margin_y),
            slice(max(0, x - margin_x), x + columns + margin_x),
        )
        result[window][_perturb_mask(rng, mask[window], config) != 0] = label
        if rng.random() < config.ghost:
            _add_ghost(rng, result, mask[y : y + rows, x : x + columns], label)
    return result


def label_ids(labels: UInt8[np.ndarray, "height width"], minimum_pixels: int = 1) -> list[int]:
    """Ids of the objects in a label map that have so many pixels, ascending."""
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256])
    return [int(label) for label in np.flatnonzero(counts >= minimum_pixels) if label != 0]


def _remap(array: np.ndarray, positions: np.ndarray, interpolation: int, outside: Sequence[int]) -> np.ndarray:
    no_second_map: Any = None  # both coordinates are in the first; OpenCV's type hints do not know that
    border = cv2.BORDER_CONSTANT
    return cv2.remap(array, positions, no_second_map, interpolation, borderMode=border, borderValue=outside)


def _perturb_mask(rng: np.random.Generator, mask: np.ndarray, config: PerturbationConfig) -> np.ndarray:
    """The object within its window (uint8, 0 and 1), perturbed."""
    if rng.random() < config.empty:
        return np.zeros_like(mask)
    deformation = sample_deformation(rng, config.geometry, mask.shape, flip=False)
    mask = warp_labels(mask, backward_map(deformation, np.eye(3), mask.shape))
    if rng.random() < config.grow:
        radius = max(1.0, rng.uniform(0, config.radius) * np.sqrt(cv2.countNonZero(mask)))
        if rng.random() < 0.5:
            mask = (cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3) <= radius).view(np.uint8)
        else:
            mask = (cv2.distanceTransform(mask, cv2.DIST_L2, 3) > radius).view(np.uint8)
    if rng.random() < config.rectangle:
        size = rng.uniform(0.2, 0.5, 2) * mask.shape
        top, left = (rng.uniform(0, 1, 2) * (mask.shape - size)).astype(int)
        bottom, right = (int(top + size[0]) + 1, int(left + size[1]) + 1)
        mask[top:bottom, left:right] = rng.random() < 0.5
    return mask


def _add_ghost(rng: np.random.Generator, labels: np.ndarray, shape: np.ndarray, label: int) -> None:
    """Sets a copy of an object (its box, uint8, 0 and 1) into the background of a label map, in place."""
    extent = np.maximum(1, np.round(rng.uniform(*_GHOST_SCALE) * np.array(shape.shape))).astype(int)
    ghost = cv2.resize(shape, (int(extent[1]), int(extent[0])), interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        ghost = ghost[:, ::-1]
    top, left = np.floor(rng.uniform(0, 1, 2) * labels.shape - extent / 2).astype(int)
    inside = ghost[max(0, -top) : labels.shape[0] - top, max(0, -left) : labels.shape[1] - left]
    window = labels[max(0, top) :, max(0, left) :][: inside.shape[0], : inside.shape[1]]
    window[(inside != 0) & (window == 0)] = label


@functools.lru_cache(maxsize=32)
def _coarse_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 2) of the coarse pixels of an output, and the spline there: shift = basis @ shifts.

    The outputs' sizes recur in every sample and stay in the cache; the windows of objects pass through it.
    """
    rows = (np.arange(height // _STRIDE + 3) - 0.5) * _STRIDE
    columns = (np.arange(width // _STRIDE + 3) - 0.5) * _STRIDE
    positions = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    return positions, _spline_basis(positions / (width, height)).astype(np.float32)


def _spline_features(positions: np.ndarray) -> np.ndarray:
    """Thin-plate kernel to every control point, and affine terms, at positions (n, 2) in the unit square."""
    squared = np.sum((positions[:, None] - _control_points()) ** 2, axis=-1)
    kernel = squared * np.log(np.maximum(squared, 1e-12))
    return np.concatenate((kernel, np.ones((len(positions), 1)), positions), axis=1)


def _control_points() -> np.ndarray:
    side = np.linspace(0, 1, _CONTROL)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _spline_basis(positions: np.ndarray) -> np.ndarray:
    """What a shift of each control point contributes at every position: (n, 16)."""
    points = _control_points()
    system = np.zeros((len(points) + 3, len(points) + 3))
    system[: len(points)] = _spline_features(points)
    system[len(points) :, : len(points)] = system[: len(points), len(points) :].T
    weights = np.linalg.inv(system)[:, : len(points)]
    return _spline_features(positions) @ weights
