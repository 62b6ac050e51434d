"""The recipe `ranet_lite_photographs`, which is part of the library: see `ranet_jax.recipes.ranet_lite_photographs`."""

from ranet_jax.recipes.ranet_lite_photographs import get_config

__all__ = ["get_config"]
