"""One tracker for either network: state in, state out, one compiled step; masks may be given for any frame."""

from ranet_jax.tracker.config import TrackerConfig
from ranet_jax.tracker.objects import OBJECT_BUCKETS
from ranet_jax.tracker.presence import Presence
from ranet_jax.tracker.state import State
from ranet_jax.tracker.target import Target
from ranet_jax.tracker.tracker import Tracker, compiled_steps
from ranet_jax.tracker.window import AspectBox, ReleasedBox, WholeFrame

__all__ = [
    "OBJECT_BUCKETS",
    "AspectBox",
    "Presence",
    "ReleasedBox",
    "State",
    "Target",
    "Tracker",
    "TrackerConfig",
    "WholeFrame",
    "compiled_steps",
]
