"""Everything that is asked of an accelerator, in one run of under eight minutes (`--accelerator FOLDER`).

The run writes one JSON file and one Markdown table, which goes into `docs/performance.md` as it is. What is worth most
comes first; a part that there is no time left for, or that fails, is a row that says so.
"""

import dataclasses
import itertools
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from eval.benchmarks.networks import open_network
from eval.benchmarks.training_memory import device_memory, measure_batch_sizes
from eval.benchmarks.training_speed import measure_training_step
from eval.benchmarks.training_step import compiled_bytes
from ranet_jax import __version__
from ranet_jax.data.davis import DavisTree
from ranet_jax.evaluation.metrics import score_label_maps
from ranet_jax.evaluation.speed import Yardstick, peak_memory, seconds_of
from ranet_jax.evaluation.tracking_speed import DEMO, FRAME_SIZE, labelled_noise
from ranet_jax.io.atomic import atomic_file, make_folder
from ranet_jax.io.masks import read_label_map
from ranet_jax.io.video import open_frames
from ranet_jax.runtime.batched import BatchedTracker
from ranet_jax.runtime.export import export_program
from ranet_jax.runtime.program import load_program
from ranet_jax.training.options import load_config
from ranet_jax.weights import Checkpoint

SECONDS = 450.0
"""No part starts later than this: the run stays under eight minutes where no part takes more than half a one."""
RECIPES = ("ranet_lite_davis16", "mrnet_lite_davis16", "ranet_davis16", "mrnet_davis16")
BLOCK = 10
"""Steps that are dispatched before one is waited for, as a stream of frames does."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        released: the full-size network.
        lite: the small one.
        recipes: by name, training configurations whose step is timed.
        fitting: by name, those whose largest batch is looked for.
        memory: bytes that a batch may take.
        videos: numbers of videos in lockstep.
        objects: numbers of objects.
        frame_size: height and width of the frames of noise.
        repeats: blocks of steps, and training steps, that are timed.
        frames: of the real sequence that are tracked.
        seconds: no part starts later.
        davis: a DAVIS folder, or None.
    """

    released: Checkpoint
    lite: Checkpoint
    recipes: Mapping[str, ml_collections.ConfigDict]
    fitting: Mapping[str, ml_collections.ConfigDict]
    memory: int
    videos: tuple[int, ...] = (1, 8, 16)
    objects: tuple[int, ...] = (1, 5, 10)
    frame_size: tuple[int, int] = FRAME_SIZE
    repeats: int = 5
    frames: int = 60
    seconds: float = SECONDS
    davis: pathlib.Path | None = None


class Row(NamedTuple):
    """One figure.

    Attributes:
        what: was measured.
        value: what was found; None where the part was not run, and `note` says why.
        unit: of the value.
        aim: to be reached, or None.
        note: what else is worth knowing.
    """

    what: str
    value: float | None
    unit: str = ""
    aim: float | None = None
    note: str = ""


Part = Callable[[Plan], Iterator[Row]]


def full_plan(memory: int, davis: pathlib.Path | None) -> Plan:
    """What is measured on a real accelerator.

    Raises:
        InputError: there is no such recipe.
    """
    recipes = {name: load_config(name) for name in RECIPES}
    fitting = {name: recipes[name] for name in RECIPES[:1]}
    return Plan(open_network("released"), open_network("lite"), recipes, fitting, memory, davis=davis)


def print_report(folder: pathlib.Path, davis: pathlib.Path | None) -> None:
    """Measures this machine's accelerator and prints the table; a line where there is none.

    Raises:
        InputError: the folder cannot be written, or `davis` is no DAVIS folder.
    """
    if jax.default_backend() == "cpu":
        print("accelerator: skipped, as this machine has none")
        return
    if davis is not None:
        DavisTree(davis, year=2016)
    print(run_plan(full_plan(device_memory(), davis), folder))


def run_plan(plan: Plan, folder: pathlib.Path) -> str:
    """Measures all parts, and writes `accelerator.json` and `accelerator.md` after each of them.

    Args:
        plan: what is measured.
        folder: for both files; made where it is missing.

    Returns:
        The Markdown.

    Raises:
        InputError: the files cannot be written.
    """
    start, rows, text = time.perf_counter(), [], ""
    make_folder(folder)
    for title, part in PARTS.items():
        rows += _rows_of(title, part, plan, time.perf_counter() - start)
        text = _write(folder, rows, time.perf_counter() - start)
    return text


def _rows_of(title: str, part: Part, plan: Plan, elapsed: float) -> list[Row]:
    if elapsed > plan.seconds:
        return [Row(title, None, note=f"not run: {elapsed:.0f} s had passed")]
    rows: list[Row] = []
    try:
        rows.extend(part(plan))
    except Exception as error:  # one part's fault must not cost the others, which may not come again soon
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        rows.append(Row(title, None, note=f"failed: {reason}"))
    return rows


def _write(folder: pathlib.Path, rows: Sequence[Row], seconds: float) -> str:
    device = jax.devices()[0]
    facts = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    facts |= {"ranet_jax": __version__, "seconds": round(seconds, 1)}
    content = json.dumps(facts | {"rows": [row._asdict() for row in rows]}, indent=2) + "\n"
    lines = [f"{facts['device']}, JAX {facts['jax']}, ranet-jax {__version__}, {seconds:.0f} s in all:", ""]
    lines += ["| what | value | aim | |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {_shown(row.value, row.unit)} | {_shown(row.aim, row.unit)} | {row.note} |" for row in rows
    ]
    text = "\n".join(lines) + "\n"
    for name, written in (("accelerator.json", content), ("accelerator.md", text)):
        with atomic_file(folder / name) as temporary:
            temporary.write_text(written)
    return text


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    number = f"{value:.0%}" if unit == "share" else f"{value:.4g} {unit}"
    return number.strip()


def in_dtype(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The same network, computing in another dtype."""
    return checkpoint._replace(config=dataclasses.replace(checkpoint.config, dtype=dtype))


class _Steps(NamedTuple):
    """Median seconds of a step, its operations, the matrix product's rate beside it, and the compiled step's bytes."""

    seconds: float
    operations: float
    product_rate: float
    compiled_bytes: int


def _time_steps(tracker: Any, checkpoint: Checkpoint, frames: Any, labels: np.ndarray, repeats: int) -> _Steps:
    """Times a tracker's steps on one frame, or one batch of frames, again and again."""
    variables, frames = jax.device_put(checkpoint.variables), jax.device_put(frames)
    state = tracker.init(variables, np.asarray(frames), labels)
    # Compiled once, by hand, so that the program that is timed is the one whose operations are counted.
    step = jax.jit(tracker.step, donate_argnums=1).lower(variables, state, frames).compile()

    def block() -> Any:
        nonlocal state
        for _ in range(BLOCK):
            state, label_map, _ = step(variables, state, frames)
        return state, label_map

    jax.block_until_ready(block())
    measure_rate, seconds, rates = Yardstick(), [], []
    for _ in range(repeats):
        rates.append(measure_rate())
        seconds.append(seconds_of(block) / BLOCK)
    operations = (step.cost_analysis() or {}).get("flops", 0.0)
    return _Steps(statistics.median(seconds), operations, statistics.median(rates), compiled_bytes(step))


def _lockstep(plan: Plan) -> Iterator[Row]:
    """The released network in bfloat16: one video, and several at once."""
    checkpoint = in_dtype(plan.released, "bfloat16")
    pictures, labels = labelled_noise(1, plan.frame_size)
    for videos in plan.videos:
        tracker = BatchedTracker(checkpoint.tracker_for(plan.frame_size))
        frames = np.stack([pictures[i % 2] for i in range(videos)])
        found = _time_steps(tracker, checkpoint, frames, np.stack([labels] * videos), plan.repeats)
        share = found.operations / found.seconds / found.product_rate
        name = f"released network, bfloat16, {videos} video{'s' if videos > 1 else ''}"
        memory = f"step of {found.compiled_bytes / 2**30:.2f} GiB"
        yield Row(name, videos / found.seconds, "frames/s", 200.0 if videos == 1 else None, memory)
        yield Row(f"{name}: of the matrix rate", share, "share", 0.35, f"{found.product_rate / 1e12:.1f} TFLOP/s")


def _objects(plan: Plan) -> Iterator[Row]:
    """The small network with more and more objects."""
    checkpoint = in_dtype(plan.lite, "bfloat16")
    for objects in plan.objects:
        pictures, labels = labelled_noise(objects, plan.frame_size)
        tracker = checkpoint.tracker_for(plan.frame_size)
        found = _time_steps(tracker, checkpoint, pictures[0], labels, plan.repeats)
        memory = f"step of {found.compiled_bytes / 2**30:.2f} GiB"
        yield Row(
            f"lite, bfloat16, {objects} object{'s' if objects > 1 else ''}", 1 / found.seconds, "frames/s", None, memory
        )


def _precision(plan: Plan) -> Iterator[Row]:
    """The small network's masks in bfloat16 against those in float32, and both against the truth where there is one."""
    images, first, truths = _sequence(plan)
    tracked = {dtype: list(in_dtype(plan.lite, dtype).track(images, first)) for dtype in ("float32", "bfloat16")}
    labels = [int(value) for value in np.unique(first) if value]

    def mean_similarity(truths: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
        """Over objects and all frames but the first, whose mask was given, in percent."""
        scores = [score_label_maps(a, b, labels)[:, 0] for a, b in zip(truths[1:], found[1:], strict=True)]
        return 100 * float(np.mean(scores))

    agreement = mean_similarity(tracked["float32"], tracked["bfloat16"])
    yield Row("lite, J of bfloat16 masks against float32 ones", agreement, "%", None, f"{len(images)} frames")
    if truths is not None:
        for dtype, found in tracked.items():
            yield Row(f"lite in {dtype}, J of a sequence of DAVIS", mean_similarity(truths, found), "%")


def _sequence(plan: Plan) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray] | None]:
    """Frames, the first one's label map, and the true label maps: of DAVIS, or the embedded clip, which has none."""
    source, truths = str(DEMO / "bunny.mp4"), None
    if plan.davis is not None:
        tree = DavisTree(plan.davis, year=2016)
        sequence = tree.sequences("val")[0]
        source = str(tree.frames(sequence)[0].parent)
        truths = [tree.label_map(path) for path in tree.annotations(sequence)[: plan.frames]]
    with open_frames(source) as reader:
        images = [frame.image for frame in itertools.islice(reader, plan.frames)]
    return images, read_label_map(DEMO / "bunny_mask.png") if truths is None else truths[0], truths


def _exported(plan: Plan) -> Iterator[Row]:
    """A program in a file: written, opened, run, and compared with the tracker it was made of."""
    checkpoint = in_dtype(plan.lite, "bfloat16")
    pictures, labels = labelled_noise(1, plan.frame_size)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "lite.ranet"
        export_program(checkpoint, path, plan.frame_size, dtype="bfloat16")
        megabytes = path.stat().st_size / 2**20
        program = load_program(path)
    tracker, variables = program.tracker, jax.device_put(program.variables)
    state = tracker.init(variables, pictures[0], labels)
    frame = jax.device_put(pictures[0])
    state, label_map, _ = tracker.step(variables, state, frame)
    own = list(checkpoint.track([pictures[0], pictures[0]], labels))[1]
    same = float(np.mean(np.asarray(label_map) == own))

    def block() -> Any:
        nonlocal state
        for _ in range(BLOCK):
            state, label_map, _ = tracker.step(variables, state, frame)
        return state, label_map

    seconds = statistics.median(seconds_of(block) / BLOCK for _ in range(plan.repeats))
    yield Row("lite, bfloat16, exported program", 1 / seconds, "frames/s", None, f"{megabytes:.1f} MiB")
    yield Row("its labels that are the tracker's", same, "share")


def _training(plan: Plan) -> Iterator[Row]:
    """A step of every recipe."""
    for name, config in plan.recipes.items():
        size = config.batch_size
        found = measure_training_step(config, size, config.data.sample.max_objects, plan.repeats)
        memory = f"{size} samples, step of {found.compiled_bytes / 2**30:.2f} GiB"
        yield Row(f"training {name}", size / found.seconds, "samples/s", None, memory)
        share = found.operations / found.seconds / found.yardstick
        yield Row(f"training {name}: MFU", share, "share")


def _fitting(plan: Plan) -> Iterator[Row]:
    """The largest batch that fits."""
    for name, config in plan.fitting.items():
        found = measure_batch_sizes(config, plan.memory)
        yield Row(f"training {name}: batch that fits", found.largest, "samples", None, f"{plan.memory / 2**30:.1f} GiB")


def _memory(plan: Plan) -> Iterator[Row]:
    """The most that was in use until now."""
    peak = peak_memory()
    yield Row("most memory in use", None if peak is None else peak / 2**30, "GiB")


PARTS: dict[str, Part] = {
    "released network, bfloat16": _lockstep,
    "lite, bfloat16": _objects,
    "bfloat16 against float32": _precision,
    "exported program": _exported,
    "training": _training,
    "batch that fits": _fitting,
    "memory": _memory,
}
"""By title, in the order in which they are run: what is worth most comes first."""
