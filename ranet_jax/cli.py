"""The `ranet-jax` command. Every subcommand parses its arguments, calls one library function and prints its result.

Exit codes: 0 done; 2 the user's input was wrong (one line on stderr); 1 a fault of ours. `--debug` shows tracebacks.
"""

import argparse
import functools
import math
import pathlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ranet_jax import __version__
from ranet_jax.errors import InputError

if TYPE_CHECKING:  # at run time the command imports what a subcommand needs, when it needs it
    from ranet_jax.networks import NetworkConfig
    from ranet_jax.runtime.adapting import Adaptation
    from ranet_jax.runtime.segment import TrackerFactory
    from ranet_jax.runtime.stream import Tracker

ONLINE_LEARNING_RATE = 1e-6
"""The paper's."""


class Parser(argparse.ArgumentParser):
    """Argument parser of all commands of the project: a wrong argument is one line on stderr and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Ends the program; see `argparse`."""
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: options.function(options), debug=options.debug)


def run(program: Callable[[], object], *, debug: bool) -> int:
    """Runs a program under the conventions for exit codes; shared by all commands of the project.

    Args:
        program: the work; its result is ignored.
        debug: whether errors are shown with their traceback.

    Returns:
        0, or 2 for an `InputError`, 130 for an interruption, 1 for anything else.
    """
    try:
        program()
    except KeyboardInterrupt:
        print("ranet-jax: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, InputError):
            print(f"ranet-jax: {error}", file=sys.stderr)
            return 2
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "" if debug else " (--debug shows where; please report it)"
        print(f"ranet-jax: internal error: {reason}{hint}", file=sys.stderr)
        return 1
    return 0


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a network, which `ranet_jax.weights.open_checkpoint` understands."""
    parser.add_argument("--model", choices=("ranet", "mrnet"), help="which network's shipped weights (default ranet)")
    parser.add_argument("--checkpoint", help="embedded name or checkpoint folder (default: the shipped network)")


def add_online_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of online learning, which `online_adaptation` reads."""
    parser.add_argument(
        "--online-steps",
        type=_number_of_steps,
        default=0,
        metavar="N",
        help="fine-tune a copy of the weights on the first frame, N steps (RANet+; default 0)",
    )
    parser.add_argument(
        "--online-learning-rate",
        type=_learning_rate,
        default=ONLINE_LEARNING_RATE,
        metavar="RATE",
        help=f"of these steps (default {ONLINE_LEARNING_RATE:g}, the paper's)",
    )


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `use_cache` reads."""
    parser.add_argument("--no-cache", action="store_true", help="compile anew, and keep nothing of it for later runs")


def use_cache(options: argparse.Namespace) -> None:
    """Keeps compiled programs in the user's cache folder (`ranet_jax.compilation`), unless told not to.

    Raises:
        InputError: that folder cannot be used.
    """
    from ranet_jax.compilation import compile_anew, keep_compiled_programs

    if options.no_cache:
        compile_anew()
    else:
        keep_compiled_programs()


def online_adaptation(config: "NetworkConfig", steps: int, learning_rate: float) -> "Adaptation | None":
    """What fits the weights to a video's first frame; None for 0 steps, and then nothing of training is imported.

    Raises:
        InputError: the network is not RANet.
    """
    if not steps:
        return None
    from ranet_jax.networks import RANetConfig
    from ranet_jax.training.online import adapt

    if not isinstance(config, RANetConfig):
        raise InputError(
            f"online learning is RANet's, and this checkpoint is of {config.TITLE}: leave out --online-steps"
        )

    return functools.partial(adapt, config, steps=steps, learning_rate=learning_rate)


def _number_of_steps(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps: give 0 or more")
    return int(text)


def _learning_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate: give a positive number such as 1e-6")
    return rate


def _frame_size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give HEIGHTxWIDTH, such as 480x864")
    return int(height), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ranet-jax", description="Segment objects through a video from one mask.")
    parser.add_argument("--version", action="version", version=f"ranet-jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        command.set_defaults(function=function)
        return command

    segment = add("segment", _segment, "Segment a video, given the mask of its first frame.")
    segment.add_argument("video", help="mp4/avi/mov file, folder of JPEG/PNG frames, or camera index")
    segment.add_argument("--mask", required=True, help="label PNG of the first frame (palette, gray ids, or 0/255)")
    segment.add_argument("--out", required=True, help="folder for the palette PNGs")
    segment.add_argument("--overlay", help="also write this mp4 with the objects drawn in")
    segment.add_argument("--program", help="run what `ranet-jax export` wrote, instead of a checkpoint")
    add_network_options(segment)
    add_online_options(segment)
    add_cache_option(segment)

    evaluate = add("evaluate", _evaluate, "Score masks on disk by the DAVIS protocol.")
    evaluate.add_argument("--davis", required=True, help="DAVIS folder (JPEGImages, Annotations, ImageSets)")
    evaluate.add_argument("--year", type=int, choices=(2016, 2017), default=2016, help="protocol (default 2016)")
    evaluate.add_argument("--split", default="val", help="list of sequences in ImageSets (default val)")
    evaluate.add_argument("--results", required=True, help="folder with SEQUENCE/FRAME.png; the tables go there too")

    convert = add("convert", _convert, "Convert a released PyTorch checkpoint to a checkpoint folder, or back.")
    convert.add_argument("source", help="the .pth file (with --reverse: a checkpoint folder)")
    convert.add_argument("target", help="the checkpoint folder to write (with --reverse: a .pth file)")
    convert.add_argument("--objects", choices=("single", "multi"), default="single", help="which release it is")
    convert.add_argument("--reverse", action="store_true", help="from a checkpoint folder to a .pth file")

    export = add("export", _export, "Write a network as one file that tracks with JAX alone, on CPU, CUDA GPU and TPU.")
    export.add_argument("out", help="the file to write")
    export.add_argument(
        "--size", type=_frame_size, required=True, metavar="HEIGHTxWIDTH", help="of the frames, such as 480x864"
    )
    export.add_argument(
        "--objects",
        type=int,
        default=1,
        metavar="N",
        help="most objects (room for the next of 1 to 6, 8, 12, 16; default 1)",
    )
    export.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="compute dtype (default: the checkpoint's on this machine)"
    )
    add_network_options(export)

    info = add("info", _info, "Show versions, devices, and a checkpoint's parameters.")
    add_network_options(info)
    return parser


def _checkpoint_tracking(options: argparse.Namespace) -> "tuple[TrackerFactory, Any]":
    """What makes the tracker of the checkpoint that is asked for, and its variables."""
    from ranet_jax.runtime.adapting import AdaptingTracker
    from ranet_jax.tracker.make import make_tracker
    from ranet_jax.weights import open_checkpoint

    checkpoint = open_checkpoint(options.checkpoint, options.model)
    adapt = online_adaptation(checkpoint.config, options.online_steps, options.online_learning_rate)

    def make(frame_size: tuple[int, int], objects: int) -> "Tracker":
        tracker = make_tracker(checkpoint.config, frame_size)
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
    print(f"{_count(frames, 'frame')}, {_count(objects, 'object')}{speed}; {where}")


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _evaluate(options: argparse.Namespace) -> None:
    from ranet_jax.data.davis import DavisTree
    from ranet_jax.evaluation.davis import evaluate_masks
    from ranet_jax.evaluation.tables import format_tables, write_csv

    tree = DavisTree(pathlib.Path(options.davis), year=options.year)
    scores = evaluate_masks(tree, options.split, pathlib.Path(options.results))
    print(format_tables(scores))
    for path in write_csv(scores, pathlib.Path(options.results), options.split):
        print(path)


def _convert(options: argparse.Namespace) -> None:
    from ranet_jax.convert import ranet_from_torch, ranet_to_torch
    from ranet_jax.convert.torch_file import read_torch_file, write_torch_file
    from ranet_jax.convert.torch_ranet import unused_entries
    from ranet_jax.networks import RANetConfig
    from ranet_jax.weights import open_checkpoint, save_checkpoint

    if options.reverse:
        checkpoint = open_checkpoint(options.source, "ranet")
        write_torch_file(options.target, ranet_to_torch(checkpoint.variables))
        print(f"{options.source} -> {options.target}")
        return
    state_dict = read_torch_file(options.source)
    config = RANetConfig(objects=options.objects)
    source = pathlib.Path(options.source).name
    save_checkpoint(options.target, config, ranet_from_torch(state_dict), card={"converted_from": source})
    unused = unused_entries(state_dict)
    print(f"{options.source} -> {options.target}: {len(state_dict) - len(unused)} entries converted")
    if unused:
        print(f"left out, because the network never reads them: {', '.join(unused)}")


def _export(options: argparse.Namespace) -> None:
    from ranet_jax.runtime.export import export_program
    from ranet_jax.weights import open_checkpoint

    checkpoint = open_checkpoint(options.checkpoint, options.model)
    description = export_program(checkpoint, options.out, options.size, objects=options.objects, dtype=options.dtype)
    size, dtype = "x".join(map(str, description["frame_size"])), description["config"]["dtype"]
    room, megabytes = _count(description["objects"], "object"), pathlib.Path(options.out).stat().st_size / 1e6
    print(
        f"{checkpoint.name} -> {options.out}: {checkpoint.config.TITLE}, {size}, {room}, {dtype}, {megabytes:.1f} MB,"
        f" for {', '.join(description['platforms'])}"
    )
    licence = description["card"].get("licence")
    if licence:
        print(f"licence of the weights in it: {licence}")


def _info(options: argparse.Namespace) -> None:
    from ranet_jax.info import describe

    print(describe(options.checkpoint, options.model))


if __name__ == "__main__":
    sys.exit(main())
