"""Averages the weights of several checkpoints of one network into a new one.

    python -m train.average runs/second/inference runs/third/inference runs/fourth/inference --out runs/average

Cost: seconds. Expected result: see `ranet_jax.training.average`; better than the runs in the mean in three of four
averages on held-out videos (docs/log/0013).
"""

import argparse
import sys
from collections.abc import Sequence

from ranet_jax.commands.common import Parser, run
from ranet_jax.training.average import average_weights
from ranet_jax.weights import save_checkpoint


def _average(options: argparse.Namespace) -> None:
    average = average_weights(options.checkpoints)
    save_checkpoint(options.out, average.config, average.tracker, average.variables, card=average.card)
    print(options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    parser = Parser(prog="python -m train.average", description="Averages the weights of checkpoints.")
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="checkpoint folder, or an embedded name")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the new checkpoint")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(arguments)
    return run(lambda: _average(options), debug=options.debug)


if __name__ == "__main__":
    sys.exit(main())
