"""Checkpoints for inference: a folder with Orbax arrays and the configuration beside them, so that a path is enough.

    CHECKPOINT/
        config.json     {"format": 2, "model": "ranet" or "mrnet", "config": {...}, "tracker": {...}, "card": {...},
                         "files": {...}, "fits": digest of the config that the arrays were found to fit,
                         "digest": of all that}
        arrays/         the variables, written by Orbax

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
import orbax.checkpoint as ocp

from ranet_jax.errors import InputError
from ranet_jax.io.digests import damaged_files, digests
from ranet_jax.networks import NetworkConfig, config_from_dict, network
from ranet_jax.tracker import Tracker, TrackerConfig
from ranet_jax.tracker.step import check_hints
from ranet_jax.upgrade import upgraded

FORMAT = 2
DEFAULTS = {"ranet": "lite", "mrnet": "mrnet-lite"}
"""The embedded checkpoint of each network that commands use unless told otherwise; RANet's comes first."""
EMBEDDED = pathlib.Path(__file__).parent / "checkpoints"


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


def embedded_names() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/config.json"))


def save_checkpoint(
    path: str | os.PathLike[str],
    config: NetworkConfig,
    tracker: TrackerConfig,
    variables: Any,
    *,
    card: dict[str, Any] | None = None,
    dtype: Any = np.float32,
) -> None:
    """Writes a checkpoint folder; it appears, or replaces an older one, only when it is whole.

    Args:
        path: the folder.
        config: of the network.
        tracker: how it is made to track.
        variables: its variables, arrays of JAX or NumPy.
        card: anything JSON can hold that tells where the weights come from.
        dtype: stored dtype of every array; bfloat16 halves the size and loads as float32 again.

    Raises:
        InputError: the folder cannot be written, or holds something that is not a checkpoint.
    """
    path = pathlib.Path(path)
    if path.exists() and not (path / "config.json").is_file():
        raise InputError(f"{path}: exists and is not a checkpoint; choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder you may write to") from error
    try:
        whole = temporary / "checkpoint"
        arrays = jax.tree.map(lambda x: np.asarray(x).astype(dtype), dict(variables))
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save((whole / "arrays").absolute(), arrays)
        marker = whole / "arrays" / "commit_success.txt"
        if marker.exists():
            # Its presence is what counts; Orbax writes the path it saved to into it, which is nobody's business.
            marker.write_text("complete\n")
        description = {
            "format": FORMAT,
            "model": config.NETWORK,
            "config": config.to_dict(),
            "tracker": tracker.to_dict(),
            "card": card or {},
            "files": digests(whole / "arrays"),
            "fits": None if _misfits(config, arrays) else _config_digest(config),
        }
        description["digest"] = _description_digest(description)
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
    """What a command is asked for: a checkpoint, or a network's shipped one, or both, which then must agree.

    Args:
        name_or_path: see `load_checkpoint`; None for the shipped one.
        model: a key of `DEFAULTS`; None for whatever the checkpoint is of, and RANet without one.

    Raises:
        InputError: see `load_checkpoint`; or the checkpoint is of another network.
    """
    checkpoint = load_checkpoint(name_or_path or DEFAULTS[model or next(iter(DEFAULTS))])
    if model not in (None, checkpoint.config.NETWORK):
        raise InputError(
            f"{name_or_path}: this checkpoint is of {checkpoint.config.NETWORK}, not of {model}: give one of {model}"
        )
    return checkpoint


def load_checkpoint(name_or_path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a checkpoint by the name of an embedded one, or by its folder.

    Raises:
        InputError: there is no such checkpoint; it is cut off or damaged; its config does not fit its arrays.
    """
    name, path = os.fspath(name_or_path), _folder(name_or_path)
    config, tracker, card, files, fits = _read_description(path)
    arrays = path / "arrays"
    if damaged := damaged_files(arrays, files):
        # Found here rather than by Orbax, which leaves half-done reads behind that complain on their own.
        raise InputError(f"{path}: the checkpoint is damaged or cut off ({damaged[0]}); copy or save it again")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            restored = checkpointer.restore(arrays.absolute())
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise InputError(f"{path}: the checkpoint is damaged or cut off ({reason}); copy or save it again") from error
    variables = jax.tree.map(lambda x: np.asarray(x).astype(np.float32), restored)
    # What was compared when it was saved is not compared again: tracing the network takes seconds.
    if fits != _config_digest(config) and (wrong := _misfits(config, variables)):
        raise InputError(
            f"{path}: config.json does not fit the arrays ({len(wrong)} differ, the first is {wrong[0]});"
            " restore the config the weights were saved with"
        )
    return Checkpoint(name, config, tracker, variables, card)


def read_card(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint's maker wrote down; its arrays are not read.

    Args:
        name_or_path: see `load_checkpoint`.

    Raises:
        InputError: there is no such checkpoint, or its description is damaged.
    """
    return _read_description(_folder(name_or_path))[2]


def _folder(name_or_path: str | os.PathLike[str]) -> pathlib.Path:
    name = os.fspath(name_or_path)
    return EMBEDDED / name if name in embedded_names() else pathlib.Path(name)


def _read_description(
    path: pathlib.Path,
) -> tuple[NetworkConfig, TrackerConfig, dict[str, Any], dict[str, str], str | None]:
    """Both configs, card, file digests, and digest of the config that fits, of a checkpoint folder."""
    file = path / "config.json"
    if not path.exists():
        names = ", ".join(embedded_names())
        raise InputError(f"{path}: no such checkpoint; give its folder, or one of the embedded names: {names}")
    if not file.is_file():
        hint = "; make one of it with `ranet-jax convert`" if path.suffix == ".pth" else ""
        raise InputError(f"{path}: not a checkpoint folder (it has no config.json){hint}")
    try:
        description = json.loads(file.read_text())
        changed = "digest" in description and description["digest"] != _description_digest(description)
        stored, values, files = description["format"], description["config"], description["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}); copy or save the checkpoint again") from error
    if stored == 1:
        description = upgraded(description)
        values = description["config"]
    elif stored != FORMAT:
        raise InputError(f"{file}: format {stored} is not known here; update ranet-jax or save the checkpoint again")
    config = config_from_dict(description["model"], values)
    tracker = TrackerConfig.from_dict(description["tracker"])
    check_hints(config, tracker)
    if changed:  # last: what is wrong with a field says more
        raise InputError(
            f"{file}: damaged, or changed since it was saved: copy it again, or take out its line"
            ' "digest" if the change is meant'
        )
    return config, tracker, description.get("card", {}), files, description.get("fits")


def _config_digest(config: NetworkConfig) -> str:
    """SHA-256 of a config's network and fields."""
    return _json_digest([config.NETWORK, config.to_dict()])


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
