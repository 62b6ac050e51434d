"""RANet (ICCV 2019): Siamese encoder, correlation, Ranking Attention Module, pyramid decoder."""

from ranet_jax.ranet.config import RANetConfig
from ranet_jax.ranet.network import Features, Memory, RANet
from ranet_jax.ranet.ranking import Ranked

__all__ = ["Features", "Memory", "RANet", "RANetConfig", "Ranked"]
