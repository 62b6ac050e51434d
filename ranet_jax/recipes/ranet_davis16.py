"""Fine-tuning of the released single-object network on DAVIS16-train (paper section 4.1).

    ranet-jax train ranet_davis16 --workdir runs/davis16 \
        --config.data.root=data --config.initial_checkpoint=runs/static/inference

Folder below `data.root`: DAVIS (2016, 480p). J&F on DAVIS16-val during training: `--config.loop.evaluate_every=1000`.

Cost: 5,000 steps of 8 pairs at 480x864, about 13 TFLOP each; it has not been run to its end by us. Expected (paper,
Table 1): J&F 85.5, J mean 85.5, F mean 85.4 on DAVIS16-val; without static pre-training (`backbone_checkpoint` in place
of `initial_checkpoint`), J mean 73.2.
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
    return recipe(
        RANetConfig(),
        TrackerConfig(),
        SampleConfig(),
        {"davis": part("davis2016", "DAVIS", "video_pair")},
        optimizer=OptimizerConfig(learning_rate=1e-5, schedule="polynomial", ema_decay=0.999),
        loop=LoopConfig(steps=5000, checkpoint_every=500),
        batch_size=8,
        objective=Objective.pairs(),
    )
