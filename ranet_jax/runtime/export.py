"""Writes a tracker with its weights as a portable program; `ranet_jax.runtime.program` says what is in the file."""

import contextlib
import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import export

from ranet_jax import __version__
from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.nn import compute_dtype
from ranet_jax.runtime.functions import FUNCTIONS, plain_functions
from ranet_jax.runtime.program import DESCRIPTION, FORMAT, WEIGHTS, is_program
from ranet_jax.stored import flat_names
from ranet_jax.tracker import Tracker
from ranet_jax.tracker.objects import object_bucket
from ranet_jax.tracker.references import reference_bucket
from ranet_jax.weights import Checkpoint

PLATFORMS = ("cpu", "cuda", "tpu")


def export_program(
    checkpoint: Checkpoint,
    path: str | pathlib.Path,
    frame_size: tuple[int, int],
    *,
    objects: int = 1,
    references: int = 1,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Writes one file that tracks objects in video of one size, on a CPU, a CUDA GPU or a TPU.

    The compute dtype is decided here: a program has no "auto". The file appears, or replaces an older program, only
    when it is whole.

    Args:
        checkpoint: the network.
        path: of the file.
        frame_size: height and width of the frames, any.
        objects: the most there may be; the program has room for the next of 1 to 8, 10, 12, 14, 16.
        references: frames with masks that it remembers; room for the next of 1, 2, 4, 8. Further ones push out older
            ones.
        dtype: "float32" or "bfloat16", which computes in it; by default what the checkpoint's config means on this
            machine.

    Returns:
        The program's description, as the file has it.

    Raises:
        InputError: the number of objects is not from 1 to 16, a side of the frames is not positive, or the file cannot
            be written or is one that is no program.
    """
    path = pathlib.Path(path)
    room = object_bucket(objects)
    if min(frame_size) < 1:
        raise InputError(f"frames of size {frame_size[0]}x{frame_size[1]} are not possible: give positive numbers")
    if path.is_file() and not is_program(path):
        raise InputError(f"{path}: exists and is not a program, so it is kept: choose another file")
    config = dataclasses.replace(checkpoint.config, dtype=dtype or compute_dtype(checkpoint.config.dtype).name)
    description = _description(checkpoint, config, frame_size, room, reference_bucket(references))
    with atomic_file(path) as temporary:
        tracker = Tracker(config, checkpoint.tracker, frame_size)
        functions = _exported(tracker, checkpoint.variables, room, reference_bucket(references))
        description["calling_convention"] = functions["step"].calling_convention_version
        with zipfile.ZipFile(temporary, "w") as archive:
            _write(archive, DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())
            for name in FUNCTIONS:
                _write(archive, f"{name}.bin", functions[name].serialize())
            for name, array in flat_names(checkpoint.variables).items():
                _write(archive, f"{WEIGHTS}{name}.npy", _array_bytes(array))
    return description


def _description(
    checkpoint: Checkpoint, config: Any, frame_size: tuple[int, int], objects: int, references: int
) -> dict[str, Any]:
    """What program.json says, but for what only the exported functions know."""
    return {
        "format": FORMAT,
        "network": config.NETWORK,
        "checkpoint": pathlib.Path(checkpoint.name).name,  # the folder above it is nobody's business
        "frame_size": list(frame_size),
        "objects": objects,
        "references": references,
        "platforms": list(PLATFORMS),
        "config": config.to_dict(),
        "tracker": checkpoint.tracker.to_dict(),
        "card": checkpoint.card,
        "ranet_jax": __version__,
        "jax": jax.__version__,
    }


def _exported(tracker: Tracker, variables: Any, objects: int, references: int) -> dict[str, export.Exported]:
    """Every function of a program; nothing is computed."""
    functions = plain_functions(tracker, variables, objects, references)
    with _no_source_locations():
        return {
            name: export.export(jax.jit(plain.function), platforms=PLATFORMS)(*plain.arguments)
            for name, plain in functions.items()
        }


@contextlib.contextmanager
def _no_source_locations() -> Iterator[None]:
    """JAX would write the paths of this machine's source files into the program."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _array_bytes(array: Any) -> bytes:
    """A .npy file of float32 values, as float16 where that is the same."""
    array = np.asarray(array)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    data = io.BytesIO()
    np.save(data, half if np.array_equal(half.astype(array.dtype), array) else array)
    return data.getvalue()


def _write(archive: zipfile.ZipFile, name: str, data: bytes | bytearray) -> None:
    # A ZipInfo of its own has a fixed date: the same program is the same file.
    archive.writestr(zipfile.ZipInfo(name), bytes(data), zipfile.ZIP_DEFLATED)
