"""What all speed measurements share: wall time, a yardstick beside it, peak memory, and the speed of the measures."""

import contextlib
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.davis import DavisTree
from ranet_jax.evaluation.davis import object_labels
from ranet_jax.evaluation.metrics import one_opencv_thread, score_label_maps


def seconds_of(function: Callable[[], Any]) -> float:
    """Wall time of one call, its result awaited."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


class Yardstick:
    """The rate of this machine's matrix products, measured again with every call.

    An accelerator's is of bfloat16, which it computes in, and of matrices large enough to fill it.

    Attributes:
        size: rows and columns of the matrices.
        dtype: name of their dtype.
    """

    def __init__(self) -> None:
        on_cpu = jax.default_backend() == "cpu"
        self.size, self.dtype = (2048, "float32") if on_cpu else (8192, "bfloat16")
        self._matrix = jnp.asarray(np.random.default_rng(0).normal(size=(self.size, self.size)), self.dtype)
        self._product = jax.jit(lambda a: jnp.dot(a, a, precision="highest" if on_cpu else None))
        jax.block_until_ready(self._product(self._matrix))

    def __call__(self) -> float:
        """Operations a second, now."""
        return 2 * self.size**3 / seconds_of(lambda: self._product(self._matrix))


def reset_peak_memory() -> None:
    """Starts `peak_memory` anew, where the system can (Linux); what an accelerator reports is since its start."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Bytes: the accelerator's peak, on a CPU the most this process has had resident; None where neither is told."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("peak_bytes_in_use")
    return peak_resident()


def peak_resident(process: int | str = "self") -> int | None:
    """Bytes: the most that a process has had resident; None where the system does not tell, or no longer."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{process}/status").read_text())
        return int(found[1]) * 1024 if found else None
    return None


def resident_memory() -> int:
    """Bytes in use now: on an accelerator allocated there, on a CPU resident in this process; 0 if unknown."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return int((device.memory_stats() or {}).get("bytes_in_use", 0))
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


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
