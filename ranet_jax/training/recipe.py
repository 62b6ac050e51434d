"""What a recipe is: the fields of a training configuration, and the training step that they describe."""

import dataclasses
from typing import Any

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.networks import NetworkConfig, config_from_dict
from ranet_jax.tracker import AspectBox, TrackerConfig
from ranet_jax.tracker.step import check_hints
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import data_fields
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer
from ranet_jax.training.options import build, fields
from ranet_jax.training.rollout import Objective, clip_loss
from ranet_jax.training.step import StepFunction


def recipe(
    model: NetworkConfig,
    tracker: TrackerConfig,
    sample: SampleConfig,
    parts: dict[str, Any],
    *,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    batch_size: int,
    objective: Objective,
    curriculum: tuple[tuple[int, int], ...] = (),
) -> ml_collections.ConfigDict:
    """A configuration with all its fields; a recipe's `get_config` returns one.

    Args:
        model: the network.
        tracker: how it tracks, in training as afterwards; its window says how samples are cut.
        sample: how training samples are made; its size is the network's input size.
        parts: what they are made of, by name, see `ranet_jax.training.mixture.part`.
        optimizer: how the weights move.
        loop: how long, and how often what is reported.
        batch_size: samples of a step, of all devices and processes together.
        objective: what is minimised.
        curriculum: (first step, length) pairs: from that step on, clips are cut to so many frames. Each new length
            compiles the step once more.
    """
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            "network": model.NETWORK,
            "model": model.to_dict(),
            "tracker": tracker.to_dict(),
            "objective": fields(objective),
            "optimizer": fields(optimizer),
            "data": data_fields(sample, **parts),
            "batch_size": batch_size,
            # Each device's share of a batch is cut into so many parts, computed one after another, to save memory.
            "accumulate": 1,
            # "pmap" or "shard_map": the same results.
            "backend": "pmap",
            "loop": fields(loop),
            "curriculum": curriculum,
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


_FIELDS = frozenset(
    (
        *("seed", "network", "model", "tracker", "objective", "optimizer", "data", "batch_size", "accumulate"),
        *("backend", "loop", "curriculum", "evaluation", "keep", "backbone_checkpoint", "initial_checkpoint"),
    )
)


def configs_of(config: ml_collections.ConfigDict) -> tuple[NetworkConfig, TrackerConfig, Objective]:
    """The network, the tracker and the objective of a recipe.

    Raises:
        InputError: the configuration lacks a field, or has one that does not fit.
    """
    if missing := sorted(_FIELDS - set(config)):
        made = "make it with ranet_jax.training.recipe.recipe"
        raise InputError(f"the recipe's configuration lacks {', '.join(missing)}: {made}")
    model = config_from_dict(config.network, config.model.to_dict())
    tracker = TrackerConfig.from_dict(config.tracker.to_dict())
    check_hints(model, tracker)
    return model, tracker, build(Objective, config.objective)


@dataclasses.dataclass(frozen=True)
class RecipeStep:
    """What a recipe makes of a training step.

    Attributes:
        model: the network's configuration.
        tracker: how it tracks.
        objective: what is minimised.
        function: its loss and optimizer.
        optimizer: how the weights move.
        objects: padded object count of a sample.
        frames: of a sample.
        crop: how samples are cut, see `SampleConfig`.
    """

    model: NetworkConfig
    tracker: TrackerConfig
    objective: Objective
    function: StepFunction
    optimizer: OptimizerConfig
    objects: int
    frames: int
    crop: str


def open_step(config: ml_collections.ConfigDict, *, remat: bool | None = None) -> RecipeStep:
    """Reads the training step out of a recipe.

    Args:
        config: see `recipe`.
        remat: in place of the objective's field.

    Raises:
        InputError: a field does not fit.
    """
    model, tracker, objective = configs_of(config)
    optimizer = build(OptimizerConfig, config.optimizer)
    if remat is not None:
        objective = dataclasses.replace(objective, remat=remat, encode_together=objective.encode_together and not remat)
    sample = config.data.sample
    if tuple(sample.size) != model.input_size:
        raise InputError(f"data.sample.size is {sample.size} and model.input_size {model.input_size}: differ")
    kinds = {part.sample == "clip" for part in config.data.parts.values() if part.weight}
    if len(kinds) > 1:
        raise InputError("data.parts: clips and pairs have different lengths: give weights to the one or the other")
    frames = sample.clip_length if True in kinds else 1 + sample.rollout
    loss = clip_loss(model, tracker, objective, frozen=optimizer.frozen)
    schedule = build_optimizer(optimizer, config.loop.steps)
    function = StepFunction(loss, schedule, optimizer.ema_decay, config.accumulate)
    crop = "box" if isinstance(tracker.window, AspectBox) else "frame"
    return RecipeStep(model, tracker, objective, function, optimizer, sample.max_objects, frames, crop)
