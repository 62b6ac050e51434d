"""Region similarity J and boundary accuracy F of a mask, and the statistics of a sequence of them.

The measures of Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation"
(CVPR 2016), section 5, in the conventions of the DAVIS 2017 evaluation, so that the numbers agree with
published ones. NumPy and OpenCV on one core, no JAX: parallel work is over sequences
(`ranet_jax.evaluation.davis`).

What makes it fast without changing a value: both masks are cut to the box that holds both boundaries, since a
boundary pixel is matched by boundary pixels and never by anything outside of that box.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

BOUNDARY_TOLERANCE = 0.008
"""How far two boundaries may be apart and still match, as a share of the image's diagonal."""

RECALL_THRESHOLD = 0.5
"""A frame counts for the recall where its value is above this, strictly."""


class Statistics(NamedTuple):
    """What DAVIS reports of the per-frame values of one object in one sequence.

    Attributes:
        mean: Mean over the frames; frames without a value (NaN) are left out.
        recall: Share of all frames whose value is above `RECALL_THRESHOLD`; a NaN is not.
        decay: Mean over the first quarter of the frames minus mean over the last; NaNs left out.
    """

    mean: float
    recall: float
    decay: float


class FrameScore(NamedTuple):
    """J and F of one object in one frame, both in [0, 1].

    Attributes:
        region: J, intersection over union of the masks.
        boundary: F, harmonic mean of the boundary's precision and recall.
    """

    region: float
    boundary: float


def score_frame(
    truth: Bool[np.ndarray, "height width"],
    prediction: Bool[np.ndarray, "height width"],
    void: Bool[np.ndarray, "height width"] | None = None,
) -> FrameScore:
    """Scores one object's mask in one frame.

    J is 1 where both masks are empty. For F, a boundary pixel of one mask is matched if the other's boundary
    comes within `boundary_tolerance` of it; precision is the matched share of the prediction's boundary,
    recall that of the truth's. F is 1 where both boundaries are empty, and 0 where only one is.

    Args:
        truth: The annotated mask.
        prediction: The mask to score.
        void: Pixels that count for neither measure: both masks are empty there.

    Returns:
        J and F.
    """
    tolerance = boundary_tolerance(*truth.shape)
    truth_bits, prediction_bits = truth.view(np.uint8), prediction.view(np.uint8)
    if void is not None:
        counted = 1 - void.view(np.uint8)
        truth_bits, prediction_bits = truth_bits & counted, prediction_bits & counted
    box = _joint_box(truth_bits, prediction_bits)
    # OpenCV wants rows without gaps; of a box this costs next to nothing.
    truth_bits, prediction_bits = (np.ascontiguousarray(bits[box]) for bits in (truth_bits, prediction_bits))
    return FrameScore(
        _region_similarity(truth_bits, prediction_bits),
        _boundary_accuracy(_boundary_bits(truth_bits), _boundary_bits(prediction_bits), tolerance),
    )


def score_label_maps(
    truth: UInt8[np.ndarray, "height width"],
    prediction: UInt8[np.ndarray, "height width"],
    objects: Sequence[int],
    void: Bool[np.ndarray, "height width"] | None = None,
) -> Float64[np.ndarray, "objects 2"]:
    """Scores every object of a frame.

    Args:
        truth: The annotated labels, 0 for the background.
        prediction: The labels to score; an object that is absent here has an empty mask.
        objects: The labels that count; any other is background.
        void: Pixels that count for neither measure.

    Returns:
        J and F of every object, in [0, 1].
    """
    scores = [score_frame(truth == label, prediction == label, void) for label in objects]
    return np.array(scores, np.float64).reshape(len(objects), 2)


def boundary_map(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Marks the pixels that differ from their right, lower or lower right neighbour.

    A boundary is one pixel wide, and lies on the mask along its lower and right side and just outside of it
    along its upper and left side. On the last row only the right neighbour counts, on the last column only
    the lower one; the last pixel is never marked.
    """
    return _boundary_bits(np.ascontiguousarray(mask).view(np.uint8)).view(np.bool_)


def boundary_tolerance(height: int, width: int) -> int:
    """Radius in pixels within which boundaries match: `BOUNDARY_TOLERANCE` of the diagonal, rounded up."""
    return math.ceil(BOUNDARY_TOLERANCE * math.sqrt(height**2 + width**2))


def statistics(values: Float64[np.ndarray, " frames"]) -> Statistics:
    """Mean, recall and decay of the per-frame values of one object.

    The quarters of the decay share their border frames, as in the official evaluation. That one keeps the
    borders in 8 bits, which wrap around from the 257th frame on; here they do not, so that the decay of
    longer sequences is right (and differs from the official number). A mean over no value at all is NaN.

    Args:
        values: J or F of every frame in order, NaN where a frame has none; at least one frame.

    Returns:
        The statistics.

    Raises:
        ValueError: There is no frame.
    """
    if len(values) == 0:
        raise ValueError("a sequence without frames has no statistics")
    # The nudge makes every half round up; NumPy alone rounds it to the even neighbour.
    borders = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(np.int64) - 1
    first, last = values[: borders[1] + 1], values[borders[3] :]
    return Statistics(
        mean=_mean_of_present(values),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=_mean_of_present(first) - _mean_of_present(last),
    )


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keeps OpenCV on the calling thread's core inside the block, and restores its setting afterwards."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _mean_of_present(values: Float64[np.ndarray, " frames"]) -> float:
    present = values[~np.isnan(values)]
    return float(np.mean(present)) if len(present) else math.nan


def _joint_box(truth: np.ndarray, prediction: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold both masks and both boundaries (at least one pixel)."""
    left, top, width, height = cv2.boundingRect(cv2.bitwise_or(truth, prediction))
    # A boundary reaches one pixel above and to the left. One empty pixel below and to the right keeps the
    # rules for the frame's last row and column from applying to the box's.
    rows = slice(max(top - 1, 0), min(top + height + 1, truth.shape[0]))
    columns = slice(max(left - 1, 0), min(left + width + 1, truth.shape[1]))
    return rows, columns


def _region_similarity(truth: np.ndarray, prediction: np.ndarray) -> float:
    union = cv2.countNonZero(cv2.bitwise_or(truth, prediction))
    return cv2.countNonZero(cv2.bitwise_and(truth, prediction)) / union if union else 1.0


def _boundary_bits(mask: np.ndarray) -> np.ndarray:
    """`boundary_map` of a 0/1 uint8 mask, as such a mask."""
    boundary = np.zeros_like(mask)
    here = mask[:-1, :-1]
    boundary[:-1, :-1] = (here ^ mask[:-1, 1:]) | (here ^ mask[1:, :-1]) | (here ^ mask[1:, 1:])
    boundary[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    boundary[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return boundary


def _boundary_accuracy(truth: np.ndarray, prediction: np.ndarray, tolerance: int) -> float:
    truth_length, prediction_length = cv2.countNonZero(truth), cv2.countNonZero(prediction)
    if truth_length == 0 or prediction_length == 0:
        return 1.0 if truth_length == prediction_length else 0.0
    disk = _disk(tolerance)
    precision = cv2.countNonZero(prediction & cv2.dilate(truth, disk)) / prediction_length
    recall = cv2.countNonZero(truth & cv2.dilate(prediction, disk)) / truth_length
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@functools.cache
def _disk(radius: int) -> np.ndarray:
    """The pixels within a Euclidean distance, as a 0/1 structuring element."""
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    disk.setflags(write=False)
    return disk
