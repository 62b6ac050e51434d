"""Checkpoints as they lie on disk, folders or single files; to read one, no network, Flax or Orbax is imported.

    CHECKPOINT/
        config.json     {"format": 3, "model": "ranet" or "mrnet", "config": {...}, "tracker": {...}, "card": {...},
                         "files": {...}, "fits": digest of the config that the arrays were found to fit,
                         "digest": of all that}
        arrays/         variables.safetensors, named by their paths (`ranet_jax.io.tensors`)

Formats 1 and 2 have arrays written by Orbax instead, which is imported for them.

The same in one file, NAME.safetensors: the entries of config.json are its metadata, as JSON under `ranet_jax.format`
and so on; in place of `files` is `arrays`, their digest.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.digests import damaged_files
from ranet_jax.io.tensors import digest_of_tensors, read_metadata, read_tensors, write_tensors

FORMAT = 3
OLDER_FORMATS = (1, 2)
DEFAULTS = {"ranet": "lite", "mrnet": "mrnet-lite"}
"""The embedded checkpoint of each network that commands use unless told otherwise; RANet's comes first."""
EMBEDDED = Path(__file__).parent / "checkpoints"
ARRAYS, VARIABLES = "arrays", "variables.safetensors"
FILE_SUFFIX = ".safetensors"
"""Of checkpoints that are one file."""
_PREFIX = "ranet_jax."


class StoredCheckpoint(NamedTuple):
    """What a checkpoint folder holds, its configurations not yet looked into.

    Attributes:
        name: as it was asked for.
        path: of the folder or file.
        description: its config.json.
        variables: float32 arrays by path, such as "params/decoder/kernel".
    """

    name: str
    path: Path
    description: dict[str, Any]
    variables: dict[str, np.ndarray]

    @property
    def network(self) -> str:
        """Name of its network; the first checkpoints do not say it."""
        return str(self.description.get("model", "ranet"))

    @property
    def card(self) -> dict[str, Any]:
        """What its maker wrote down: data, licence, steps, results; empty if nothing."""
        card: dict[str, Any] = self.description.get("card", {})
        return card


def embedded_names() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/config.json"))


def read_stored(name_or_path: str | os.PathLike[str]) -> StoredCheckpoint:
    """Reads a checkpoint by the name of an embedded one, by its folder, or by its file.

    Raises:
        InputError: there is no such checkpoint, or it is cut off or damaged.
    """
    path, description = read_description(name_or_path)
    name = os.fspath(name_or_path)
    if path.is_file():
        found = read_tensors(path)
        if digest_of_tensors(found) != description["arrays"]:
            raise InputError(f"{path}: the checkpoint is damaged (its arrays were changed); copy or save it again")
        return StoredCheckpoint(name, path, description, _as_float32(found))
    arrays = path / ARRAYS
    if damaged := damaged_files(arrays, description["files"]):
        # Found here rather than by whatever reads the arrays, which may not notice.
        raise InputError(f"{path}: the checkpoint is damaged or cut off ({damaged[0]}); copy or save it again")
    stored = _read_orbax(path) if description["format"] in OLDER_FORMATS else read_tensors(arrays / VARIABLES)
    return StoredCheckpoint(name, path, description, _as_float32(stored))


def _as_float32(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def read_chosen(name_or_path: str | None, model: str | None) -> StoredCheckpoint:
    """What a command is asked for: a checkpoint, or a network's shipped one, or both, which then must agree.

    Args:
        name_or_path: see `read_stored`; None for the shipped one.
        model: a key of `DEFAULTS`; None for whatever the checkpoint is of, and RANet without one.

    Raises:
        InputError: see `read_stored`; or the checkpoint is of another network.
    """
    stored = read_stored(name_or_path or DEFAULTS[model or next(iter(DEFAULTS))])
    if model not in (None, stored.network):
        raise InputError(f"{name_or_path}: this checkpoint is of {stored.network}, not of {model}: give one of {model}")
    return stored


def read_description(name_or_path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """The folder or file of a checkpoint, and its description; the arrays are not read.

    Raises:
        InputError: there is no such checkpoint, its description is damaged or of an unknown format.
    """
    name = os.fspath(name_or_path)
    path = EMBEDDED / name if name in embedded_names() else Path(name)
    file = path / "config.json"
    if not path.exists():
        names = ", ".join(embedded_names())
        raise InputError(f"{path}: no such checkpoint; give its folder, or one of the embedded names: {names}")
    if path.suffix == FILE_SUFFIX and path.is_file():
        return path, read_file_description(path)
    if not file.is_file():
        hint = "; make one of it with `ranet-jax convert`" if path.suffix == ".pth" else ""
        raise InputError(f"{path}: not a checkpoint folder (it has no config.json){hint}")
    try:
        description = json.loads(file.read_text())
        stored, _, _ = description["format"], description["config"], description["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}); copy or save the checkpoint again") from error
    _require_known_format(file, stored, (*OLDER_FORMATS, FORMAT))
    return path, description


def _require_known_format(path: Path, found: object, known: tuple[int, ...]) -> None:
    if found not in known:
        raise InputError(f"{path}: format {found} is not known here; update ranet-jax or save the checkpoint again")


def read_file_description(path: Path) -> dict[str, Any]:
    """The description of a checkpoint that is one file.

    Raises:
        InputError: the file is damaged, or has no such description.
    """
    texts = {key.removeprefix(_PREFIX): text for key, text in read_metadata(path).items() if key.startswith(_PREFIX)}
    if not texts:
        raise InputError(
            f"{path}: holds arrays without a configuration of ranet-jax: give a file that `ranet-jax convert` wrote"
        )
    try:
        description = {key: json.loads(text) for key, text in texts.items()}
        stored, _, _ = description["format"], description["config"], description["arrays"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); copy or save the checkpoint again") from error
    _require_known_format(path, stored, (FORMAT,))
    return description


def write_file(path: Path, description: Mapping[str, Any], variables: Mapping[str, np.ndarray]) -> None:
    """Writes a checkpoint as one file, which appears, or replaces an older one, only when it is whole.

    Args:
        path: the file.
        description: as config.json has it, but for `arrays`, the arrays' digest, in place of `files`.
        variables: arrays by path, of a dtype in `ranet_jax.io.tensors.DTYPES`.

    Raises:
        InputError: the file cannot be written, or is one that is no checkpoint.
    """
    if path.is_file():
        try:
            read_file_description(path)
        except InputError as error:
            raise InputError(f"{path}: exists and is not a checkpoint, so it is kept: choose another file") from error
    with atomic_file(path) as temporary:
        write_tensors(
            temporary, variables, {f"{_PREFIX}{key}": json.dumps(value) for key, value in description.items()}
        )


def flat_names(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A tree of dictionaries as one dictionary, its leaves by their paths: "params/decoder/kernel"."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flat_names(value, f"{name}/") if isinstance(value, Mapping) else {name: value}
    return flat


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The tree that `flat_names` made one dictionary of."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree


def _read_orbax(path: Path) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    from ranet_jax.devices import use_device

    use_device()  # Orbax needs one, and without it says nothing of a damaged file
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            restored = checkpointer.restore((path / ARRAYS).absolute())
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise InputError(f"{path}: the checkpoint is damaged or cut off ({reason}); copy or save it again") from error
    return {name: np.asarray(array) for name, array in flat_names(restored).items()}
