"""The recipe `ranet_lite_ablations`, which is part of the library: see `ranet_jax.recipes.ranet_lite_ablations`."""

from ranet_jax.recipes.ranet_lite_ablations import get_config

__all__ = ["get_config"]
