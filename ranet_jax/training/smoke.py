"""A recipe in seconds: everything small that was not given, and whatever it names on disk looked for."""

import pathlib
from collections.abc import Set
from typing import Any

import jax
import ml_collections

from ranet_jax.errors import InputError
from ranet_jax.training.programs import SMALL
from ranet_jax.training.recipe import configs_of
from ranet_jax.weights import read_card

_SIZE_FIELDS = ("model.input_size", "data.sample.size")
_WEIGHTS = ("backbone_checkpoint", "initial_checkpoint")


def smoke(config: ml_collections.ConfigDict, given: Set[str] = frozenset()) -> ml_collections.ConfigDict:
    """The same recipe with tiny inputs, a micro backbone, six steps and no evaluation; what is given stays.

    Args:
        config: the recipe, fields that were given changed already.
        given: names of these fields, such as "loop.steps".

    Returns:
        Another configuration, locked. Weights that it named are left out: they do not fit a micro network.

    Raises:
        InputError: a field is missing, or weights that are named do not exist.
    """
    configs_of(config)
    _look_for_weights(config)
    config = ml_collections.ConfigDict(config)
    size = next((_value(config, name) for name in _SIZE_FIELDS if name in given), (64, 96))
    small: dict[str, Any] = dict.fromkeys(_SIZE_FIELDS, size) | dict.fromkeys(_WEIGHTS, "")
    small |= {
        "model.backbone": "resnet_micro",
        "data.cache_gigabytes": 0.1,
        "data.prefetch": 4,
        "batch_size": config.accumulate * jax.device_count() * 2,
        "loop.steps": 6,
        "loop.log_every": 2,
        "loop.checkpoint_every": 3,
        "loop.evaluate_every": 0,
        "loop.picture_every": 3,
    }
    small |= SMALL[config.network](config, given)
    kept = given - set(_WEIGHTS)
    config.update_from_flattened_dict({name: value for name, value in small.items() if name not in kept})
    return config.lock()


def _value(config: ml_collections.ConfigDict, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


def _look_for_weights(config: ml_collections.ConfigDict) -> None:
    """Raises InputError where weights are named that are not there."""
    if config.backbone_checkpoint and not pathlib.Path(config.backbone_checkpoint).is_file():
        raise InputError(f"backbone_checkpoint: there is no file {config.backbone_checkpoint}")
    if config.initial_checkpoint:
        read_card(config.initial_checkpoint)
