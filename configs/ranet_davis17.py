"""The recipe `ranet_davis17`, which is part of the library: see `ranet_jax.recipes.ranet_davis17`."""

from ranet_jax.recipes.ranet_davis17 import get_config

__all__ = ["get_config"]
