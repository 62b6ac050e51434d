"""Portable programs: a tracker in one file, run with JAX alone; `ranet_jax.runtime.export` writes them.

    FILE (a zip)
        program.json         {"format": 2, "checkpoint": ..., "config": {...}, "card": {...}, "jax": ..., ...}
        init.bin, step.bin, annotate.bin   `jax.export` artefacts (StableHLO)
        weights/NAME.npy     one array each, float16 where that holds every value, else float32

The functions take and return dictionaries of arrays; h w is the frames' size, n the most objects there may be:

    init(weights float32, frame uint8 (h, w, 3), label_map uint8 (h, w), ids uint8 (n,)) -> state
    step(weights, state, frame) -> (state, label_map uint8 (h, w), probability float32 (h, w, n))
    annotate(weights, state, frame, label_map) -> as step, for a frame with masks; state["ids"] names all of them

Neither Flax nor `ranet_jax.networks` is imported here or needed.
"""

import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export
from jaxtyping import Array, Float, UInt8

from ranet_jax.errors import InputError
from ranet_jax.tracker.objects import check_frame, check_labels, object_ids, padded_ids

FORMAT = 2
DESCRIPTION, WEIGHTS = "program.json", "weights/"
FUNCTIONS = ("init", "step", "annotate")

State = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ProgramTracker:
    """Tracks with a program's functions; see `ranet_jax.runtime.stream.Tracker`.

    Attributes:
        frame_size: height and width of the frames.
        objects: the most there may be.
        start: the compiled `init`.
        advance: the compiled `step`; donates the state.
        correct: the compiled `annotate`; donates the state.
    """

    frame_size: tuple[int, int]
    objects: int
    start: Callable[..., State]
    advance: Callable[..., tuple[State, jax.Array, jax.Array]]
    correct: Callable[..., tuple[State, jax.Array, jax.Array]]

    def init(
        self,
        variables: dict[str, Any],
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
        *,
        objects: Iterable[int] = (),
        references: int = 1,
    ) -> State:
        """State after the first frame.

        Args:
            variables: the program's.
            frame: the first frame, RGB.
            label_map: its objects: 0 background, any other value an object.
            objects: ids that are given later.
            references: frames whose masks are given; a program has the room for them that it was exported with.

        Raises:
            InputError: the frame or the mask is not of `frame_size`, or there is no object, or too many.
        """
        given = self._given(frame, label_map)
        everyone = [*given, *(value for value in dict.fromkeys(objects) if value not in given)]
        return self.start(variables, frame, label_map, padded_ids(everyone, self.objects))

    def annotate(
        self,
        variables: dict[str, Any],
        state: State,
        frame: UInt8[np.ndarray | Array, "h w 3"],
        label_map: UInt8[np.ndarray | Array, "mask_h mask_w"],
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame, for which masks are given; see `ranet_jax.tracker.Tracker.annotate`."""
        given = self._given(frame, label_map)
        known = [int(value) for value in np.asarray(state["ids"]) if value]
        ids = padded_ids([*known, *(value for value in given if value not in known)], self.objects)
        return self.correct(variables, state | {"ids": jax.numpy.asarray(ids)}, frame, label_map)

    def _given(self, frame: Any, label_map: Any) -> list[int]:
        check_frame(frame, self.frame_size)
        check_labels(label_map, self.frame_size)
        return object_ids(np.asarray(label_map))

    def step(
        self, variables: dict[str, Any], state: State, frame: UInt8[np.ndarray | Array, "h w 3"]
    ) -> tuple[State, UInt8[Array, "h w"], Float[Array, "h w n"]]:
        """Segments the next frame.

        Args:
            variables: the program's.
            state: after the frame before; donated.
            frame: RGB, of `frame_size`.

        Returns:
            The new state, the label map in the ids of the first one, and the probability of each object slot.
        """
        return self.advance(variables, state, frame)


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
    tracker: ProgramTracker

    def tracker_for(self, frame_size: tuple[int, int], objects: int) -> ProgramTracker:
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
    description, functions, variables = _read(path)
    init, step, annotate = (_deserialise(path, function, description) for function in functions)
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
    donating = lambda function: jax.jit(function.call, donate_argnums=1)
    tracker = ProgramTracker(frame_size, objects, jax.jit(init.call), donating(step), donating(annotate))
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
