"""The whole chain of training, from files to gradients, can fit eight pairs of real video."""

import functools

import jax
import numpy as np
import pytest

from ranet_jax.data.config import SampleConfig
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.samples import video_pair
from ranet_jax.data.sources import davis_videos
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.optimizer import WHOLE_BACKBONE, OptimizerConfig, build_optimizer
from ranet_jax.training.rollout import Objective, clip_loss
from ranet_jax.training.step import StepFunction, initial_state, train_step
from ranet_jax.weights import initial_variables, load_checkpoint

SIZE = (128, 224)
MOST_STEPS = 200


def _eight_pairs(root):
    """One pair of each of the first eight training videos, with all augmentation; its previous mask is damaged too."""
    tree = DavisTree(root, 2016)
    source = davis_videos(tree, tree.sequences("train")[:8])
    starts = [i for i in range(len(source)) if source.span(i).start == i]
    config = SampleConfig(size=SIZE, crop="box")
    samples = [video_pair(np.random.default_rng(i), source, start + 10, config) for i, start in enumerate(starts)]
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0] if name != "name"}


def _start(config):
    """Random weights but for the encoder, which stays at ImageNet's: they came with the shipped network."""
    variables, shipped = initial_variables(config), load_checkpoint("lite").variables
    return {name: values | {"backbone": shipped[name]["backbone"]} for name, values in variables.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_lite_overfits_eight_pairs(shared):
    batch = _eight_pairs(shared("data/DAVIS"))
    config = RANetConfig.lite(input_size=SIZE, template_grid=(8, 14))
    rates = OptimizerConfig(
        5e-3, "cosine", warmup_steps=10, backbone_factor=0.0, beta2=0.99, clip_norm=1.0, ema_decay=0.0
    )
    loss = clip_loss(config, TrackerConfig.lite(), Objective.pairs(dice_weight=0.5), frozen=WHOLE_BACKBONE)
    function = StepFunction(loss, build_optimizer(rates, MOST_STEPS), rates.ema_decay)
    step = jax.jit(functools.partial(train_step, function=function), donate_argnums=0)
    state = initial_state(_start(config), function.optimizer)
    reached = []
    while len(reached) < MOST_STEPS and max(reached, default=0.0) <= 0.95:
        state, metrics = step(state, batch)
        reached.append(float(metrics["iou"].total / metrics["iou"].count))
    # The target model, which needs no training, reaches about a half.
    assert reached[0] < 0.7, "it had to be learned"
    assert reached[-1] > 0.95
