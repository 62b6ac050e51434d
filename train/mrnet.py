"""Trains MRNet: `python -m train.mrnet --config configs/mrnet_lite_davis16.py --workdir runs/mrnet-lite`.

The same command continues an interrupted run. The run's folder holds the same as that of `train.ranet`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.networks import MRNetConfig
from ranet_jax.training.loop import BatchChange
from ranet_jax.training.mrnet import MRNetObjective, mrnet_loss, predict
from ranet_jax.training.reporting import progress_picture
from train.options import main
from train.program import Program, train


def picture(model: MRNetConfig, variables: Any, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """A picture of up to four clips: frame 0, the last frame, and what is predicted for the last two."""
    shown = {name: array[:4] for name, array in batch.items()}
    before, last = np.asarray(_predict(model, variables, shown))
    images, labels = shown["images"], shown["labels"]
    pair = {"template_image": images[:, 0], "template_labels": labels[:, 0], "image": images[:, -1]}
    pair |= {"labels": labels[:, -1], "previous_labels": (before.max(axis=-1) > 0.5).astype(np.uint8)}
    return progress_picture(pair, last)


def curriculum(config: ml_collections.ConfigDict) -> BatchChange | None:
    """Cuts clips to a length that grows with the steps: `curriculum` is ((first step, length), ...), () for none.

    Raises:
        InputError: steps do not rise from 0, or a length is not between 3 and `data.sample.clip_length`.
    """
    stages = tuple(tuple(stage) for stage in config.curriculum)
    if not stages:
        return None
    longest = config.data.sample.clip_length
    steps = [first for first, _ in stages]
    if steps[0] != 0 or steps != sorted(set(steps)) or not all(3 <= length <= longest for _, length in stages):
        raise InputError(
            f"curriculum is {stages}: give (first step, length) pairs, steps rising from 0, lengths of 3 to {longest}"
        )

    def cut(step: int, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        length = next(length for first, length in reversed(stages) if step >= first)
        return batch | {name: batch[name][:, :length] for name in ("images", "labels")}

    return cut


def smoke(config: ml_collections.ConfigDict) -> None:
    """A narrow decoder, and clips of at most four frames of which the last has two candidates."""
    config.model.decoder_features = tuple(8 for _ in config.model.decoder_features)
    config.model.candidates, config.model.interval = min(config.model.candidates, 2), 1
    config.data.sample.clip_length = 4
    config.curriculum = ((0, 3), (4, 4)) if config.curriculum else ()


_predict = jax.jit(predict, static_argnums=0)
PROGRAM = Program(MRNetConfig, MRNetObjective, mrnet_loss, picture, smoke, curriculum)

if __name__ == "__main__":
    main(functools.partial(train, PROGRAM), "Trains MRNet; the same command continues an interrupted run.")
