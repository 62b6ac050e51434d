"""The recipe `ranet_lite_davis16`, which is part of the library: see `ranet_jax.recipes.ranet_lite_davis16`."""

from ranet_jax.recipes.ranet_lite_davis16 import get_config

__all__ = ["get_config"]
