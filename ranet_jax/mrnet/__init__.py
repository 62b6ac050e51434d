"""MRNet (ACCV 2020): a recurrent encoder-decoder that is given the most helpful past mask."""

from ranet_jax.mrnet.config import MRNetConfig
from ranet_jax.mrnet.mask_ranking import Selected
from ranet_jax.mrnet.network import Memory, MRNet

__all__ = ["MRNet", "MRNetConfig", "Memory", "Selected"]
