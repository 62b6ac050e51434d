"""The networks and their parts. Configurations are frozen dataclasses; forward passes are pure."""

from typing import Any

import flax.linen as nn

from ranet_jax.errors import InputError
from ranet_jax.models.config import MRNetConfig, NetworkConfig, RANetConfig
from ranet_jax.models.mask_ranking import Selected
from ranet_jax.models.mrnet import Memory, MRNet
from ranet_jax.models.ranet import Features, RANet, Template
from ranet_jax.models.ranking import Ranked

__all__ = [
    "Features",
    "MRNet",
    "MRNetConfig",
    "Memory",
    "NetworkConfig",
    "RANet",
    "RANetConfig",
    "Ranked",
    "Selected",
    "Template",
    "config_from_dict",
    "network",
]

CONFIGS: dict[str, type[NetworkConfig]] = {cls.NETWORK: cls for cls in (RANetConfig, MRNetConfig)}
NETWORKS: dict[str, Any] = {RANetConfig.NETWORK: RANet, MRNetConfig.NETWORK: MRNet}


def network(config: NetworkConfig) -> nn.Module:
    """The network of a configuration."""
    return NETWORKS[config.NETWORK](config)


def config_from_dict(name: str, values: dict[str, Any]) -> NetworkConfig:
    """The configuration of the network called "ranet" or "mrnet", from JSON values.

    Raises:
        InputError: there is no such network; a field is unknown or has a wrong value.
    """
    if name not in CONFIGS:
        raise InputError(f"no network is called {name!r}: choose one of {', '.join(sorted(CONFIGS))}")
    return CONFIGS[name].from_dict(values)
