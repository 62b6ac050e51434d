"""Static pre-training of the released network (paper section 4.1): pairs made of still images.

    ranet-jax train ranet_static --workdir runs/static \
        --config.data.root=data --config.backbone_checkpoint=resnet101.pth

`ranet_static:multi` is the multi-object network, with SOC and ILSO too. ImageNet weights: torchvision's
`resnet101` state dict. Folders below `data.root`: MSRA10K, ECSSD, HKU-IS (SOC, ILSO), as their archives unpack.

Cost: 10 epochs of 15,447 images in batches of 8. A step computes about 1.6 TFLOP a sample (forward and backward of
two frames at 480x864); it has not been run to its end by us. Expected, from the paper's Table 5 (row -VF): J mean 79.9
on DAVIS16-val before fine-tuning.
"""

from typing import Any

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.recipe import recipe
from ranet_jax.training.rollout import Objective


def get_config(objects: str = "single") -> ml_collections.ConfigDict:
    """The recipe; `objects` is "single" or "multi"."""
    several = objects == "multi"
    return recipe(
        RANetConfig.from_dict({"objects": objects}),
        TrackerConfig(),
        SampleConfig(max_objects=3 if several else 1),
        static_parts(several_objects=several),
        optimizer=OptimizerConfig(learning_rate=1e-5, schedule="polynomial", ema_decay=0.999),
        loop=LoopConfig(steps=20_000, checkpoint_every=1000),
        batch_size=8,
        objective=Objective.pairs(),
    )


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
