"""The tracker of any network."""

from ranet_jax.networks import MRNetConfig, NetworkConfig, RANetConfig
from ranet_jax.tracker.mrnet_tracker import MRNetTracker
from ranet_jax.tracker.ranet_tracker import RANetTracker


def make_tracker(config: NetworkConfig, frame_size: tuple[int, int]) -> RANetTracker | MRNetTracker:
    """The tracker of the network that a configuration is of.

    Args:
        config: such as a checkpoint's.
        frame_size: height and width of the frames.
    """
    if isinstance(config, MRNetConfig):
        return MRNetTracker(config, frame_size)
    assert isinstance(config, RANetConfig), "there are two networks"
    return RANetTracker(config, frame_size)
