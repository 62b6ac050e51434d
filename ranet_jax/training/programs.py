"""What is a network's own in its training: its objective, its loss, a picture of its progress, its curriculum.

Nothing else of training, and no recipe, names a network's loss or objective.
"""

import dataclasses
from collections.abc import Callable, Mapping, Set
from typing import Any

import jax
import ml_collections
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.networks import MRNetConfig, NetworkConfig, RANetConfig
from ranet_jax.training import mrnet, ranet
from ranet_jax.training.loop import BatchChange
from ranet_jax.training.reporting import progress_picture
from ranet_jax.training.step import LossFunction


@dataclasses.dataclass(frozen=True)
class Program:
    """A network's own part of a training.

    Attributes:
        model: class of its configuration, built from the fields `model`.
        objective: class of what it minimises, built from the fields `objective`.
        loss: `(model, objective, *, frozen)` to its loss function.
        picture: `(model, variables, batch)` to a picture of some samples and predictions, uint8 (height, width, 3).
        small: `(config, names of given fields)` to further fields, and their values in a run of seconds.
        clips: whether samples are clips, of which a curriculum may cut the first steps' shorter.
    """

    model: type[NetworkConfig]
    objective: type
    loss: Callable[..., LossFunction]
    picture: Callable[[Any, Any, Mapping[str, np.ndarray]], np.ndarray]
    small: Callable[[ml_collections.ConfigDict, Set[str]], dict[str, Any]]
    clips: bool = False


def curriculum(config: ml_collections.ConfigDict) -> BatchChange | None:
    """Cuts clips to a length that grows with the steps: `curriculum` is ((first step, length), ...), () for none.

    Raises:
        InputError: steps do not rise from 0, or a length is not between 3 and `data.sample.clip_length`.
    """
    stages = tuple(tuple(stage) for stage in config.get("curriculum", ()))
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


def _picture_of_pairs(model: RANetConfig, variables: Any, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Up to four samples and their predictions."""
    shown = {name: array[:4] for name, array in batch.items()}
    return progress_picture(shown, np.asarray(_predict_pairs(model, variables, shown)))


def _picture_of_clips(model: MRNetConfig, variables: Any, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Up to four clips: frame 0, the last frame, and what is predicted for the last two."""
    shown = {name: array[:4] for name, array in batch.items()}
    before, last = np.asarray(_predict_clips(model, variables, shown))
    images, labels = shown["images"], shown["labels"]
    pair = {"template_image": images[:, 0], "template_labels": labels[:, 0], "image": images[:, -1]}
    pair |= {"labels": labels[:, -1], "previous_labels": (before.max(axis=-1) > 0.5).astype(np.uint8)}
    return progress_picture(pair, last)


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


_predict_pairs = jax.jit(ranet.predict, static_argnums=0)
_predict_clips = jax.jit(mrnet.predict, static_argnums=0)
PROGRAMS = {
    RANetConfig.NETWORK: Program(RANetConfig, ranet.RANetObjective, ranet.ranet_loss, _picture_of_pairs, _small_ranet),
    MRNetConfig.NETWORK: Program(
        MRNetConfig, mrnet.MRNetObjective, mrnet.mrnet_loss, _picture_of_clips, _small_mrnet, clips=True
    ),
}
"""By the network's name, which is a configuration's field `network`."""
