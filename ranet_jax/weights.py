"""Checkpoints for inference: a network ready to run, from a folder and back (`ranet_jax.stored` says what is in it).

Training checkpoints (optimizer, data position) are another thing: `ranet_jax.training.checkpoint`.
"""

import hashlib
import json
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.digests import digests
from ranet_jax.io.tensors import digest_of_tensors, write_tensors
from ranet_jax.networks import NetworkConfig, config_from_dict, network
from ranet_jax.stored import (
    ARRAYS,
    DEFAULTS,
    EMBEDDED,
    FILE_SUFFIX,
    FORMAT,
    VARIABLES,
    StoredCheckpoint,
    embedded_names,
    flat_names,
    nested,
    read_chosen,
    read_description,
    read_stored,
    write_file,
)
from ranet_jax.tracker import Tracker, TrackerConfig
from ranet_jax.tracker.step import check_hints
from ranet_jax.upgrade import upgraded

__all__ = [
    "DEFAULTS",
    "EMBEDDED",
    "Checkpoint",
    "checkpoint_of",
    "embedded_names",
    "expected_variables",
    "initial_variables",
    "load_checkpoint",
    "open_checkpoint",
    "read_card",
    "save_checkpoint",
]


class Checkpoint(NamedTuple):
    """A network ready to run.

    Attributes:
        name: as it was asked for.
        config: of the network, a `RANetConfig` or an `MRNetConfig`.
        tracker: how it is made to track.
        variables: float32 NumPy arrays, by collection.
        card: what its maker wrote down: data, licence, steps, results; empty if nothing.
    """

    name: str
    config: Any
    tracker: TrackerConfig
    variables: dict[str, Any]
    card: dict[str, Any]

    def tracker_for(self, frame_size: tuple[int, int]) -> Tracker:
        """What tracks in frames of a size (height, width) with these weights."""
        return Tracker(self.config, self.tracker, frame_size)

    def track(self, frames: Iterable[np.ndarray], masks: Mapping[int, np.ndarray] | np.ndarray) -> Iterator[np.ndarray]:
        """Label maps of a video's frames, one by one.

        Args:
            frames: uint8 RGB arrays (height, width, 3) of one size.
            masks: by number of the frame, from 0, its label map, uint8 (height, width): 0 background, any other value
                an object. One alone is the first frame's. Frames before the first mask show nothing.

        Yields:
            For every frame its uint8 label map (height, width).

        Raises:
            InputError: a frame or a mask is of another type or size, or there are more than 16 objects.

        Examples:
            >>> frames = np.zeros((3, 48, 80, 3), np.uint8)
            >>> mask = np.zeros((48, 80), np.uint8)
            >>> mask[10:30, 20:50] = 1
            >>> for label_map in load_checkpoint("lite").track(frames, {0: mask}):
            ...     print(label_map.shape, label_map.dtype)
            (48, 80) uint8
            (48, 80) uint8
            (48, 80) uint8
        """
        given = masks if isinstance(masks, Mapping) else {0: masks}
        variables, state, tracker = jax.device_put(self.variables), None, None
        for number, frame in enumerate(frames):
            if tracker is None:
                tracker = self.tracker_for(np.shape(frame)[:2])
            if number not in given:
                label_map: Any = np.zeros(frame.shape[:2], np.uint8)
                if state is not None:
                    state, label_map, _ = tracker.step(variables, state, frame)
            elif state is None:
                label_map = given[number]
                state = tracker.init(variables, frame, label_map)
            else:
                state, label_map, _ = tracker.annotate(variables, state, frame, given[number])
            yield np.asarray(label_map)


def initial_variables(config: NetworkConfig, seed: int = 0) -> dict[str, Any]:
    """Untrained float32 NumPy variables, distributed as the network's `init` draws them.

    Drawn with NumPy: compiling JAX's random bits for hundreds of shapes takes a CPU half a minute, this a second.
    """
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if path[1].key == "mask_stem":
            return np.zeros(leaf.shape, np.float32)
        if name in ("kernel", "stem", "depthwise"):
            # He et al. 2015; a depthwise filter (k, k, channels) sees k * k inputs.
            inputs = math.prod(leaf.shape[:2] if name == "depthwise" else leaf.shape[:-1])
            return (rng.standard_normal(leaf.shape) * math.sqrt(2.0 / inputs)).astype(np.float32)
        return np.full(leaf.shape, 1.0 if name in ("scale", "variance") else 0.0, np.float32)

    return jax.tree_util.tree_map_with_path(draw, expected_variables(config))


def expected_variables(config: NetworkConfig) -> Any:
    """Shapes and dtypes of a network's variables; nothing is computed."""
    return jax.eval_shape(network(config).init, jax.random.key(0), *_dummy_inputs(config))


def _dummy_inputs(config: NetworkConfig) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((1, *config.input_size, 3)), jnp.zeros((1, *config.input_size, 1))


def save_checkpoint(
    path: str | os.PathLike[str],
    config: NetworkConfig,
    tracker: TrackerConfig,
    variables: Any,
    *,
    card: dict[str, Any] | None = None,
    dtype: Any = np.float32,
) -> None:
    """Writes a checkpoint; it appears, or replaces an older one, only when it is whole.

    Args:
        path: of a folder; or of one file, if it ends in ".safetensors".
        config: of the network.
        tracker: how it is made to track.
        variables: its variables, arrays of JAX or NumPy.
        card: anything JSON can hold that tells where the weights come from.
        dtype: stored dtype of every array; bfloat16 halves the size and loads as float32 again.

    Raises:
        InputError: it cannot be written, or something that is no checkpoint lies there.
    """
    path = pathlib.Path(path)
    arrays = jax.tree.map(lambda x: np.asarray(x).astype(dtype), dict(variables))
    description = {
        "format": FORMAT,
        "model": config.NETWORK,
        "config": config.to_dict(),
        "tracker": tracker.to_dict(),
        "card": card or {},
        "fits": None if _misfits(config, arrays) else _config_digest(config),
    }
    if path.suffix == FILE_SUFFIX:
        flat = flat_names(arrays)
        write_file(path, _signed({**description, "arrays": digest_of_tensors(flat)}), flat)
    else:
        _write_folder(path, description, flat_names(arrays))


def _write_folder(path: pathlib.Path, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(f"{path}: exists and is not a checkpoint; choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder you may write to") from error
    try:
        whole = temporary / "checkpoint"
        (whole / ARRAYS).mkdir(parents=True)
        write_tensors(whole / ARRAYS / VARIABLES, arrays)
        description = _signed({**description, "files": digests(whole / ARRAYS)})
        (whole / "config.json").write_text(json.dumps(description, indent=2) + "\n")
        if path.exists():
            # A folder cannot be replaced in one step: the old one makes way whole, and goes with the temporary one.
            path.rename(temporary / "replaced")
        whole.rename(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); free some space or choose another") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_checkpoint(name_or_path: str | None, model: str | None) -> Checkpoint:
    """What a command is asked for, see `ranet_jax.stored.read_chosen`.

    Raises:
        InputError: see `load_checkpoint`; or the checkpoint is of another network.
    """
    return checkpoint_of(read_chosen(name_or_path, model))


def load_checkpoint(name_or_path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a checkpoint by the name of an embedded one, by its folder, or by its file.

    Raises:
        InputError: there is no such checkpoint; it is cut off or damaged; its config does not fit its arrays.
    """
    return checkpoint_of(read_stored(name_or_path))


def checkpoint_of(stored: StoredCheckpoint) -> Checkpoint:
    """The network of a checkpoint folder that has been read.

    Raises:
        InputError: its config has unknown fields or wrong values, or does not fit its arrays.
    """
    config, tracker, fits = _configs(stored.path, stored.description)
    variables = nested(stored.variables)
    # What was compared when it was saved is not compared again: tracing the network takes seconds.
    if fits != _config_digest(config) and (wrong := _misfits(config, variables)):
        raise InputError(
            f"{stored.path}: the config does not fit the arrays ({len(wrong)} differ, the first is {wrong[0]});"
            " restore the config the weights were saved with"
        )
    return Checkpoint(stored.name, config, tracker, variables, stored.card)


def read_card(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint's maker wrote down; its arrays are not read.

    Args:
        name_or_path: see `load_checkpoint`.

    Raises:
        InputError: there is no such checkpoint, or its description is damaged.
    """
    path, description = read_description(name_or_path)
    _configs(path, description)
    card: dict[str, Any] = description.get("card", {})
    return card


def _configs(path: pathlib.Path, description: dict[str, Any]) -> tuple[NetworkConfig, TrackerConfig, str | None]:
    """Both configs of a checkpoint's description, and the digest of the config that fits the arrays."""
    changed = "digest" in description and description["digest"] != _description_digest(description)
    if description["format"] == 1:
        description = upgraded(description)
    config = config_from_dict(description["model"], description["config"])
    tracker = TrackerConfig.from_dict(description["tracker"])
    check_hints(config, tracker)
    if changed:  # last: what is wrong with a field says more
        raise InputError(
            f"{path if path.is_file() else path / 'config.json'}: damaged, or changed since it was saved: copy it"
            ' again, or take out its entry "digest" if the change is meant'
        )
    return config, tracker, description.get("fits")


def _config_digest(config: NetworkConfig) -> str:
    """SHA-256 of a config's network and fields."""
    return _json_digest([config.NETWORK, config.to_dict()])


def _signed(description: dict[str, Any]) -> dict[str, Any]:
    return {**description, "digest": _description_digest(description)}


def _description_digest(description: dict[str, Any]) -> str:
    """SHA-256 of what config.json holds beside its own digest."""
    return _json_digest({name: value for name, value in description.items() if name != "digest"})


def _json_digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _misfits(config: NetworkConfig, variables: Any) -> list[str]:
    """Paths of the variables that a config's network has in another shape, or only one of the two has."""
    expected, stored = (
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (expected_variables(config), variables)
    )
    return sorted(key for key in expected.keys() | stored.keys() if expected.get(key) != stored.get(key))
