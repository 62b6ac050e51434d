"""What a recipe is: the fields of a training configuration, and the training step that they describe."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.networks import NetworkConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import data_fields
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
from ranet_jax.training.options import build, fields
from ranet_jax.training.programs import PROGRAMS, Program
from ranet_jax.training.step import StepFunction


def recipe(
    model: NetworkConfig,
    sample: SampleConfig,
    parts: dict[str, Any],
    *,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    batch_size: int,
    objective: Mapping[str, Any] | None = None,
) -> ml_collections.ConfigDict:
    """A configuration with all its fields; a recipe's `get_config` returns one.

    Of a network that is trained on clips it also has the field `curriculum`: (first step, length) pairs, from which
    step on clips are cut to how many frames, () for none. Each new length compiles the step once more.

    Args:
        model: the network.
        sample: how training samples are made; its size is the network's input size.
        parts: what they are made of, by name, see `ranet_jax.training.mixture.part`.
        optimizer: how the weights move.
        loop: how long, and how often what is reported.
        batch_size: samples of a step, of all devices and processes together.
        objective: fields of what is minimised that are not as the network's objective has them by default.
    """
    program = PROGRAMS[model.NETWORK]
    config = ml_collections.ConfigDict(
        {
            "seed": 0,
            "network": model.NETWORK,
            "model": model.to_dict(),
            # Fields of the model that the exported weights' configuration has otherwise than the model that is trained.
            "inference": {},
            "objective": fields(program.objective(**(objective or {}))),
            "optimizer": fields(optimizer),
            "data": data_fields(sample, **parts),
            "batch_size": batch_size,
            # Each device's share of a batch is cut into so many parts, computed one after another, to save memory.
            "accumulate": 1,
            # "pmap" or "shard_map": the same results.
            "backend": "pmap",
            "loop": fields(loop),
            # Where `loop.evaluate_every` is not 0: the split that is tracked and scored; all its sequences, or some.
            "evaluation": {"folder": "DAVIS", "year": 2016, "split": "val", "sequences": ()},
            # Newest training checkpoints that stay on disk.
            "keep": 2,
            # ImageNet weights of the backbone, a .pth file; none: random.
            "backbone_checkpoint": "",
            # An inference checkpoint to start from, of another run: its folder `inference`.
            "initial_checkpoint": "",
        }
    )
    if program.clips:
        config.curriculum = ()
    return config


_FIELDS = frozenset(
    (
        *("seed", "network", "model", "inference", "objective", "optimizer", "data", "batch_size", "accumulate"),
        *("backend", "loop", "evaluation", "keep", "backbone_checkpoint", "initial_checkpoint"),
    )
)


def program_of(config: ml_collections.ConfigDict) -> Program:
    """The network's own part of a recipe's training.

    Raises:
        InputError: the configuration lacks a field, or names no network.
    """
    if missing := sorted(_FIELDS - set(config)):
        made = "make it with ranet_jax.training.recipe.recipe"
        raise InputError(f"the recipe's configuration lacks {', '.join(missing)}: {made}")
    if config.network not in PROGRAMS:
        raise InputError(f"network is {config.network!r}: choose one of {', '.join(PROGRAMS)}")
    return PROGRAMS[config.network]


@dataclasses.dataclass(frozen=True)
class RecipeStep:
    """What a recipe makes of a training step.

    Attributes:
        model: the network's configuration.
        function: its loss and optimizer.
        optimizer: how the weights move.
        objects: slots of a sample.
        clip_length: frames of a clip; 0 where samples are pairs.
    """

    model: NetworkConfig
    function: StepFunction
    optimizer: OptimizerConfig
    objects: int
    clip_length: int


def open_step(config: ml_collections.ConfigDict, *, remat: bool | None = None) -> RecipeStep:
    """Reads the training step out of a recipe.

    Args:
        config: see `recipe`.
        remat: in place of the objective's field.

    Raises:
        InputError: a field does not fit.
    """
    program = program_of(config)
    model, optimizer = program.model.from_dict(config.model.to_dict()), build(OptimizerConfig, config.optimizer)
    objective = build(program.objective, config.objective)
    if remat is not None:
        objective = dataclasses.replace(objective, remat=remat)
    sample = config.data.sample
    if tuple(sample.size) != model.input_size:
        raise InputError(f"data.sample.size is {sample.size} and model.input_size {model.input_size}: differ")
    loss = program.loss(model, objective, frozen=optimizer.frozen)
    schedule = build_optimizer(optimizer, config.loop.steps)
    function = StepFunction(loss, schedule, optimizer.ema_decay, config.accumulate)
    return RecipeStep(model, function, optimizer, sample.max_objects, sample.clip_length if program.clips else 0)
