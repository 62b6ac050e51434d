"""MRNet of the paper for several objects on DAVIS17-train from ImageNet weights (ACCV 2020, section 4.1).

    ranet-jax train mrnet_davis17 --workdir runs/mrnet17 \
        --config.data.root=data --config.backbone_checkpoint=resnet50.pth

Folder below `data.root`: DAVIS17 (2017, 480p); the checkpoint is torchvision's ResNet-50. Ready to change: as
`mrnet_davis16`, and the objects of a clip (`data.sample.max_objects`).

Cost: 10,000 steps (the paper names no number) of 4 clips of 12 frames with up to 3 objects at 480x864, every object
with its own pass of the encoder, on an accelerator; it has not been run to its end by us. Expected (paper, Table 3):
J&F 73.4, J mean 70.4, F mean 76.3 on DAVIS17-val.
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
    config = recipe(
        MRNetConfig(),
        TrackerConfig.mrnet(),
        SampleConfig(clip_length=12, max_objects=3),
        {"davis": part("davis2017", "DAVIS17", "clip")},
        optimizer=OptimizerConfig(learning_rate=1e-5, schedule="polynomial", weight_decay=5e-4, ema_decay=0.999),
        loop=LoopConfig(steps=10000, checkpoint_every=500),
        batch_size=4,
        objective=Objective(),
    )
    config.evaluation.folder, config.evaluation.year = "DAVIS17", 2017
    return config
