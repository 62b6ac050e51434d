"""`ranet-jax segment`: a video, given the mask of its first frame."""

import argparse
from typing import TYPE_CHECKING, Any

from ranet_jax.commands.common import (
    AddCommand,
    add_cache_option,
    add_network_options,
    add_online_options,
    count,
    online_adaptation,
    use_cache,
)
from ranet_jax.errors import InputError

if TYPE_CHECKING:  # at run time the command imports what it needs, when it needs it
    from ranet_jax.runtime.segment import TrackerFactory
    from ranet_jax.runtime.stream import Tracker


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("segment", _segment, "Segment a video, given the mask of its first frame.")
    parser.add_argument("video", help="mp4/avi/mov file, folder of JPEG/PNG frames, or camera index")
    parser.add_argument("--mask", required=True, help="label PNG of the first frame (palette, gray ids, or 0/255)")
    parser.add_argument("--out", required=True, help="folder for the palette PNGs")
    parser.add_argument("--overlay", help="also write this mp4 with the objects drawn in")
    parser.add_argument("--program", help="run what `ranet-jax export` wrote, instead of a checkpoint")
    add_network_options(parser)
    add_online_options(parser)
    add_cache_option(parser)


def _checkpoint_tracking(options: argparse.Namespace) -> "tuple[TrackerFactory, Any]":
    """What makes the tracker of the checkpoint that is asked for, and its variables."""
    from ranet_jax.runtime.adapting import AdaptingTracker
    from ranet_jax.weights import open_checkpoint

    checkpoint = open_checkpoint(options.checkpoint, options.model)
    adapt = online_adaptation(checkpoint, options.online_steps, options.online_learning_rate)

    def make(frame_size: tuple[int, int], objects: int) -> "Tracker":
        tracker = checkpoint.tracker_for(frame_size)
        return tracker if adapt is None else AdaptingTracker(tracker, adapt)

    return make, checkpoint.variables


def _program_tracking(options: argparse.Namespace) -> "tuple[TrackerFactory, Any]":
    """The same of a program; Flax and the networks are not imported."""
    from ranet_jax.runtime.program import load_program

    given = {"--checkpoint": options.checkpoint, "--model": options.model, "--online-steps": options.online_steps}
    unwanted = [name for name, value in given.items() if value]
    if unwanted:
        raise InputError(f"--program has its own network, which stays as it is: leave out {' and '.join(unwanted)}")
    program = load_program(options.program)
    return program.tracker_for, program.variables


def _segment(options: argparse.Namespace) -> None:
    import rich.console
    import rich.progress as progress

    from ranet_jax.runtime.segment import segment_video

    use_cache(options)
    make_tracker, variables = _program_tracking(options) if options.program else _checkpoint_tracking(options)
    columns = (
        progress.TextColumn("segmenting"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    console = rich.console.Console(stderr=True)
    # Where nobody watches, even a bar that goes away leaves an empty line.
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task("frames", total=None, rate="")

        def report_progress(done: int, total: int | None) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.1f} frames/s" if speed else "")

        report = segment_video(
            options.video,
            options.mask,
            options.out,
            make_tracker,
            variables,
            overlay=options.overlay,
            progress=report_progress,
        )
    frames, objects = report.stream.frames, len(report.absences)
    median = report.stream.median_milliseconds_per_frame
    speed = "" if median is None else f", median {median:.0f} ms/frame"
    where = f"masks in {report.folder}" + (f", overlay {report.overlay}" if report.overlay else "")
    for value, spans in report.absences.items():
        if spans:
            print(f"object {value} is nowhere in {', '.join(_span(*span) for span in spans)}")
    print(f"{count(frames, 'frame')}, {count(objects, 'object')}{speed}; {where}")


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"
