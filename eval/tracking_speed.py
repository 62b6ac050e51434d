"""What tracking costs: a step, a step late in a long video, a whole command with its files, and starting it."""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

import ranet_jax
from ranet_jax.evaluation.speed import Yardstick, resident_memory
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.results import ResultWriter
from ranet_jax.io.video import open_frames
from ranet_jax.networks import MRNetConfig, NetworkConfig
from ranet_jax.runtime.stream import stream
from ranet_jax.tracker import mrnet_tracker as mrnet
from ranet_jax.tracker import ranet_tracker as ranet
from ranet_jax.tracker.make import make_tracker

FRAME_SIZE = (480, 854)
DEMO = pathlib.Path(ranet_jax.__file__).parent / "demo"
"""The embedded clip with its mask: 480x854, decoded from H.264."""
WINDOW = 50
"""Frames around which a step late in a video is compared with an early one."""


class StepTiming(NamedTuple):
    """Median seconds of a tracker's step, its floating-point operations, and the yardstick's rate beside it."""

    seconds: float
    operations: float
    yardstick: float


class LongVideo(NamedTuple):
    """Medians of a step's seconds and of the bytes resident after it, around an early frame and at a video's end.

    What is resident swings by some MiB from step to step, as buffers are taken from the system and given back.
    """

    early_seconds: float
    late_seconds: float
    early_bytes: int
    late_bytes: int


class EndToEnd(NamedTuple):
    """Median seconds a frame of the steps alone, and of the stream with decoding and writing; frames of the video."""

    alone: float
    stream: float
    frames: int


class StartUp(NamedTuple):
    """Seconds from a command's start to its first mask, to its first tracked one, and to its end."""

    first_mask: float
    first_tracked: float
    end: float


def labelled_noise(objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of noise, uint8 (2, 480, 854, 3), and a label map with a rectangle for each object."""
    frames = np.random.default_rng(0).integers(0, 256, (2, *FRAME_SIZE, 3), dtype=np.uint8)
    labels = np.zeros(FRAME_SIZE, np.uint8)
    for i in range(objects):
        labels[120:360, 40 + i * 780 // objects : 40 + (i + 1) * 780 // objects - 20] = i + 1
    return frames, labels


def time_step(config: NetworkConfig, variables: Any, objects: int, repeats: int) -> StepTiming:
    """Times `step` on 480x854 frames of noise with some rectangles as objects, after a first compiling step.

    Raises:
        RuntimeError: a later step was compiled again.
    """
    frames, labels = labelled_noise(objects)
    tracker = make_tracker(config, FRAME_SIZE)
    state: Any = tracker.init(variables, frames[0], labels)
    step = (mrnet if isinstance(config, MRNetConfig) else ranet)._step
    program = step.lower(variables, state, frames[0], config=config, frame_size=FRAME_SIZE).compile()
    operations = (program.cost_analysis() or {})["flops"]
    measure_rate = Yardstick()
    with _compiled_once(config):
        state, *_ = jax.block_until_ready(tracker.step(variables, state, frames[1]))
        seconds, rates = [], []
        for i in range(repeats):
            rates.append(measure_rate())
            start = time.perf_counter()
            state, *_ = jax.block_until_ready(tracker.step(variables, state, frames[i % 2]))
            seconds.append(time.perf_counter() - start)
    return StepTiming(statistics.median(seconds), operations, statistics.median(rates))


def time_long_video(config: NetworkConfig, variables: Any, frames: int, early: int = 100) -> LongVideo:
    """Times the steps of a video of noise around frame `early` and at its end, `frames` frames in.

    Raises:
        RuntimeError: a later step was compiled again.
    """
    pictures, labels = labelled_noise(1)
    tracker = make_tracker(config, FRAME_SIZE)
    state: Any = tracker.init(variables, pictures[0], labels)
    seconds, resident = [], []
    with _compiled_once(config):
        for i in range(1, frames + 1):
            start = time.perf_counter()
            state, *_ = jax.block_until_ready(tracker.step(variables, state, pictures[i % 2]))
            seconds.append(time.perf_counter() - start)
            resident.append(resident_memory())
    around, late = slice(early - WINDOW // 2, early + WINDOW // 2), slice(-WINDOW, None)
    median = statistics.median
    return LongVideo(
        median(seconds[around]), median(seconds[late]), int(median(resident[around])), int(median(resident[late]))
    )


def time_video(config: NetworkConfig, variables: Any) -> EndToEnd:
    """Times the embedded clip: its steps alone on frames in memory, and as `ranet-jax segment` runs it."""
    label_map = read_label_map(DEMO / "bunny_mask.png")
    tracker = make_tracker(config, (label_map.shape[0], label_map.shape[1]))
    with open_frames(str(DEMO / "bunny.mp4")) as frames:
        images = [frame.image for frame in frames]
    alone: list[float] = []
    for _ in range(2):  # the first round compiles
        state: Any = tracker.init(variables, images[0], label_map)
        alone = []
        for image in images[1:]:
            start = time.perf_counter()
            state, labels, _ = tracker.step(variables, state, image)
            labels.block_until_ready()
            alone.append(time.perf_counter() - start)
    with open_frames(str(DEMO / "bunny.mp4")) as frames, tempfile.TemporaryDirectory() as folder:
        report = stream(tracker, variables, frames, label_map, ResultWriter(folder))
    assert report.median_milliseconds_per_frame is not None, "the embedded clip has more than two frames"
    return EndToEnd(statistics.median(alone), report.median_milliseconds_per_frame / 1e3, report.frames)


def time_start_up(model: str, cache: pathlib.Path) -> StartUp:
    """Runs `ranet-jax segment` on the embedded clip in a process of its own, and watches its masks appear.

    Args:
        model: embedded name or checkpoint folder.
        cache: the folder for compiled programs; empty for a first run, and not for a second.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "masks"
        command = [sys.executable, "-m", "ranet_jax.cli", "segment", str(DEMO / "bunny.mp4"), "--mask"]
        command += [str(DEMO / "bunny_mask.png"), "--out", str(out), "--checkpoint", model]
        seen: list[float] = []
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        )
        while process.poll() is None:
            masks = len(list(out.glob("*.png"))) if len(seen) < 2 else 0
            seen += [time.perf_counter() - start] * (min(masks, 2) - len(seen))
            time.sleep(0.01)
        end = time.perf_counter() - start
        if process.returncode or len(seen) < 2:
            assert process.stderr is not None
            raise RuntimeError(f"segment failed: {process.stderr.read().decode().strip()}")
    return StartUp(seen[0], seen[1], end)


@contextmanager
def _compiled_once(config: NetworkConfig) -> Iterator[None]:
    """Fails if a tracker's step is compiled more than once inside."""
    module = mrnet if isinstance(config, MRNetConfig) else ranet
    before = module.compiled_steps()
    yield
    if module.compiled_steps() > before + 1:
        raise RuntimeError("the tracker's step was compiled again after its first frame")
