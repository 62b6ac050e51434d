"""Trains RANet: `python -m train.ranet --config configs/ranet_lite_davis16.py --workdir runs/lite`.

The same as `ranet-jax train ranet_lite_davis16 --workdir runs/lite`. The same command continues an interrupted run. The
run's folder holds `checkpoints` (to continue from), `inference` (the averaged weights, for `ranet-jax segment
--checkpoint`), `metrics.jsonl`, `tensorboard` and `config.json`.
"""

import sys

from ranet_jax.commands.train import main

if __name__ == "__main__":
    sys.exit(main("ranet"))
