"""The recipe `ranet_static`, which is part of the library: see `ranet_jax.recipes.ranet_static`."""

from ranet_jax.recipes.ranet_static import get_config

__all__ = ["get_config"]
