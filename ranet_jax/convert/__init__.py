"""Weights of other frameworks to Flax variables and back; nothing here needs those frameworks."""

from ranet_jax.convert.torch_backbones import backbone_from_torch
from ranet_jax.convert.torch_ranet import ranet_from_torch, ranet_to_torch

__all__ = ["backbone_from_torch", "ranet_from_torch", "ranet_to_torch"]
