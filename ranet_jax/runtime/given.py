"""The masks that a user gives for frames of a video: one file, some by frame number, or a folder named like frames."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.folders import frame_files, pair_by_name
from ranet_jax.io.masks import read_mask
from ranet_jax.tracker.objects import object_ids, padded_ids

TINY_PIXELS = 64
"""Objects of fewer pixels are easily lost: the user is told."""
THIN = 60
"""Objects that are so many times as long as they are thick come out several times as thick: the box that the network
sees holds all of their length, and at its resolution they are a line of two or three pixels."""


@dataclasses.dataclass(frozen=True)
class GivenMasks(Mapping[int, np.ndarray]):
    """Label maps by number of the frame, from 0, read from their files whenever they are asked for.

    `drawn` ones are of no file, and stand in for one.

    Attributes:
        paths: of the files, by number of the frame.
        size: height and width of the frames.
        first_frames: by id of every object, ascending, the number of the first frame whose mask has it.
        notes: what the user should know, a line each.
    """

    paths: Mapping[int, Path]
    size: tuple[int, int]
    first_frames: Mapping[int, int]
    notes: tuple[str, ...]
    drawn: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def __getitem__(self, number: int) -> UInt8[np.ndarray, "height width"]:
        if number in self.drawn:
            return self.drawn[number]
        return read_mask(self.paths[number], self.size).labels

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({*self.paths, *self.drawn}))

    def __len__(self) -> int:
        return len({*self.paths, *self.drawn})

    @property
    def ids(self) -> list[int]:
        """All objects, in the order in which trackers have them: that in which they appear, then by number."""
        return sorted(self.first_frames, key=lambda value: (self.first_frames[value], value))

    def with_drawn(self, labels: UInt8[np.ndarray, "height width"]) -> "GivenMasks":
        """The same with a label map for frame 0, which has all objects that the one given there has.

        Raises:
            InputError: there are more than 16 objects.
        """
        first_frames = {**self.first_frames, **dict.fromkeys(object_ids(labels), 0)}
        padded_ids(first_frames)
        return dataclasses.replace(self, drawn={0: labels}, first_frames=dict(sorted(first_frames.items())))

    def from_frame(self, start: int) -> "GivenMasks":
        """The masks of frames from `start` on, whose numbers are counted from there."""
        paths = {number - start: path for number, path in self.paths.items() if number >= start}
        first_frames = {value: number - start for value, number in self.first_frames.items()}
        drawn = {number - start: labels for number, labels in self.drawn.items() if number >= start}
        return dataclasses.replace(self, paths=paths, first_frames=first_frames, drawn=drawn)


def mask_paths(values: Sequence[str], source: str, *, first: int = 0, required: bool = True) -> dict[int, Path]:
    """Which file is the mask of which frame.

    Args:
        values: as given: `FILE`, the mask of frame `first`; `NUMBER=FILE`; or `FOLDER` of files named like frames.
        source: the video, or the folder of its frames, whose names a folder's masks have.
        first: number of the first frame that is segmented.
        required: whether there has to be one.

    Raises:
        InputError: there is no mask, a frame gets two, a file is missing, or a folder holds one whose name is no
            frame's.
    """
    files: list[tuple[int, Path]] = []
    folders: list[Path] = []
    for value in values:
        numbered = re.fullmatch(r"([0-9]+)=(.+)", value)
        if numbered and not Path(value).exists():
            files.append((int(numbered[1]), _existing(numbered[2], int(numbered[1]), source)))
        elif Path(value).is_dir():
            folders.append(Path(value))
        else:
            files.append((first, _existing(value, first, source)))
    # Masks that lie among the frames are no frames, so they do not count where frames are numbered.
    others = [path for _, path in files]
    found: dict[int, Path] = {}
    for number, path in (*files, *(pair for folder in folders for pair in _of_folder(folder, source, others))):
        if number in found:
            raise InputError(f"frame {number} has two masks, {found[number]} and {path}: give one")
        found[number] = path
    if required and not found:
        how = f"{_how_to_draw(source, first)}, and --mask gives it"
        raise InputError(f"there is no mask: {how}; or --point X,Y on the object")
    return dict(sorted(found.items()))


def _existing(text: str, number: int, source: str) -> Path:
    if "://" in text:
        read_mask(text)  # says what to do with addresses, which `Path` would change
    path = Path(text)
    if not path.exists():
        raise InputError(f"there is no mask {path}: check the path, or make one: {_how_to_draw(source, number)}")
    return path


def _how_to_draw(source: str, number: int) -> str:
    return f"`ranet-jax frame {source} {number} frame.png` writes the frame to draw it on"


def _of_folder(folder: Path, source: str, others: Sequence[Path]) -> list[tuple[int, Path]]:
    """By name: like the frames of a folder; of a video file, whose frames are called 00000, 00001, ..., by number."""
    if Path(source).is_dir() and folder.samefile(source):
        raise InputError(f"{folder} holds the frames: give the folder of their masks")
    masks = frame_files(folder).files
    if Path(source).is_dir():
        frames = frame_files(source, without=others).files
        pairing = pair_by_name(frames, masks)
        numbers = {frame: number for number, frame in enumerate(frames)}
        found = [(numbers[frame], mask) for frame, mask in pairing.pairs]
        strangers, names = pairing.masks, f"{frames[0].stem}, ..."
    else:
        is_number = re.compile("[0-9]+").fullmatch
        found = [(int(mask.stem), mask) for mask in masks if is_number(mask.stem)]
        strangers, names = tuple(mask for mask in masks if not is_number(mask.stem)), "00000, 00001, ..."
    if strangers:
        raise InputError(
            f"{folder}: {strangers[0].name} is named like no frame (they are called {names}):"
            " rename it after its frame, or leave it out"
        )
    return found


def open_masks(paths: Mapping[int, Path], size: tuple[int, int], source: str) -> GivenMasks:
    """Reads every mask once, so that nothing is computed where one does not fit.

    Args:
        paths: from `mask_paths`.
        size: height and width of the frames.
        source: the video, for messages.

    Raises:
        InputError: a mask cannot be read, is empty or does not fit, or they have more than 16 objects together.
    """
    first_frames: dict[int, int] = {}
    notes: list[str] = []
    for number, path in paths.items():
        mask = read_mask(path, size)
        notes += mask.notes
        if not mask.labels.any():
            raise InputError(
                f"{path}: the mask is empty: mark at least one object with a value other than 0;"
                f" {_how_to_draw(source, number)}"
            )
        try:
            found = object_ids(mask.labels)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        new = [value for value in found if value not in first_frames]
        notes += [f"{path}: {text}" for value in new if (text := _too_small(value, mask.labels == value))]
        first_frames = dict.fromkeys(found, number) | first_frames
    if first_frames:
        padded_ids(first_frames)
    return GivenMasks(paths, size, dict(sorted(first_frames.items())), tuple(notes))


def _too_small(value: int, marked: Bool[np.ndarray, "height width"]) -> str:
    """What the user should know of an object that the network hardly sees; empty of others."""
    pixels = int(marked.sum())
    if pixels < TINY_PIXELS:
        return f"object {value} has {pixels} pixels; of fewer than {TINY_PIXELS}, objects are easily lost"
    (top, bottom), (left, right) = (np.flatnonzero(marked.any(axis=axis))[[0, -1]] for axis in (1, 0))
    box = marked[top : bottom + 1, left : right + 1]
    least = max(box.shape) // THIN + 1
    if not _holds_a_square(box, least):
        return (
            f"object {value} is {max(box.shape)} pixels long and nowhere {least} thick:"
            " so thin an object comes out several times as thick"
        )
    return ""


def _holds_a_square(marked: Bool[np.ndarray, "height width"], side: int) -> bool:
    """Whether a square of so many pixels a side is marked all over."""
    total = np.pad(marked.astype(np.int32).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return bool(np.any(sums == side**2))
