"""Programs that train, run from a checkout: `python -m train.ranet --config configs/...`."""
