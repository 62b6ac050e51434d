"""A checkpoint's tracker that is soon ready: its functions are compiled side by side, and later runs find them on disk.

What is found was compiled from the same sources, for the same configuration, sizes, versions and machine: nothing is
traced, and neither Flax nor a network is imported. JAX's own cache must be off (`ranet_jax.compilation.compile_anew`),
because an executable that comes out of it cannot be written down again.
"""

import contextlib
import functools
import gc
import hashlib
import importlib.metadata
import json
import os
import pathlib
import pickle
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.experimental import serialize_executable
from jaxtyping import Array, UInt8

from ranet_jax.compilation import KeptFunctions
from ranet_jax.runtime.functions import FunctionTracker, PlainFunction, State, plain_functions
from ranet_jax.stored import StoredCheckpoint, nested
from ranet_jax.tracker.objects import check_labels, grown, object_bucket, object_ids
from ranet_jax.tracker.references import reference_bucket

if TYPE_CHECKING:  # imported where nothing is found
    from ranet_jax.tracker import Tracker

_PACKAGE = pathlib.Path(__file__).parents[1]
_SOURCES = ("nn", "backbones", "ranet", "mrnet", "networks.py", "tracker", "upgrade.py", "runtime/functions.py")
"""Files of the package, and folders of files, that decide what is compiled."""


class _Room(NamedTuple):
    """The functions for one number of objects and of references.

    Attributes:
        tracker: runs them.
        annotate: the function of that name, once it is compiled; it says how large a state it takes.
    """

    tracker: FunctionTracker
    annotate: Callable[[], Any]


class ReadyState(NamedTuple):
    """A state, and the functions that it is of."""

    tracker: FunctionTracker
    state: State


class ReadyTracker:
    """Tracks with a checkpoint's functions; see `ranet_jax.runtime.stream.Tracker`.

    Where masks that come later find no room, the state grows to the functions of the next larger numbers. The variables
    are those of the `StoredCheckpoint`.
    """

    def __init__(self, stored: StoredCheckpoint, frame_size: tuple[int, int], kept: KeptFunctions | None):
        """Looks whether the checkpoint can be used, once for what is kept; nothing is compiled yet.

        Args:
            stored: the checkpoint.
            frame_size: height and width of the frames.
            kept: where functions are looked for and kept, or None.

        Raises:
            InputError: the checkpoint's configuration has unknown fields or wrong values, or does not fit its arrays.
        """
        self._stored, self._frame_size, self._kept = stored, frame_size, kept
        self._made: Tracker | None = None
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="ranet-compile")
        self._tracing = threading.Lock()
        # Of all that the checkpoint says: a byte of its card may have been changed by chance, too.
        seen = _file("seen", f"{self._key()}-{_digest(stored.description)}")
        if kept is None or seen not in kept:
            self._tracker()
            if kept is not None:
                kept.put(seen, b"")

    def init(
        self,
        variables: dict[str, Any],
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> ReadyState:
        """State after the first frame, see `ranet_jax.tracker.Tracker.init`."""
        check_labels(label_map, self._frame_size)
        tracker = self._room(object_bucket(len(object_ids(np.asarray(label_map)))), reference_bucket(1)).tracker
        return ReadyState(tracker, tracker.init(variables, frame, label_map))

    def step(
        self, variables: dict[str, Any], state: ReadyState, frame: UInt8[np.ndarray | Array, "h w 3"]
    ) -> tuple[ReadyState, jax.Array, jax.Array]:
        """Segments the next frame, see `ranet_jax.tracker.Tracker.step`."""
        new, label_map, probability = state.tracker.step(variables, state.state, frame)
        return state._replace(state=new), label_map, probability

    def annotate(
        self,
        variables: dict[str, Any],
        state: ReadyState,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> tuple[ReadyState, jax.Array, jax.Array]:
        """Segments the next frame, for which masks are given, see `ranet_jax.tracker.Tracker.annotate`."""
        check_labels(label_map, self._frame_size)
        tracker, inner = self._with_room(state, label_map)
        new, found, probability = tracker.annotate(variables, inner, frame, label_map)
        return ReadyState(tracker, new), found, probability

    def _with_room(self, state: ReadyState, label_map: Any) -> ReadyState:
        """As `ranet_jax.tracker.tracker.with_room`."""
        tracker, inner = state
        ages = np.asarray(inner["ages"])
        known = {int(value) for value in np.asarray(inner["ids"]) if value}
        objects = max(tracker.objects, object_bucket(len(known | set(object_ids(np.asarray(label_map))))))
        references = max(ages.size, reference_bucket(int(np.sum(ages > 0)) + 1))
        if (objects, references) == (tracker.objects, ages.size):
            return state
        larger = self._room(objects, references)
        (_, wanted, _, _), _ = larger.annotate().args_info
        return ReadyState(larger.tracker, grown(inner, shapes=tuple(leaf.shape for leaf in jax.tree.leaves(wanted))))

    def _room(self, objects: int, references: int) -> _Room:
        if (objects, references) not in self._rooms:
            key = self._key(objects, references)
            # Making them compares shapes by tracing, so nothing is made before something is missing.
            plain = functools.cache(lambda: self._plain(objects, references))
            begun = functools.cache(lambda name: self._pool.submit(self._function, name, key, plain))
            begun("step")  # takes longest to compile: it is traced first
            call = lambda name: lambda *arguments: begun(name).result()(*arguments)
            tracker = FunctionTracker(self._frame_size, objects, call("init"), call("step"), call("annotate"))
            self._rooms[objects, references] = _Room(tracker, lambda: begun("annotate").result())
        return self._rooms[objects, references]

    def _plain(self, objects: int, references: int) -> dict[str, PlainFunction]:
        return plain_functions(self._tracker(), nested(self._stored.variables), objects, references)

    def _tracker(self) -> "Tracker":
        if self._made is None:
            from ranet_jax.weights import checkpoint_of

            self._made = checkpoint_of(self._stored).tracker_for(self._frame_size)
        return self._made

    def _key(self, *sizes: int) -> str:
        description = self._stored.description
        facts = {
            "network": [description[name] for name in ("format", "config")] + [self._stored.network],
            "tracker": description.get("tracker"),
            "weights": {name: array.shape for name, array in self._stored.variables.items()},
            "sizes": [*self._frame_size, *sizes],
            "environment": _environment(),
        }
        return _digest(facts)

    def _function(self, name: str, key: str, plain: Callable[[], dict[str, PlainFunction]]) -> Callable[..., Any]:
        """A function that was kept, or compiled now."""
        file = _file(name, key)
        if self._kept is not None and (content := self._kept.get(file)) is not None:
            # What another version wrote under the same key, or a file system changed: it is compiled again.
            with contextlib.suppress(Exception):
                devices = jax.local_devices()[:1]
                serialised, taken, given = pickle.loads(content)
                return serialize_executable.deserialize_and_load(serialised, taken, given, execution_devices=devices)
        # One after another: two threads that trace only take turns.
        with self._tracing, _no_collection():
            function, arguments, donated = plain()[name]
            lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
        compiled = lowered.compile()
        if (kept := self._kept) is not None:
            self._pool.submit(lambda: kept.put(file, pickle.dumps(serialize_executable.serialize(compiled))))
        return compiled


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _file(name: str, key: str) -> str:
    return f"{name}-{key}"


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Tracing makes many objects that live: looking for garbage among them is a tenth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@functools.cache
def _environment() -> dict[str, Any]:
    """What else decides how a function is compiled: sources, versions, settings, and the machine."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        path = _PACKAGE / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    device = jax.local_devices()[0]
    settings = {name: repr(value) for name, value in jax.config.values.items() if "cache" not in name}
    return {
        "sources": digest.hexdigest(),
        "versions": [importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")],
        "device": [device.platform, device.device_kind, device.client.platform_version],
        "processor": [platform.machine(), os.cpu_count(), _processor()],
        "settings": [settings, os.environ.get("XLA_FLAGS"), os.environ.get("LIBTPU_INIT_ARGS")],
    }


def _processor() -> list[str]:
    """What the processor can do, where the system tells: code for one with more instructions fails on another."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.processor()]
    return sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
