"""Semi-supervised video object segmentation with RANet and MRNet, in JAX and Flax.

    import ranet_jax as rj

    model = rj.load("lite")
    for label_map in model.track(frames, {0: mask}):
        ...

What is named here is what the library promises; each name is imported when it is asked for, so that a program starts
as fast as what it uses.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_NAMES = {
    "InputError": "ranet_jax.errors",
    "MRNet": "ranet_jax.mrnet",
    "MRNetConfig": "ranet_jax.mrnet",
    "Presence": "ranet_jax.tracker",
    "RANet": "ranet_jax.ranet",
    "RANetConfig": "ranet_jax.ranet",
    "Target": "ranet_jax.tracker",
    "Tracker": "ranet_jax.tracker",
    "TrackerConfig": "ranet_jax.tracker",
    "evaluate": "ranet_jax.api",
    "keep_compiled_programs": "ranet_jax.compilation",
    "load": "ranet_jax.api",
    "Model": "ranet_jax.api",
    "save": "ranet_jax.api",
    "segment": "ranet_jax.api",
}
__all__ = [
    "InputError",
    "MRNet",
    "MRNetConfig",
    "Model",
    "Presence",
    "RANet",
    "RANetConfig",
    "Target",
    "Tracker",
    "TrackerConfig",
    "evaluate",
    "keep_compiled_programs",
    "load",
    "save",
    "segment",
]

if TYPE_CHECKING:
    from ranet_jax.api import Model, evaluate, load, save, segment
    from ranet_jax.compilation import keep_compiled_programs
    from ranet_jax.errors import InputError
    from ranet_jax.mrnet import MRNet, MRNetConfig
    from ranet_jax.ranet import RANet, RANetConfig
    from ranet_jax.tracker import Presence, Target, Tracker, TrackerConfig


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
