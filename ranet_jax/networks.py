"""The networks by name: their configurations and modules."""

from typing import Any

import flax.linen as nn

from ranet_jax.errors import InputError
from ranet_jax.mrnet import MRNet, MRNetConfig
from ranet_jax.nn.config import NetworkConfig
from ranet_jax.ranet import RANet, RANetConfig

__all__ = ["MRNet", "MRNetConfig", "NetworkConfig", "RANet", "RANetConfig", "config_from_dict", "network"]

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
