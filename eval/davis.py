"""Tracks and scores a DAVIS split: `python -m eval.davis --davis DAVIS --year 2016 --split val --results results`.

The same as `ranet-jax evaluate --track`. Masks go to RESULTS/SEQUENCE/FRAME.png, tables to the terminal and, as the
official CSV files, to RESULTS.
"""

import sys

from ranet_jax.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
