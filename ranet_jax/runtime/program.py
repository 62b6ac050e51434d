"""Portable programs: a tracker in one file, run with JAX alone; `ranet_jax.runtime.export` writes them.

    FILE (a zip)
        program.json         {"format": 2, "checkpoint": ..., "config": {...}, "card": {...}, "jax": ..., ...}
        init.bin, step.bin, annotate.bin   `jax.export` artefacts (StableHLO)
        weights/NAME.npy     one array each, float16 where that holds every value, else float32

The functions are those of `ranet_jax.runtime.functions`. Neither Flax nor `ranet_jax.networks` is imported or needed.
"""

import io
import json
import pathlib
import zipfile
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from ranet_jax.errors import InputError
from ranet_jax.runtime.functions import DONATED, FUNCTIONS, FunctionTracker

FORMAT = 2
DESCRIPTION, WEIGHTS = "program.json", "weights/"


class Program(NamedTuple):
    """A program ready to run.

    Attributes:
        path: of its file.
        description: what program.json says: checkpoint, config, card, versions.
        variables: float32 NumPy arrays by name.
        tracker: runs it.
    """

    path: pathlib.Path
    description: dict[str, Any]
    variables: dict[str, np.ndarray]
    tracker: FunctionTracker

    def tracker_for(self, frame_size: tuple[int, int], objects: int) -> FunctionTracker:
        """The tracker, if it is one for such a video.

        Args:
            frame_size: height and width of the frames.
            objects: how many there are.

        Raises:
            InputError: the frames have another size, or the program has no room for so many objects.
        """
        (height, width), room = self.tracker.frame_size, self.tracker.objects
        if frame_size != (height, width):
            raise InputError(
                f"{self.path}: this program is for video of size {height}x{width} (height x width) and this one is"
                f" {frame_size[0]}x{frame_size[1]}: export one with --size {frame_size[0]}x{frame_size[1]}"
            )
        if objects > room:
            raise InputError(
                f"{self.path}: this program has room for {room} object{'s' if room > 1 else ''} and the masks have"
                f" {objects}: export one with --objects {objects}"
            )
        return self.tracker


def load_program(path: str | pathlib.Path) -> Program:
    """Opens a program's file.

    Args:
        path: what `ranet_jax.runtime.export.export_program` wrote.

    Raises:
        InputError: there is no such file; it is no program, damaged or cut off, of a JAX too far from this one, or
            not for this machine's platform.
    """
    path = pathlib.Path(path)
    description, serialised, variables = _read(path)
    exported = {
        name: _deserialise(path, function, description) for name, function in zip(FUNCTIONS, serialised, strict=True)
    }
    init, step = exported["init"], exported["step"]
    platform = export.default_export_platform()
    if platform not in step.platforms:
        raise InputError(
            f"{path}: this program is for {', '.join(step.platforms)} and this machine computes on {platform}:"
            " set JAX_PLATFORMS=cpu to run it on the CPU"
        )
    weights, frame_size, objects = _signature(path, init)
    found = {name: array.shape for name, array in variables.items()}
    if found != weights:
        wrong = sorted(name for name in found.keys() | weights.keys() if found.get(name) != weights.get(name))
        raise InputError(f"{path}: damaged (the weights {wrong[0]} do not fit the program); copy or export it again")
    functions = (jax.jit(function.call, donate_argnums=DONATED[name]) for name, function in exported.items())
    tracker = FunctionTracker(frame_size, objects, *functions)
    return Program(path, description, variables, tracker)


def is_program(path: pathlib.Path) -> bool:
    """Whether a file looks like a program, whole or not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return DESCRIPTION in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _read(path: pathlib.Path) -> tuple[dict[str, Any], list[bytes], dict[str, np.ndarray]]:
    """Description, the serialised functions and the weights; the zip's checksums find damage."""
    if not path.exists():
        raise InputError(f"{path}: no such program; write one with `ranet-jax export`")
    if path.is_dir():
        raise InputError(f"{path}: a folder and not a program; checkpoint folders are for --checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            if DESCRIPTION not in archive.namelist():
                raise InputError(f"{path}: not a program of ranet-jax; write one with `ranet-jax export`")
            description = json.loads(archive.read(DESCRIPTION))
            if description["format"] != FORMAT:
                raise InputError(
                    f"{path}: format {description['format']} is not known here; update ranet-jax or export it again"
                )
            variables = {
                name.removeprefix(WEIGHTS).removesuffix(".npy"): _read_array(archive.read(name))
                for name in archive.namelist()
                if name.startswith(WEIGHTS)
            }
            return description, [archive.read(f"{name}.bin") for name in FUNCTIONS], variables
    except InputError:
        raise
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: not a program, or damaged or cut off ({error}); copy or export it again") from error
    except Exception as error:  # whatever the zip, its members' compression, NumPy and JSON make of wrong bytes
        raise InputError(f"{path}: damaged ({_first_line(error)}); copy or export it again") from error


def _read_array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False).astype(np.float32)


def _deserialise(path: pathlib.Path, function: bytes, description: dict[str, Any]) -> export.Exported:
    try:
        return export.deserialize(bytearray(function))
    except Exception as error:
        raise InputError(
            f"{path}: written by JAX {description.get('jax')}, which JAX {jax.__version__} cannot read"
            f" ({_first_line(error)}); export it again with a JAX not newer and at most 6 months older"
        ) from error


def _signature(path: pathlib.Path, init: export.Exported) -> tuple[dict[str, Any], tuple[int, int], int]:
    """What `init` takes: shapes of the weights by name, height and width of the frames, and how many objects."""
    try:
        (weights, frame, _, ids), _ = jax.tree.unflatten(init.in_tree, init.in_avals)
        height, width, _ = frame.shape
        return {name: weight.shape for name, weight in weights.items()}, (height, width), ids.shape[0]
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged (init takes other arguments); copy or export it again") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:100]
