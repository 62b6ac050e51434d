"""Fine-tuning of the released multi-object network on DAVIS17-train (paper section 4.1).

    ranet-jax train ranet_davis17 --workdir runs/davis17 \
        --config.data.root=data --config.initial_checkpoint=runs/static-multi/inference

Start from `ranet_static:multi`. Folder below `data.root`: DAVIS17 (2017, 480p).

Cost: 5,000 steps of 8 pairs with up to 3 objects at 480x864; it has not been run to its end by us. Expected (paper,
Table 3): J&F 65.7, J mean 63.2 on DAVIS17-val; J&F 55.3, J mean 53.4 on test-dev.
"""

import ml_collections

from ranet_jax.data.config import SampleConfig
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.recipe import recipe
from ranet_jax.training.rollout import Objective


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    config = recipe(
        RANetConfig(objects="multi"),
        TrackerConfig(),
        SampleConfig(max_objects=3),
        {"davis": part("davis2017", "DAVIS17", "video_pair")},
        optimizer=OptimizerConfig(learning_rate=1e-5, schedule="polynomial", ema_decay=0.999),
        loop=LoopConfig(steps=5000, checkpoint_every=500),
        batch_size=8,
        objective=Objective.pairs(),
    )
    config.evaluation.folder, config.evaluation.year = "DAVIS17", 2017
    return config
