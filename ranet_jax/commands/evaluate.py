"""`ranet-jax evaluate`: scores masks by the DAVIS protocol; with `--track` it makes them first."""

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

_NOT_GIVEN = {"checkpoint": None, "model": None, "online_steps": 0, "batch": 1, "distributed": None, "no_cache": False}
"""Options that mean nothing where masks are scored only, and their values where they are not given."""


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    summary = "Score masks on disk by the DAVIS protocol, or track a split and score that."
    _add_options(add("evaluate", _evaluate, summary)).add_argument(
        "--track", action="store_true", help="track the split first; its masks go to the results, too"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `ranet-jax evaluate --track` as a program of its own, and returns its exit code."""
    parser = _add_options(Parser(prog="python -m eval.davis", description="Tracks a DAVIS split and scores it."))
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(track=True)
    options = parser.parse_args(arguments)
    return run(lambda: _evaluate(options), debug=options.debug)


def _add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--davis", required=True, type=pathlib.Path, help="DAVIS folder (JPEGImages, Annotations, ImageSets)"
    )
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2016, help="protocol (default 2016)")
    parser.add_argument("--split", default="val", help="list of sequences in ImageSets (default val)")
    parser.add_argument("--sequences", help="only these, separated by commas")
    parser.add_argument(
        "--results", required=True, type=pathlib.Path, help="folder with SEQUENCE/FRAME.png; the tables go there too"
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
    from ranet_jax.data.davis import DavisTree
    from ranet_jax.evaluation.davis import evaluate_masks
    from ranet_jax.evaluation.tables import format_tables, write_csv

    named = options.sequences.split(",") if options.sequences else None
    tree = DavisTree(options.davis, year=options.year)
    milliseconds = None
    if options.track:
        milliseconds = _track(options, tree, named)
        if milliseconds is None:  # the first of several processes scores
            return
    elif given := [f"--{name.replace('_', '-')}" for name in _NOT_GIVEN if getattr(options, name) != _NOT_GIVEN[name]]:
        raise InputError(f"{' and '.join(given)} say how to track: add --track, or leave them out to score masks only")
    scores = evaluate_masks(tree, options.split, options.results, sequences=named)
    print(format_tables(scores, milliseconds))
    for path in write_csv(scores, options.results, options.split):
        print(path)


def _track(options: argparse.Namespace, tree: "DavisTree", named: Sequence[str] | None) -> dict[str, float] | None:
    """Median milliseconds a frame took, by sequence; None in every process but the first."""
    from ranet_jax.evaluation.davis import choose_sequences
    from ranet_jax.processes import start_distributed, together

    start_distributed(options.distributed)  # before JAX is used
    import jax
    import rich.console

    from ranet_jax.evaluation.tracking import track_split
    from ranet_jax.weights import open_checkpoint

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
        adapt=online_adaptation(checkpoint.config, options.online_steps, options.online_learning_rate),
        batch=options.batch,
        share=(jax.process_index(), jax.process_count()),
        notify=lambda name, report: console.print(f"{name}: {report.frames} frames in {report.seconds:.1f} s"),
    )
    milliseconds = together(track, chosen)
    return None if jax.process_index() else milliseconds
