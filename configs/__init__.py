"""The recipes of `ranet_jax.recipes` as files: `python -m train.ranet --config configs/NAME.py`."""
