"""Averages of the weights of several checkpoints of one network.

Of runs that start from the same weights, or each from the last one's, an average is about what they reach in the mean
or a little more; that of runs from different random weights is nothing. (Izmailov et al., "Averaging Weights Leads to
Wider Optima and Better Generalization", UAI 2018.)
"""

from collections.abc import Sequence

import jax
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.training.licences import inherited
from ranet_jax.weights import Checkpoint, load_checkpoint


def average_weights(paths: Sequence[str]) -> Checkpoint:
    """The configurations that checkpoints share, the float32 means of their weights, and a card with their licences.

    Args:
        paths: two checkpoint folders, embedded names, or more.

    Raises:
        InputError: there are fewer than two, one cannot be read, or they differ in a field of their configuration.
    """
    if len(paths) < 2:
        raise InputError(f"{', '.join(paths)}: give two checkpoints or more to average")
    checkpoints = [load_checkpoint(path) for path in paths]
    first = checkpoints[0]
    for path, other in zip(paths[1:], checkpoints[1:], strict=True):
        fields, own = (one.config.to_dict() | one.tracker.to_dict() for one in (other, first))
        differing = sorted(name for name in own.keys() | fields.keys() if own.get(name) != fields.get(name))
        if differing:
            raise InputError(f"{path}: differs from {paths[0]} in {', '.join(differing)}: average runs of one recipe")
    mean = lambda *arrays: np.mean(arrays, axis=0, dtype=np.float32)
    card = {"average of": list(paths)} | inherited(checkpoint.card for checkpoint in checkpoints)
    variables = jax.tree.map(mean, *(checkpoint.variables for checkpoint in checkpoints))
    return first._replace(name="average", variables=variables, card=card)
