"""`lite` for several objects: from the weights of `ranet_lite_davis16`, on photographs with exact masks beside video.

    ranet-jax train ranet_lite_photographs --workdir runs/lite-photographs --config.data.root=data \
        --config.initial_checkpoint=runs/lite/inference

Folders below `data.root`: DAVIS and DAVIS17 as for `ranet_lite_davis16`, and images/FeralCats, images/CCP,
images/OxfordPets and images/TinyCOCO, each with `Images/NAME.jpg` and palette PNGs `Masks/NAME.png` (docs/datasets.md).
Any other folder of photographs with label PNGs is one more part, or takes the place of one (docs/training.md).

Up to three objects a sample; objects of other photographs or videos are pasted in, most of them as further objects. Two
frames of one photograph are two deformations of it. Ready to change: a second step from the first prediction
(`data.sample.rollout=2`), objects that compete for pixels (`tracker.aggregation=soft`).

Cost: 45 minutes on two CPU cores that do nothing else, 70 beside other work; 5 GB of memory. Result: docs/models.md.
"""

import ml_collections

from ranet_jax.recipes import ranet_lite_davis16
from ranet_jax.training.mixture import part

PHOTOGRAPHS = ("FeralCats", "CCP", "OxfordPets", "TinyCOCO")


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    config = ranet_lite_davis16.get_config()
    config.data.sample.max_objects = 3
    config.data.sample.paste.probability, config.data.sample.paste.as_object = 0.6, 0.7
    config.data.parts.longboard.weight = 0.25
    for name in PHOTOGRAPHS:
        config.data.parts[name.lower()] = part("photographs", f"images/{name}", "static_pair")
    config.optimizer.learning_rate, config.optimizer.warmup_steps = 6e-4, 50
    config.loop.steps, config.loop.checkpoint_every = 560, 140
    return config
