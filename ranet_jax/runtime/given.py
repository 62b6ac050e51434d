"""The masks that a user gives for frames of a video: one file, some by frame number, or a folder named like frames."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.folders import frame_files, pair_by_name
from ranet_jax.io.masks import read_mask
from ranet_jax.tracker.objects import object_ids

TINY_PIXELS = 64
"""Objects of fewer pixels are easily lost: the user is told."""


@dataclasses.dataclass(frozen=True)
class GivenMasks(Mapping[int, np.ndarray]):
    """Label maps by number of the frame, from 0, read from their files whenever they are asked for.

    Attributes:
        paths: of the files, by number of the frame.
        size: height and width of the frames.
        ids: of all objects, ascending.
        notes: what the user should know, a line each.
    """

    paths: Mapping[int, Path]
    size: tuple[int, int]
    ids: tuple[int, ...]
    notes: tuple[str, ...]

    def __getitem__(self, number: int) -> UInt8[np.ndarray, "height width"]:
        return read_mask(self.paths[number], self.size).labels

    def __iter__(self) -> Iterator[int]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def from_frame(self, start: int) -> "GivenMasks":
        """The masks of frames from `start` on, whose numbers are counted from there."""
        paths = {number - start: path for number, path in self.paths.items() if number >= start}
        return dataclasses.replace(self, paths=paths)


def mask_paths(values: Sequence[str], source: str, *, first: int = 0) -> dict[int, Path]:
    """Which file is the mask of which frame.

    Args:
        values: as given: `FILE`, the mask of frame `first`; `NUMBER=FILE`; or `FOLDER` of files named like frames.
        source: the video, or the folder of its frames, whose names a folder's masks have.
        first: number of the first frame that is segmented.

    Raises:
        InputError: a frame gets two masks, a folder holds no mask of a frame.
    """
    found: dict[int, Path] = {}
    for value in values:
        numbered = re.fullmatch(r"(\d+)=(.+)", value)
        if numbered and not Path(value).exists():
            new = {int(numbered[1]): Path(numbered[2])}
        elif Path(value).is_dir():
            new = _of_folder(Path(value), source)
        else:
            new = {first: Path(value)}
        for number, path in new.items():
            if number in found:
                raise InputError(f"frame {number} has two masks, {found[number]} and {path}: give one")
            found[number] = path
    return dict(sorted(found.items()))


def _of_folder(folder: Path, source: str) -> dict[int, Path]:
    """By name: like the frames of a folder; of a video file, whose frames are called 00000, 00001, ..., by number."""
    masks = frame_files(folder).files
    if Path(source).is_dir():
        frames = frame_files(source).files
        pairing = pair_by_name(frames, masks)
        numbers = {frame: number for number, frame in enumerate(frames)}
        found = {numbers[frame]: mask for frame, mask in pairing.pairs}
        strangers = pairing.masks
    else:
        found = {int(mask.stem): mask for mask in masks if mask.stem.isdecimal()}
        strangers = tuple(mask for mask in masks if not mask.stem.isdecimal())
    if strangers or not found:
        named = f"{strangers[0].name} is named like none" if strangers else "it holds none"
        raise InputError(f"{folder}: masks are named like the frames they belong to, and {named}: rename or remove it")
    return found


def open_masks(paths: Mapping[int, Path], size: tuple[int, int]) -> GivenMasks:
    """Reads every mask once, so that nothing is computed where one does not fit.

    Args:
        paths: from `mask_paths`.
        size: height and width of the frames.

    Raises:
        InputError: a mask cannot be read, is empty or does not fit, or they have more than 16 objects together.
    """
    ids: set[int] = set()
    notes = []
    for path in paths.values():
        mask = read_mask(path, size)
        notes += [f"{path}: {note}" for note in mask.notes]
        try:
            found = object_ids(mask.labels)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        pixels = np.bincount(mask.labels.reshape(-1), minlength=256)
        notes += [
            f"{path}: object {value} has {pixels[value]} pixels; of fewer than {TINY_PIXELS}, objects are easily lost"
            for value in found
            if pixels[value] < TINY_PIXELS
        ]
        ids |= set(found)
    if len(ids) > 16:
        raise InputError(f"the masks have {len(ids)} objects together and 16 is the most: leave some out")
    return GivenMasks(paths, size, tuple(sorted(ids)), tuple(notes))
