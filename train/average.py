"""Averages the weights of several checkpoints of one network into a new one.

    python -m train.average runs/second/inference runs/third/inference runs/fourth/inference --out runs/average

Cost: seconds. Expected result: of runs that start from the same weights, or each from the last one's, about what they
reach in the mean or a little more: better in three of four averages on held-out videos (docs/results.md). The average
of runs from different random weights is nothing. (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
Generalization", UAI 2018.)
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ranet_jax.cli import Parser, run
from ranet_jax.errors import InputError
from ranet_jax.networks import NetworkConfig
from ranet_jax.weights import load_checkpoint, save_checkpoint
from train.licences import inherited


def average_weights(paths: Sequence[str]) -> tuple[NetworkConfig, Any, dict[str, Any]]:
    """The configuration that checkpoints share, the float32 means of their weights, and a card with their licences.

    Args:
        paths: two checkpoint folders, embedded names, or more.

    Raises:
        InputError: there are fewer than two, one cannot be read, or they differ in a field of their configuration.
    """
    if len(paths) < 2:
        raise InputError(f"{', '.join(paths)}: give two checkpoints or more to average")
    checkpoints = [load_checkpoint(path) for path in paths]
    config = checkpoints[0].config
    for path, other in zip(paths[1:], checkpoints[1:], strict=True):
        fields, own = other.config.to_dict(), config.to_dict()
        differing = sorted(name for name in own.keys() | fields.keys() if own.get(name) != fields.get(name))
        if differing:
            raise InputError(f"{path}: differs from {paths[0]} in {', '.join(differing)}: average runs of one recipe")
    mean = lambda *arrays: np.mean(arrays, axis=0, dtype=np.float32)
    card = {"average of": list(paths)} | inherited(checkpoint.card for checkpoint in checkpoints)
    return config, jax.tree.map(mean, *(checkpoint.variables for checkpoint in checkpoints)), card


def _average(options: argparse.Namespace) -> None:
    config, variables, card = average_weights(options.checkpoints)
    save_checkpoint(options.out, config, variables, card=card)
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
