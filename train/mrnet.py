"""Trains MRNet: `python -m train.mrnet --config configs/mrnet_lite_davis16.py --workdir runs/mrnet-lite`.

The same command continues an interrupted run. The run's folder holds the same as that of `train.ranet`.
"""

import sys

from ranet_jax.commands.train import main

if __name__ == "__main__":
    sys.exit(main("mrnet"))
