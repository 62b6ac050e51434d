"""Draws training curves: `python -m eval.curves lite=runs/lite resnet101=runs/resnet101 --out docs/curves.svg`."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ranet_jax.commands.common import Parser, run
from ranet_jax.errors import InputError
from ranet_jax.training.curves import draw_curves


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.curves", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="a run's folder, and what to call it")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the picture to write, .png or .svg")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _draw(options), debug=options.debug)


def _draw(options: argparse.Namespace) -> None:
    runs = {}
    for entry in options.runs:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise InputError(f"{entry}: give NAME=FOLDER, such as lite=runs/lite")
        runs[name] = pathlib.Path(folder)
    draw_curves(runs, options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(main())
