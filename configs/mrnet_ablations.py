"""The recipe `mrnet_ablations`, which is part of the library: see `ranet_jax.recipes.mrnet_ablations`."""

from ranet_jax.recipes.mrnet_ablations import get_config

__all__ = ["get_config"]
