"""The recipe `ranet_lite_look_alikes`, which is part of the library: see `ranet_jax.recipes.ranet_lite_look_alikes`."""

from ranet_jax.recipes.ranet_lite_look_alikes import get_config

__all__ = ["get_config"]
