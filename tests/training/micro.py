"""Networks and batches so small that a training step of theirs compiles in seconds."""

import functools
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from ranet_jax.networks import RANetConfig
from ranet_jax.training.losses import Mean, intersection_over_union, mask_loss, masks_of_labels, mean_of_valid
from ranet_jax.training.optimizer import OptimizerConfig, build_optimizer, frozen_backbone
from ranet_jax.training.parallel import DataParallel, data_parallel
from ranet_jax.training.step import Metrics, StepFunction, train_step

SIZE = (64, 96)
MICRO = RANetConfig.lite(
    backbone="resnet_micro",
    input_size=SIZE,
    template_grid=(4, 6),
    matching_head_features=(8, 8, 8),
    matching_features=8,
    kept_maps=8,
    ranking_features=8,
)
OPTIMIZER = OptimizerConfig(1e-2, "cosine", warmup_steps=4, clip_norm=1.0, ema_decay=0.9)
VARIABLES = {
    "params": {
        "backbone": {"kernel": np.random.default_rng(0).normal(size=(3, 3, 5, 8)).astype(np.float32) * 0.2},
        "head": {
            "kernel": np.random.default_rng(1).normal(size=(3, 3, 8, 2)).astype(np.float32) * 0.2,
            "bias": np.zeros(2, np.float32),
        },
    },
    "batch_stats": {"backbone": {"mean": np.full(8, 0.1, np.float32)}},
}
"""Of the toy network below."""


def toy_logits(params: Any, batch_stats: Any, batch: Any) -> jax.Array:
    """Two convolutions of frame and previous masks, for two objects: trained by the same step as the real networks."""
    conv = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    image = batch["images"][:, 1].astype(jnp.float32) / 128.0 - 1.0
    x = jnp.concatenate([image, masks_of_labels(batch["previous_labels"], 2)], axis=-1)
    x = jax.nn.relu(conv(x, params["backbone"]["kernel"]) - batch_stats["backbone"]["mean"][None, None, None])
    return conv(x, params["head"]["kernel"]) + params["head"]["bias"][None, None, None]


def toy_loss(params: Any, batch_stats: Any, batch: Any, *, frozen: tuple[str, ...] = ()) -> tuple[Mean, Metrics]:
    logits = toy_logits(frozen_backbone(params, frozen), batch_stats, batch)
    masks = masks_of_labels(batch["labels"][:, 1], 2)
    return mask_loss(logits, masks, batch["valid"], dice_weight=0.5), {
        "iou": mean_of_valid(intersection_over_union(logits, masks), batch["valid"])
    }


def make_batch(seed: int, size: int, objects: int = 2, frames: int = 2) -> dict[str, np.ndarray]:
    """A batch of pairs: rectangles on noise; the last object of every other sample does not exist."""
    rng = np.random.default_rng(seed)

    def labels() -> np.ndarray:
        result = np.zeros((size, *SIZE), np.uint8)
        for i in range(size):
            for slot in range(1, objects + 1 - i % 2):
                y, x = rng.integers(0, 24), rng.integers(0, 40)
                result[i, y : y + 30, x : x + 40] = slot
        return result

    valid = np.ones((size, objects), bool)
    valid[1::2, -1] = False
    images = rng.integers(0, 256, (size, frames, *SIZE, 3), dtype=np.uint8)
    shown = np.stack([labels() for _ in range(frames)], axis=1)
    return {"images": images, "labels": shown, "previous_labels": labels(), "valid": valid}


class _Named(grain.transforms.Map):
    def map(self, index: int) -> dict[str, Any]:
        sample = {name: value[0] for name, value in make_batch(int(index), 1).items()}
        return sample | {"name": f"sample{index}"}


def make_dataset(
    batch_size: int = 2, samples: int = 12, process: slice = slice(None), change: Any = lambda sample: sample
) -> grain.IterDataset:
    """An endless grain dataset of such batches, shuffled; `change` gets every sample, in order."""
    dataset = grain.MapDataset.range(samples).seed(0).shuffle().repeat().map(_Named()).map(change)[process]
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    return dataset.to_iter_dataset(options).batch(batch_size, drop_remainder=True)


def toy_function(optimizer: OptimizerConfig = OPTIMIZER, accumulate: int = 1) -> StepFunction:
    loss = functools.partial(toy_loss, frozen=optimizer.frozen)
    return StepFunction(loss, build_optimizer(optimizer, 20), optimizer.ema_decay, accumulate)


def toy_step(backend: str = "pmap", **arguments: Any) -> DataParallel:
    return data_parallel(functools.partial(train_step, function=toy_function(**arguments)), backend)
