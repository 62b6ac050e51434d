"""Trains RANet: `python -m train.ranet --config configs/ranet_lite_davis16.py --workdir runs/lite`.

The same command continues an interrupted run. The run's folder holds `checkpoints` (to continue from), `inference` (the
averaged weights, for `ranet-jax segment --checkpoint`), `metrics.jsonl`, `tensorboard` and `config.json`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from ranet_jax.networks import RANetConfig
from ranet_jax.training.ranet import RANetObjective, predict, ranet_loss
from ranet_jax.training.reporting import progress_picture
from train.options import main
from train.program import Program, train


def picture(model: RANetConfig, variables: Any, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """A picture of up to four samples and their predictions."""
    shown = {name: array[:4] for name, array in batch.items()}
    return progress_picture(shown, np.asarray(_predict(model, variables, shown)))


def smoke(config: ml_collections.ConfigDict) -> None:
    """Fewer positions and maps."""
    config.model.template_grid, config.model.kept_maps = (4, 6), 16


_predict = jax.jit(predict, static_argnums=0)
PROGRAM = Program(RANetConfig, RANetObjective, ranet_loss, picture, smoke)

if __name__ == "__main__":
    main(functools.partial(train, PROGRAM), "Trains RANet; the same command continues an interrupted run.")
