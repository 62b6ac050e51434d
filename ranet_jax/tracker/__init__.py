"""One tracker for either network: state in, state out, one compiled step; masks may be given for any frame.

Names are imported when they are asked for: an exported program needs objects' ids, and no network.
"""

import importlib
from typing import TYPE_CHECKING, Any

_MODULES = {
    "OBJECT_BUCKETS": "objects",
    "AspectBox": "window",
    "Presence": "presence",
    "ReleasedBox": "window",
    "State": "state",
    "Target": "target",
    "Tracker": "tracker",
    "TrackerConfig": "config",
    "WholeFrame": "window",
    "compiled_steps": "tracker",
}
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

if TYPE_CHECKING:
    from ranet_jax.tracker.config import TrackerConfig
    from ranet_jax.tracker.objects import OBJECT_BUCKETS
    from ranet_jax.tracker.presence import Presence
    from ranet_jax.tracker.state import State
    from ranet_jax.tracker.target import Target
    from ranet_jax.tracker.tracker import Tracker, compiled_steps
    from ranet_jax.tracker.window import AspectBox, ReleasedBox, WholeFrame


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
