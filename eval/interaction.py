"""What clicks and corrections are worth: `python -m eval.interaction --davis DAVIS --sequences blackswan,parkour`.

A person is simulated from the truth (`ranet_jax.studio.rounds`). Prints the tables of docs/studio.md.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ranet_jax.clicks.features import Encoder
from ranet_jax.commands.common import Parser, run
from ranet_jax.data.davis import DavisTree
from ranet_jax.studio.rounds import draw_rounds, measure, open_video, print_reports
from ranet_jax.weights import open_checkpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.interaction", description=__doc__.splitlines()[0])
    parser.add_argument("--davis", required=True, type=pathlib.Path, help="DAVIS folder")
    parser.add_argument("--sequences", help="names, separated by commas (default: those of the split val)")
    parser.add_argument("--checkpoint", help="embedded name or checkpoint folder (default: the shipped one)")
    parser.add_argument("--picture", type=pathlib.Path, help="also the curve of corrections, .png or .svg")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return run(lambda: _measure(options), debug=(options := parser.parse_args(arguments)).debug)


def _measure(options: argparse.Namespace) -> None:
    tree, model = DavisTree(options.davis, year=2016), open_checkpoint(options.checkpoint, None)
    names = options.sequences.split(",") if options.sequences else tree.sequences("val")
    encoder = Encoder(model.config, model.variables)
    reports = [measure(model.track, encoder.encode, open_video(tree, name)) for name in names]
    print_reports(reports)
    if options.picture:
        draw_rounds(reports, options.picture)


if __name__ == "__main__":
    sys.exit(main())
