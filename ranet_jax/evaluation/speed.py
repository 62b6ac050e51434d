"""How long the measures take, so that a slower version is noticed."""

import time

import cv2
import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.davis import DavisTree
from ranet_jax.evaluation.davis import object_labels
from ranet_jax.evaluation.metrics import one_opencv_thread, score_label_maps


def measure_metric_speed(tree: DavisTree, sequence: str) -> float:
    """Median time for J and F of one object in one frame, on one core, in milliseconds.

    All annotated frames are scored, decoded beforehand, against predictions made of them: a little smaller
    and a few pixels off, as a good tracker's are. Finding the object's pixels in the label maps is part of
    the time.

    Raises:
        InputError: The sequence is missing or damaged.
    """
    labels = object_labels(tree, sequence)
    truths = [tree.label_map(path) for path in tree.annotations(sequence)]
    pairs = [(truth, _imperfect_prediction(truth)) for truth in truths]
    seconds = []
    with one_opencv_thread():
        for truth, prediction in pairs:
            for label in labels:
                start = time.perf_counter()
                score_label_maps(truth, prediction, (label,))
                seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def _imperfect_prediction(
    truth: UInt8[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width"]:
    """The truth, eroded by two pixels and moved by three down and four to the right."""
    prediction = np.zeros_like(truth)
    prediction[3:, 4:] = cv2.erode(truth, np.ones((5, 5), np.uint8))[:-3, :-4]
    return prediction
