"""The networks: RANet and its parts. Configurations are frozen dataclasses; forward passes are pure."""

from ranet_jax.models.config import RANetConfig
from ranet_jax.models.ranet import Features, RANet, Template
from ranet_jax.models.ranking import Ranked

__all__ = ["Features", "RANet", "RANetConfig", "Ranked", "Template"]
