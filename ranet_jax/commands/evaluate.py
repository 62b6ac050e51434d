"""`ranet-jax evaluate`: scores masks of a DAVIS split or of own videos; with `--track` it makes a split's first."""

import argparse
import functools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranet_jax.commands.common import (
    AddCommand,
    Parser,
    add_cache_option,
    add_distributed_option,
    add_network_options,
    add_online_options,
    online_adaptation,
    run,
    use_cache,
    whole_number,
)
from ranet_jax.errors import InputError

if TYPE_CHECKING:
    from ranet_jax.data.davis import DavisTree
    from ranet_jax.evaluation.davis import DavisScores

    _Scored = tuple[DavisScores, dict[str, float] | None, str]

_TRACKING = {"checkpoint": None, "model": None, "online_steps": 0, "batch": 1, "distributed": None, "no_cache": False}
"""Options that mean nothing where masks are scored only, and their values where they are not given."""
_OWN = ("prediction", "truth", "score_first")
"""Options that belong to own videos."""


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    summary = "Score masks on disk: a DAVIS split (--davis), which may be tracked first, or own videos (--prediction)."
    command = _add_options(add("evaluate", _evaluate, summary))
    command.add_argument("--track", action="store_true", help="track the split first; its masks go to the results, too")
    own = command.add_argument_group("own videos")
    own.add_argument("--prediction", type=pathlib.Path, help="masks to score, or one folder of them for each video")
    own.add_argument("--truth", type=pathlib.Path, help="annotations of the same names, of all frames or some")
    own.add_argument(
        "--score-first", action="store_true", help="each object's first annotation was not given, so it counts, too"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `ranet-jax evaluate --track` as a program of its own, and returns its exit code."""
    parser = _add_options(Parser(prog="python -m eval.davis", description="Tracks a DAVIS split and scores it."))
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(track=True, prediction=None, truth=None, score_first=False)
    options = parser.parse_args(arguments)
    return run(lambda: _evaluate(options), debug=options.debug)


def _add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--davis", type=pathlib.Path, help="DAVIS folder (JPEGImages, Annotations, ImageSets)")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2016, help="protocol (default 2016)")
    parser.add_argument("--split", default="val", help="list of sequences in ImageSets (default val)")
    parser.add_argument("--sequences", help="only these, separated by commas")
    parser.add_argument("--results", type=pathlib.Path, help="with --davis: folder with SEQUENCE/FRAME.png")
    parser.add_argument("--void", action="store_true", help="255 in annotations counts for nothing, not as background")
    parser.add_argument(
        "--out", type=pathlib.Path, help="folder for the tables as CSV files; by default none are written"
    )
    add_network_options(parser)
    add_online_options(parser)
    parser.add_argument(
        "--batch",
        type=whole_number,
        default=1,
        metavar="N",
        help="with tracking, up to N sequences at once (default 1)",
    )
    add_distributed_option(parser)
    add_cache_option(parser)
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    from ranet_jax.evaluation.tables import format_tables, write_csv

    named = options.sequences.split(",") if options.sequences else None
    given = [_flag(name) for name, value in _TRACKING.items() if getattr(options, name) != value]
    if given and not options.track:
        raise InputError(f"{' and '.join(given)} say how to track: add --track, or leave them out to score masks only")
    scored = _score_own(options, named) if options.davis is None else _score_davis(options, named)
    if scored is None:  # the first of several processes scores
        return
    scores, milliseconds, name = scored
    print(format_tables(scores, milliseconds))
    if options.out is not None:
        for path in write_csv(scores, options.out, name):
            print(path)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _score_own(options: argparse.Namespace, named: Sequence[str] | None) -> "_Scored":
    from ranet_jax.evaluation.davis import evaluate_folders

    if options.prediction is None or options.truth is None or options.track or options.results is not None:
        raise InputError("give --davis and --results for a DAVIS split, or --prediction and --truth for own videos")
    scores = evaluate_folders(
        options.prediction, options.truth, void=options.void, score_first=options.score_first, sequences=named
    )
    return scores, None, options.truth.resolve().name


def _score_davis(options: argparse.Namespace, named: Sequence[str] | None) -> "_Scored | None":
    from ranet_jax.data.davis import DavisTree
    from ranet_jax.evaluation.davis import evaluate_masks

    if options.results is None:
        raise InputError("--davis needs --results: the folder that holds a folder of masks for each sequence")
    if given := [_flag(name) for name in _OWN if getattr(options, name)]:
        raise InputError(f"{' and '.join(given)} belong to own videos: leave out --davis, or these")
    tree = DavisTree(options.davis, year=options.year)
    milliseconds = None
    if options.track:
        milliseconds = _track(options, tree, named)
        if milliseconds is None:
            return None
    scores = evaluate_masks(tree, options.split, options.results, void=options.void, sequences=named)
    return scores, milliseconds, options.split


def _track(options: argparse.Namespace, tree: "DavisTree", named: Sequence[str] | None) -> dict[str, float] | None:
    """Median milliseconds a frame took, by sequence; None in every process but the first."""
    from ranet_jax.evaluation.davis import choose_sequences
    from ranet_jax.processes import start_distributed, together

    start_distributed(options.distributed)  # before JAX is used
    import jax
    import rich.console

    from ranet_jax.devices import use_device
    from ranet_jax.evaluation.tracking import track_split
    from ranet_jax.weights import open_checkpoint

    use_device()
    chosen = choose_sequences(tree, options.split, named)
    console = rich.console.Console(stderr=True)
    use_cache(options)
    checkpoint = open_checkpoint(options.checkpoint, options.model)
    track = functools.partial(
        track_split,
        tree,
        chosen,
        checkpoint,
        options.results,
        adapt=online_adaptation(checkpoint, options.online_steps, options.online_learning_rate),
        batch=options.batch,
        share=(jax.process_index(), jax.process_count()),
        notify=lambda name, report: console.print(f"{name}: {report.frames} frames in {report.seconds:.1f} s"),
    )
    milliseconds = together(track, chosen)
    return None if jax.process_index() else milliseconds
