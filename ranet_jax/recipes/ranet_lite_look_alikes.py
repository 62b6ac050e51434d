"""`lite` for objects that look alike: from the weights of `ranet_lite_photographs`, three frames a sample.

    ranet-jax train ranet_lite_look_alikes --workdir runs/lite-look-alikes --config.data.root=data \
        --config.initial_checkpoint=runs/lite-photographs/inference

Folders below `data.root`: as for `ranet_lite_photographs`, and images/BSDS500, whose masks divide the whole image.

The second frame is segmented from a perturbed mask, the third from what came out for the second, by the tracker's own
step. Up to two objects are pasted in, each with a motion of its own; one in three of them is one of the sample's own
objects once more, so that nothing but its last mask tells it from the other.

Cost: 12 to 20 s a step on two CPU cores beside other work; 4 GB of memory. Result: docs/models.md, docs/log/0036.
"""

import ml_collections

from ranet_jax.data.config import GeometryConfig
from ranet_jax.recipes import ranet_lite_photographs
from ranet_jax.training.mixture import part
from ranet_jax.training.options import fields


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    config = ranet_lite_photographs.get_config()
    config.data.parts.bsds500 = part("photographs", "images/BSDS500", "static_pair", weight=0.5, partition=(0.02, 0.6))
    sample = config.data.sample
    sample.rollout = 2
    sample.paste.count, sample.paste.twin = 2, 0.33
    sample.paste.motion = fields(GeometryConfig(0.02, 5.0, (0.95, 1.05), 0.04, 0.0))
    config.optimizer.learning_rate, config.optimizer.warmup_steps, config.optimizer.ema_decay = 5e-4, 30, 0.985
    config.loop.steps, config.loop.checkpoint_every = 400, 50
    return config
