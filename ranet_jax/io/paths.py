"""Whether outputs would replace inputs, or each other: to be asked before anything is computed."""

import os
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from ranet_jax.errors import InputError
from ranet_jax.io.folders import PICTURE_SUFFIXES

PathLike = str | os.PathLike[str]


def require_distinct(inputs: Mapping[str, PathLike | None], outputs: Mapping[str, PathLike | None]) -> None:
    """Refuses outputs that would replace an input or another output, or get among an input's frames.

    Files are compared as the file system knows them: through links, relative paths and other spellings. Refused are

    - an output that is an input, or another output;
    - an output folder that holds an input picture (the mask), which results could replace;
    - an output picture in an input folder, of which it would become a frame.

    Args:
        inputs: what is read, by what the user calls it ("the video", "--mask"); None and what does not exist are
            passed over.
        outputs: what will be written, by what the user calls it; files or folders, which need not exist yet.

    Raises:
        InputError: naming both.
    """
    read = {name: Path(path) for name, path in inputs.items() if path is not None and _exists(path)}
    written = {name: Path(path) for name, path in outputs.items() if path is not None}
    for out_name, out in written.items():
        for name, path in read.items():
            _require_distinct(name, path, out_name, out)
    for (first_name, first), (second_name, second) in combinations(written.items(), 2):
        if _is_same(first, second):
            raise InputError(f"{first_name} and {second_name} are both {first}: give two places")


def _require_distinct(name: str, path: Path, out_name: str, out: Path) -> None:
    if _is_same(path, out):
        raise InputError(f"{out_name} is {name} ({path}), which would be replaced: choose another place")
    places = {os.path.dirname(os.path.abspath(path)), os.path.dirname(os.path.realpath(path))}
    is_picture = path.suffix.lower() in PICTURE_SUFFIXES
    if out.is_dir() and path.is_file() and is_picture and any(_is_same(Path(place), out) for place in places):
        raise InputError(
            f"{out_name} {out} holds {name} ({path.name}), which results could replace: choose another folder"
        )
    out_is_picture = out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir()
    if path.is_dir() and out_is_picture and _is_same(Path(os.path.dirname(os.path.abspath(out))), path):
        raise InputError(f"{out_name} {out} would lie among the frames of {name}: choose another folder")


def _exists(path: PathLike) -> bool:
    try:
        return os.path.exists(path)
    except ValueError:  # a null character
        return False


def _is_same(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        # What does not exist yet is the same where its folder and name are.
        return os.path.realpath(first) == os.path.realpath(second)
