"""What training asks of each network: a small variant, and of both: a picture of the progress, a curriculum."""

from collections.abc import Callable, Mapping, Set
from typing import Any

import jax
import ml_collections
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.networks import MRNetConfig, NetworkConfig, RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import BatchChange
from ranet_jax.training.reporting import progress_picture
from ranet_jax.training.rollout import Clip, Objective, rollout


def curriculum(config: ml_collections.ConfigDict) -> BatchChange | None:
    """Cuts clips to a length that grows with the steps: `curriculum` is ((first step, length), ...), () for none.

    Raises:
        InputError: steps do not rise from 0, or a length is not between 3 and `data.sample.clip_length`.
    """
    stages = tuple(tuple(stage) for stage in config.curriculum)
    if not stages:
        return None
    longest = config.data.sample.clip_length
    steps = [first for first, _ in stages]
    if steps[0] != 0 or steps != sorted(set(steps)) or not all(3 <= length <= longest for _, length in stages):
        raise InputError(
            f"curriculum is {stages}: give (first step, length) pairs, steps rising from 0, lengths of 3 to {longest}"
        )

    def cut(step: int, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        length = next(length for first, length in reversed(stages) if step >= first)
        return batch | {name: batch[name][:, :length] for name in ("images", "labels")}

    return cut


def picture(
    model: NetworkConfig, tracker: TrackerConfig, objective: Objective, variables: Any, batch: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Up to four samples and what is predicted for their last frame, uint8 (height, width, 3)."""
    shown = {name: array[:4] for name, array in batch.items() if name != "name"}
    tracker = tracker.for_training(presence=objective.presence, update=objective.update)
    return progress_picture(shown, np.asarray(_predict(model, tracker, variables, Clip.of(shown))))


def _probability(model: NetworkConfig, tracker: TrackerConfig, variables: Any, clip: Clip) -> jax.Array:
    return rollout(model, tracker, variables, clip)[1]


_predict = jax.jit(_probability, static_argnums=(0, 1))


def _small_ranet(config: ml_collections.ConfigDict, given: Set[str]) -> dict[str, Any]:
    """Fewer positions and maps."""
    return {"model.template_grid": (4, 6), "model.kept_maps": 16}


def _small_mrnet(config: ml_collections.ConfigDict, given: Set[str]) -> dict[str, Any]:
    """A narrow decoder, and clips of four frames, of which the last has two candidates, unless a length is given."""
    length = 4
    if "data.sample.clip_length" in given:
        length = config.data.sample.clip_length
    elif "curriculum" in given and config.curriculum:
        length = max(frames for _, frames in config.curriculum)
    return {
        "model.decoder_features": tuple(8 for _ in config.model.decoder_features),
        "model.candidates": min(config.model.candidates, 2),
        "model.interval": 1,
        "data.sample.clip_length": length,
        "curriculum": ((0, 3), (4, length)) if config.curriculum else (),
    }


SMALL: dict[str, Callable[[ml_collections.ConfigDict, Set[str]], dict[str, Any]]] = {
    RANetConfig.NETWORK: _small_ranet,
    MRNetConfig.NETWORK: _small_mrnet,
}
"""By network: `(config, names of given fields)` to further fields, and their values in a run of seconds."""
