"""The networks that are measured, by name."""

from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import Checkpoint, initial_variables, load_checkpoint

FULL_SIZE = {
    "released": (RANetConfig(dtype="float32"), TrackerConfig()),
    "mrnet": (MRNetConfig(dtype="float32"), TrackerConfig.mrnet()),
}


def open_network(name: str, objects: int = 1) -> Checkpoint:
    """A network and its variables.

    Args:
        name: "released" or "mrnet" (full size, random weights), or a checkpoint.
        objects: of more than one, "released" is the one of its two releases that was made for them.

    Raises:
        InputError: there is no such checkpoint.
    """
    if name not in FULL_SIZE:
        return load_checkpoint(name)
    config, tracker = FULL_SIZE[name]
    if objects > 1 and isinstance(config, RANetConfig):
        config = RANetConfig(objects="multi", dtype="float32")
    return Checkpoint(name, config, tracker, initial_variables(config), {})
