"""The `ranet-jax` command. Every subcommand is a module of `ranet_jax.commands`.

Exit codes: 0 done; 2 the user's input was wrong (one line on stderr); 1 a fault of ours. `--debug` shows tracebacks.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from ranet_jax import __version__
from ranet_jax.commands import benchmark, convert, evaluate, export, frame, info, segment, studio, train
from ranet_jax.commands.common import Parser, run

COMMANDS = (segment, studio, frame, evaluate, train, benchmark, convert, export, info)
"""In the order that `--help` shows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.fields = rest
    return run(lambda: options.function(options), debug=options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ranet-jax", description="Segment objects through a video from one mask.")
    parser.add_argument("--version", action="version", version=f"ranet-jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[argparse.Namespace], int | None], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        # A command that takes `--config.FIELD=VALUE` says so: they are options whose names argparse cannot know.
        command.set_defaults(function=function, takes_fields=False)
        return command

    for command in COMMANDS:
        command.add_parser(add)
    return parser


if __name__ == "__main__":
    sys.exit(main())
