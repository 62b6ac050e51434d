"""What a project's description and its masks are made of: objects, ids, and `project.json`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file

FORMAT = 1
MOST_OBJECTS = 16
LONGEST_NAME = 60
COLOURS = (
    *("#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#911eb4", "#42d4f4", "#f032e6"),
    *("#bfef45", "#fabed4", "#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3"),
)
"""Of new objects, in this order: far from each other, also for most who see fewer colours."""
Labels = UInt8[np.ndarray, "height width"]


@dataclasses.dataclass
class StudioObject:
    """One object of a project.

    Attributes:
        id: its value in masks, 1 to 254.
        name: for people.
        colour: as it is drawn, "#rrggbb"; palette files keep the palette's.
        hidden: not drawn on the page.
        locked: kept as it is by the page's tools.
    """

    id: int
    name: str
    colour: str
    hidden: bool = False
    locked: bool = False


def ids_of(labels: UInt8[np.ndarray, "..."]) -> list[int]:
    """Ids that occur, ascending."""
    return [int(value) for value in np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256)) if value]


def areas_of(labels: Labels) -> dict[int, int]:
    """Pixels of every id that occurs."""
    counts = np.bincount(labels.reshape(-1), minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts) if value}


def is_project(folder: str | Path) -> bool:
    """Whether a folder holds a project."""
    return (Path(folder) / "project.json").is_file()


def checked_name(name: Any) -> str:
    """An object's name without needless spaces; raises `InputError` where it cannot be one."""
    text = " ".join(str(name).split())
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
        raise InputError(f"a name has 1 to {LONGEST_NAME} letters")
    return text


def read_description(folder: Path) -> dict[str, Any]:
    """What `project.json` holds; raises `InputError` where there is none, or a damaged one."""
    file = folder / "project.json"
    if not file.is_file():
        raise InputError(f"{folder} holds no project: give a video to make one")
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        missing = {"format", "name", "source", "frames", "size", "checkpoint", "objects"} - set(description)
        if missing or description["format"] != FORMAT:
            raise ValueError("its format is not known here")
        objects_of(description)
        return description
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged ({error}): restore it, or choose another --out") from error


def objects_of(description: dict[str, Any]) -> list[StudioObject]:
    """The objects that a description lists.

    Raises:
        TypeError: a field is missing, unknown or of another type.
        ValueError: an id is taken twice, or not from 1 to 254.
    """
    objects = [StudioObject(**values) for values in description["objects"]]
    for entry in objects:
        for field in dataclasses.fields(entry):
            if type(value := getattr(entry, field.name)) is not field.type:
                raise TypeError(f"an object's {field.name} is {value!r}")
    ids = [entry.id for entry in objects]
    if len(set(ids)) < len(ids) or not all(1 <= id <= 254 for id in ids):
        raise ValueError(f"the ids {ids} are not different ones from 1 to 254")
    return objects


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Writes `project.json`; it appears complete or not at all."""
    with atomic_file(folder / "project.json") as temporary:
        temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
