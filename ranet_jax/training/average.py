"""Averages of the weights of several checkpoints of one network.

Of runs that start from the same weights, or each from the last one's, an average is about what they reach in the mean
or a little more; that of runs from different random weights is nothing. (Izmailov et al., "Averaging Weights Leads to
Wider Optima and Better Generalization", UAI 2018.)
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.networks import NetworkConfig
from ranet_jax.training.licences import inherited
from ranet_jax.weights import load_checkpoint


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
