"""The networks that are measured, by name."""

from typing import Any

import jax

from ranet_jax.networks import MRNetConfig, NetworkConfig, RANetConfig
from ranet_jax.weights import initial_variables, load_checkpoint

FULL_SIZE: dict[str, NetworkConfig] = {
    "released": RANetConfig(dtype="float32"),
    "mrnet": MRNetConfig(dtype="float32"),
}


def open_network(name: str, objects: int = 1) -> tuple[NetworkConfig, Any]:
    """A network and its variables, on the device.

    Args:
        name: "released" or "mrnet" (full size, random weights), or a checkpoint.
        objects: of more than one, "released" is the one of its two releases that was made for them.

    Raises:
        InputError: there is no such checkpoint.
    """
    if name not in FULL_SIZE:
        checkpoint = load_checkpoint(name)
        return checkpoint.config, jax.device_put(checkpoint.variables)
    config = FULL_SIZE[name]
    if objects > 1 and isinstance(config, RANetConfig):
        config = RANetConfig(objects="multi", dtype="float32")
    return config, jax.device_put(initial_variables(config))
