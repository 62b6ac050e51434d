"""MRNet of the paper on DAVIS16-train from ImageNet weights (ACCV 2020, section 4.1).

    ranet-jax train mrnet_davis16 --workdir runs/mrnet \
        --config.data.root=data --config.backbone_checkpoint=resnet50.pth

Folder below `data.root`: DAVIS (2016, 480p); the checkpoint is torchvision's ResNet-50. Ready to change: Table 1
(`model.candidates` is the paper's k, `model.interval` its n), the ablations (`model.mask_ranking=false`,
`model.similarity_map=false`), the frames of a clip and from one to the next (`data.sample.clip_length`, `clip_gap`),
clips that grow (`curriculum="((0, 4), (2000, 8), (5000, 12))"`), memory against time (`objective.remat=false`).

Cost: 10,000 steps (the paper names no number) of 4 clips of 12 frames at 480x864, on an accelerator; it has not been
run to its end by us. Expected (paper, Table 2): J&F 85.0, J mean 85.1, F mean 84.9 on DAVIS16-val.
"""

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.networks import MRNetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.recipe import recipe
from ranet_jax.training.rollout import Objective


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    return recipe(
        MRNetConfig(),
        TrackerConfig.mrnet(),
        SampleConfig(clip_length=12),
        {"davis": part("davis2016", "DAVIS", "clip")},
        optimizer=OptimizerConfig(learning_rate=1e-5, schedule="polynomial", weight_decay=5e-4, ema_decay=0.999),
        loop=LoopConfig(steps=10000, checkpoint_every=500),
        batch_size=4,
        objective=Objective(),
    )
