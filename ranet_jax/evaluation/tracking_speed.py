"""What tracking costs: a step, a step late in a long video, a whole command with its files, and starting it."""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

import ranet_jax
from ranet_jax.errors import InputError
from ranet_jax.evaluation.speed import Yardstick, peak_resident, resident_memory
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.results import ResultWriter
from ranet_jax.io.video import open_frames
from ranet_jax.runtime.stream import stream
from ranet_jax.tracker.objects import OBJECT_BUCKETS, object_bucket
from ranet_jax.weights import Checkpoint

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
    """Seconds from a command's start to its first mask, first tracked one, and end; most bytes resident, or 0."""

    first_mask: float
    first_tracked: float
    end: float
    peak_bytes: int


def labelled_noise(objects: int, frame_size: tuple[int, int] = FRAME_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of noise, uint8 (2, height, width, 3), and a label map with a rectangle for each object."""
    height, width = frame_size
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    labels = np.zeros(frame_size, np.uint8)
    for i in range(objects):
        left, right = width * (2 * i + 1) // (2 * objects + 1), width * (2 * i + 2) // (2 * objects + 1)
        labels[height // 4 : 3 * height // 4, left : max(right, left + 1)] = i + 1
    return frames, labels


def time_step(
    checkpoint: Checkpoint, objects: int, repeats: int, frame_size: tuple[int, int] = FRAME_SIZE
) -> StepTiming:
    """Times `step` on frames of noise with some rectangles as objects, after a first compiling step.

    Args:
        checkpoint: the network.
        objects: how many.
        repeats: timed steps.
        frame_size: height and width of the frames.

    Raises:
        RuntimeError: a later step was compiled again.
    """
    frames, labels = labelled_noise(objects, frame_size)
    tracker, variables = checkpoint.tracker_for(frame_size), jax.device_put(checkpoint.variables)
    state: Any = tracker.init(variables, frames[0], labels)
    operations = step_cost(tracker, variables, state, frames[0])["flops"]
    measure_rate = Yardstick()
    state, *_ = jax.block_until_ready(tracker.step(variables, state, frames[1]))
    seconds, rates = [], []
    with nothing_compiled() as check:
        for i in range(repeats):
            rates.append(measure_rate())
            start = time.perf_counter()
            state, *_ = jax.block_until_ready(tracker.step(variables, state, frames[i % 2]))
            seconds.append(time.perf_counter() - start)
            check()
    return StepTiming(statistics.median(seconds), operations, statistics.median(rates))


def step_cost(tracker: Any, *arguments: Any) -> dict[str, float]:
    """What XLA counts of a tracker's step as it is compiled: `flops`, `bytes accessed`; nothing is run."""
    return jax.jit(tracker.step).lower(*arguments).compile().cost_analysis() or {}


def time_long_video(checkpoint: Checkpoint, frames: int, early: int = 100) -> LongVideo:
    """Times the steps of a video of noise around frame `early` and at its end, `frames` frames in.

    Raises:
        RuntimeError: a later step was compiled again.
    """
    pictures, labels = labelled_noise(1)
    tracker, variables = checkpoint.tracker_for(FRAME_SIZE), jax.device_put(checkpoint.variables)
    state: Any = tracker.init(variables, pictures[0], labels)
    state, *_ = jax.block_until_ready(tracker.step(variables, state, pictures[1]))
    seconds, resident = [], []
    with nothing_compiled() as check:
        for i in range(2, frames + 1):
            start = time.perf_counter()
            state, *_ = jax.block_until_ready(tracker.step(variables, state, pictures[i % 2]))
            seconds.append(time.perf_counter() - start)
            resident.append(resident_memory())
            check()
    around, late = slice(early - WINDOW // 2, early + WINDOW // 2), slice(-WINDOW, None)
    median = statistics.median
    return LongVideo(
        median(seconds[around]), median(seconds[late]), int(median(resident[around])), int(median(resident[late]))
    )


def time_video(checkpoint: Checkpoint) -> EndToEnd:
    """Times the embedded clip: its steps alone on frames in memory, and as `ranet-jax segment` runs it."""
    label_map = read_label_map(DEMO / "bunny_mask.png")
    tracker = checkpoint.tracker_for((label_map.shape[0], label_map.shape[1]))
    variables = jax.device_put(checkpoint.variables)
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
        report = stream(tracker, variables, frames, {0: label_map}, ResultWriter(folder))
    assert report.median_milliseconds_per_frame is not None, "the embedded clip has more than two frames"
    return EndToEnd(statistics.median(alone), report.median_milliseconds_per_frame / 1e3, report.frames)


def time_start_up(
    model: str,
    cache: pathlib.Path,
    *,
    checkout: pathlib.Path | None = None,
    video: pathlib.Path = DEMO / "bunny.mp4",
    mask: pathlib.Path = DEMO / "bunny_mask.png",
) -> StartUp:
    """Runs `ranet-jax segment` in a process of its own, and watches its masks appear.

    Args:
        model: embedded name or checkpoint folder.
        cache: the folder for compiled programs; empty for a first run, and not for a second.
        checkout: the root of the library that is run; by default this one.
        video: what is segmented.
        mask: of its first frame.

    Raises:
        RuntimeError: the command failed.
    """
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "masks"
        command = [sys.executable, "-m", "ranet_jax.cli", "segment", str(video.absolute()), "--mask"]
        command += [str(mask.absolute()), "--out", str(out), "--checkpoint", model]
        seen: list[float] = []
        start = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=said, env=environment, cwd=checkout or folder
            )
            peak: int | None = None
            while process.poll() is None:
                masks = len(list(out.glob("*.png"))) if len(seen) < 2 else 0
                seen += [time.perf_counter() - start] * (min(masks, 2) - len(seen))
                # What `wait` reports counts the memory of the process that started it, too.
                peak = peak_resident(process.pid) or peak
                time.sleep(0.01)
            end = time.perf_counter() - start
            if process.returncode or len(seen) < 2:
                said.seek(0)
                raise RuntimeError(f"segment failed: {said.read().decode().strip()}")
    return StartUp(seen[0], seen[1], end, peak or 0)


@contextmanager
def nothing_compiled() -> Iterator[Callable[[], None]]:
    """Gives a function that raises RuntimeError once something has been compiled inside."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def check() -> None:
        if compiled:
            raise RuntimeError("the tracker's step was compiled again after its first frame")

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield check
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def print_steps(
    checkpoint: Checkpoint,
    object_counts: Sequence[int],
    repeats: int,
    *,
    frame_size: tuple[int, int] = FRAME_SIZE,
) -> None:
    """Prints one row for each number of objects.

    Raises:
        InputError: there are more objects than a tracker has room for.
    """
    (height, width), device = checkpoint.config.input_size, jax.devices()[0].device_kind
    if max(object_counts) > OBJECT_BUCKETS[-1]:
        raise InputError(f"{max(object_counts)} objects: a tracker has room for {OBJECT_BUCKETS[-1]}")
    frames = "x".join(map(str, frame_size))
    print(f"{checkpoint.name}: frames {frames}, network input {height}x{width}, {device}, median of {repeats} steps")
    print("objects  bucket  ms/frame  frames/s   GFLOP  GFLOP/s  matrix product GFLOP/s  share", flush=True)
    for objects in object_counts:
        timing = time_step(checkpoint, objects, repeats, frame_size)
        rate = timing.operations / timing.seconds
        print(
            f"{objects:7d}  {object_bucket(objects):6d}  {1e3 * timing.seconds:8.1f}  {1 / timing.seconds:8.2f}"
            f"  {timing.operations / 1e9:6.1f}  {rate / 1e9:7.1f}  {timing.yardstick / 1e9:22.1f}"
            f"  {rate / timing.yardstick:4.0%}",
            flush=True,
        )


def print_length(checkpoint: Checkpoint, frames: int) -> None:
    """Prints time and memory of an early and a late frame of a long video."""
    found = time_long_video(checkpoint, frames)
    print(f"{checkpoint.name}: one object, 480x854, median of {WINDOW} steps around frame 100 and of the last {WINDOW}")
    print("frame  ms/frame  resident MiB")
    print(f"{100:5d}  {1e3 * found.early_seconds:8.1f}  {found.early_bytes / 2**20:12.1f}")
    print(f"{frames:5d}  {1e3 * found.late_seconds:8.1f}  {found.late_bytes / 2**20:12.1f}")


def print_video(checkpoint: Checkpoint) -> None:
    """Prints the rate of the embedded clip's steps alone, and with decoding and writing."""
    found = time_video(checkpoint)
    print(f"{checkpoint.name}: embedded clip, {found.frames} frames of 480x854, median of all steps")
    print("                                ms/frame  frames/s")
    print(f"network alone                   {1e3 * found.alone:8.1f}  {1 / found.alone:8.2f}")
    print(f"with decoding and PNG writing   {1e3 * found.stream:8.1f}  {1 / found.stream:8.2f}")
    print(f"share of the network's rate     {found.alone / found.stream:8.0%}")


def print_start_up(name: str) -> None:
    """Prints how long `ranet-jax segment` takes to its first masks, without and with compiled programs on disk."""
    print(f"{name}: `ranet-jax segment` of the embedded clip, seconds from the start of the process")
    print("compiled programs  first mask  first tracked mask   end  peak MiB")
    with tempfile.TemporaryDirectory() as cache:
        for what in ("none", "kept"):
            found = time_start_up(name, pathlib.Path(cache))
            print(
                f"{what:17s}  {found.first_mask:10.1f}  {found.first_tracked:18.1f}  {found.end:4.1f}"
                f"  {found.peak_bytes / 2**20:8.0f}",
                flush=True,
            )
