"""`ranet-jax segment`: a video, given masks of one frame or more."""

import argparse
import contextlib
import functools
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ranet_jax.commands.common import (
    AddCommand,
    add_cache_option,
    add_device_option,
    add_network_options,
    add_online_options,
    count,
    frame_number,
    kept_functions,
    online_adaptation,
    use_cache,
)
from ranet_jax.errors import InputError

if TYPE_CHECKING:  # at run time the command imports what it needs, when it needs it
    import rich.console

    from ranet_jax.clicks.marks import Mark
    from ranet_jax.runtime.segment import AddObjects, Outputs, Progress, SegmentReport, TrackerFactory
    from ranet_jax.weights import Checkpoint


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("segment", _segment, "Segment a video, given masks of one frame or more.")
    parser.add_argument("video", help="video file, folder of frames, or camera:INDEX")
    parser.add_argument(
        "--mask",
        "--masks",
        action="append",
        default=[],
        metavar="FILE|NUMBER=FILE|FOLDER",
        help="mask of the first frame, of frame NUMBER (from 0), or masks named like frames; may be given again",
    )
    parser.add_argument(
        "--point",
        dest="marks",
        action="append",
        type=_point,
        metavar="X,Y",
        help="an object of the first frame, by a point",
    )
    parser.add_argument(
        "--box", dest="marks", action="append", type=_box, metavar="X,Y,W,H", help="the same, by a box around it"
    )
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the palette PNGs")
    parser.add_argument("--overwrite", action="store_true", help="results that lie in --out may go")
    parser.add_argument(
        "--overlay", type=pathlib.Path, help="also a video with the objects drawn in (.mp4, .webm, .gif)"
    )
    parser.add_argument("--preview", type=pathlib.Path, help="also a picture of twelve frames with their objects")
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        choices=("coco-json", "npz", "youtube-vos-zip", "probabilities"),
        help="also one file of all masks, or probabilities, in --out; may be given again",
    )
    parser.add_argument("--start", type=frame_number, default=0, metavar="N", help="first frame (default 0)")
    parser.add_argument("--end", type=frame_number, metavar="N", help="last frame (default: the video's)")
    parser.add_argument(
        "--backward", action="store_true", help="track frames before the first mask back from it, not leave them empty"
    )
    parser.add_argument("--range", metavar="LOW:HIGH", help="values that become black and white (16-bit, float frames)")
    parser.add_argument("--program", help="run what `ranet-jax export` wrote, instead of a checkpoint")
    add_network_options(parser)
    add_online_options(parser)
    add_device_option(parser)
    add_cache_option(parser)


def _point(text: str) -> "Mark":
    from ranet_jax.clicks.marks import Point

    return Point(*_numbers(text, 2, "a point: give X,Y in pixels, such as 320,180"))


def _box(text: str) -> "Mark":
    from ranet_jax.clicks.marks import Box

    return Box(*_numbers(text, 4, "a box: give X,Y,WIDTH,HEIGHT in pixels, such as 200,90,240,180"))


def _numbers(text: str, count: int, what: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return numbers


class Tracking(NamedTuple):
    """What a command tracks with.

    Attributes:
        make_tracker: makes the tracker.
        variables: its variables.
        card: of the weights.
        open: the network itself, for a command that needs more of it than its functions; None of a program.
        aggregation: how the tracker's probabilities are meant.
    """

    make_tracker: "TrackerFactory"
    variables: Any
    card: dict[str, Any]
    open: "Callable[[], Checkpoint] | None"
    aggregation: Callable[[], str]


def _marking(options: argparse.Namespace, tracking: Tracking) -> "AddObjects | None":
    """What adds the objects that are marked, by the features of the network's encoder."""
    if not options.marks:
        return None
    assert tracking.open is not None, "programs are refused"
    from ranet_jax.clicks.features import Encoder
    from ranet_jax.clicks.marks import marked_labels

    checkpoint = tracking.open()
    encoder = Encoder(checkpoint.config, checkpoint.variables)
    return lambda image, labels, taken: marked_labels(encoder.encode("first", image), options.marks, labels, taken)


def _checkpoint_tracking(options: argparse.Namespace) -> Tracking:
    """With the checkpoint that is asked for."""
    from ranet_jax.runtime.ready import ReadyTracker
    from ranet_jax.stored import read_chosen

    if options.online_steps:
        use_cache(options)
    kept = None if options.online_steps else kept_functions(options)
    stored = read_chosen(options.checkpoint, options.model)

    @functools.cache
    def opened() -> "Checkpoint":
        from ranet_jax.weights import checkpoint_of

        return checkpoint_of(stored)

    make: "TrackerFactory"
    if options.online_steps:
        make = _adapting(options, opened())
    else:
        make = lambda frame_size, objects: ReadyTracker(stored, frame_size, kept)
    variables = opened().variables if options.online_steps else stored.variables
    return Tracking(make, variables, stored.card, opened, lambda: opened().tracker.aggregation)


def _adapting(options: argparse.Namespace, checkpoint: "Checkpoint") -> "TrackerFactory":
    """Trackers with weights that are fitted to the first frame."""
    from ranet_jax.runtime.adapting import AdaptingTracker

    adapt = online_adaptation(checkpoint, options.online_steps, options.online_learning_rate)
    assert adapt is not None, "there are steps"
    return lambda frame_size, objects: AdaptingTracker(checkpoint.tracker_for(frame_size), adapt)


def _program_tracking(options: argparse.Namespace) -> Tracking:
    """With a program; Flax and the networks are not imported."""
    from ranet_jax.runtime.program import load_program

    given = {"--checkpoint": options.checkpoint, "--model": options.model, "--online-steps": options.online_steps}
    unwanted = [name for name, value in given.items() if value]
    if unwanted:
        raise InputError(f"--program has its own network, which stays as it is: leave out {' and '.join(unwanted)}")
    if options.marks:
        raise InputError("--point and --box need a checkpoint's encoder: leave out --program, or give --mask")
    use_cache(options)
    program = load_program(options.program)
    aggregation = lambda: str(program.description["tracker"]["aggregation"])
    return Tracking(program.tracker_for, program.variables, program.description.get("card", {}), None, aggregation)


def _segment(options: argparse.Namespace) -> None:
    import rich.console

    from ranet_jax.devices import use_device
    from ranet_jax.io.exports import export_path
    from ranet_jax.io.levels import parse_levels
    from ranet_jax.io.paths import require_distinct
    from ranet_jax.runtime.segment import Outputs, Span, segment_video

    exports = {kind: export_path(kind, options.out, pathlib.Path(options.video).stem) for kind in options.format}
    outputs = Outputs(options.out, options.overlay, options.preview, exports, options.overwrite)
    require_distinct({"--program": options.program, "--checkpoint": options.checkpoint}, outputs.places)
    use_device(options.device)
    tracking = _program_tracking(options) if options.program else _checkpoint_tracking(options)
    mark = _marking(options, tracking)
    console = rich.console.Console(stderr=True)
    with _bar(console) as progress:
        report = segment_video(
            options.video,
            options.mask,
            outputs,
            tracking.make_tracker,
            tracking.variables,
            mark=mark,
            aggregation=tracking.aggregation() if "probabilities" in options.format else "hard",
            span=Span(options.start, options.end, options.backward),
            levels=None if options.range is None else parse_levels(options.range),
            progress=progress,
            note=lambda text: console.print(text, highlight=False, soft_wrap=True, markup=False),
        )
    _print_report(report, outputs, tracking.card)


@contextlib.contextmanager
def _bar(console: "rich.console.Console") -> "Iterator[Progress]":
    """Shows how far segmenting is, where somebody watches."""
    import rich.progress as progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    # Where nobody watches, even a bar that goes away leaves an empty line.
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task("compiling, once for this size of frames", total=None, rate="")

        def report(done: int, total: int | None) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.1f} frames/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate)
            if done > 1:
                bar.update(task, description="segmenting")

        yield report


def _print_report(report: "SegmentReport", outputs: "Outputs", card: "dict[str, Any]") -> None:
    objects = len(report.absences)
    for value, spans in report.absences.items():
        if spans:
            print(f"object {value} is nowhere in {', '.join(_span(*span) for span in spans)}")
    if report.removed:
        print(f"{count(report.removed, 'old result')} removed")
    median = report.stream.median_milliseconds_per_frame
    speed = "" if median is None else f", median {median:.0f} ms/frame"
    places = [f"masks in {outputs.folder}"]
    for name, path in (("overlay", outputs.overlay), ("preview", outputs.preview), *outputs.exports.items()):
        places += [f"{name} {path}"] if path else []
    licence = f"; weights: {card['licence']}" if card.get("licence") else ""
    print(f"{count(report.frames, 'frame')}, {count(objects, 'object')}{speed}; {', '.join(places)}{licence}")


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"
