"""What all recipes have: the fields of a training configuration, and the data mixtures of the paper."""

from typing import Any

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.networks import MRNetConfig, NetworkConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mrnet import MRNetObjective
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.ranet import RANetObjective
from train.data import data_fields, part
from train.options import fields


def recipe(
    model: NetworkConfig,
    sample: SampleConfig,
    parts: dict[str, Any],
    *,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    batch_size: int,
    objective: RANetObjective | MRNetObjective = RANetObjective(),
) -> ml_collections.ConfigDict:
    """All fields of a configuration for `train.ranet`, and those that `train.mrnet` shares with it.

    Args:
        model: the network.
        sample: how training samples are made; its size is the network's input size.
        parts: what they are made of, see `train.data.part`.
        optimizer: how the weights move.
        loop: how long, and how often what is reported.
        batch_size: samples of a step, of all devices and processes together.
        objective: what is minimised.
    """
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            "model": model.to_dict(),
            "objective": fields(objective),
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


def clip_recipe(
    model: MRNetConfig,
    sample: SampleConfig,
    parts: dict[str, Any],
    *,
    optimizer: OptimizerConfig,
    loop: LoopConfig,
    batch_size: int,
    objective: MRNetObjective = MRNetObjective(),
    curriculum: tuple[tuple[int, int], ...] = (),
) -> ml_collections.ConfigDict:
    """All fields of a configuration for `train.mrnet`.

    Args:
        model: the network.
        sample: see `recipe`.
        parts: see `recipe`; their samples are clips.
        optimizer: see `recipe`.
        loop: see `recipe`.
        batch_size: see `recipe`.
        objective: what is minimised.
        curriculum: (first step, length) pairs: from that step on, clips are cut to that many frames. Each new length
            compiles the step once more.
    """
    config = recipe(model, sample, parts, optimizer=optimizer, loop=loop, batch_size=batch_size, objective=objective)
    config.curriculum = curriculum
    return config


def static_parts(*, several_objects: bool) -> dict[str, Any]:
    """The paper's sets of still images: MSRA10K, ECSSD and HKU-IS, and SOC and ILSO for several objects.

    Weights are the sets' sizes, so that every image is as likely as any other.
    """
    parts = {
        "msra10k": part("msra10k", "MSRA10K", "static_pair", weight=10000.0),
        "ecssd": part("ecssd", "ECSSD", "static_pair", weight=1000.0),
        "hku_is": part("hku_is", "HKU-IS", "static_pair", weight=4447.0),
    }
    if several_objects:
        parts["soc"] = part("soc", "SOC", "static_pair", weight=1800.0)
        parts["ilso"] = part("ilso", "ILSO", "static_pair", weight=1000.0)
    return parts
