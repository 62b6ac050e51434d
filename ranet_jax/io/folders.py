"""The frames of a folder: which files they are, in which order, and which mask belongs to which frame."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from ranet_jax.errors import InputError

PICTURE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".dib", ".gif", ".hdr", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpg"),
        *(".jpf", ".jpx", ".pam", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".ras", ".rgb"),
        *(".sgi", ".sr", ".tga", ".tif", ".tiff", ".webp"),
    )
)
"""Lower-case suffixes of the still pictures that Pillow or OpenCV decode; the files of a folder are chosen by it."""

_UNREADABLE_SUFFIXES = frozenset(
    (".arw", ".cr2", ".cr3", ".dng", ".exr", ".heic", ".heif", ".jxl", ".nef", ".orf", ".psd", ".rw2", ".svg")
)
"""Suffixes of pictures that neither decodes: named where they are left out."""

_MASK_WORDS = frozenset(
    (
        *("alpha", "annotation", "annotations", "groundtruth", "gt", "label", "labels", "mask", "masks", "matte"),
        *("overlay", "seg", "segmentation"),
    )
)
_SIGN = r"(?:(?:^|(?<=[_=(,\-]))-)?"
# A dot is a decimal point between two groups of digits alone: not in 10.59.58, which is a time.
_DECIMAL = re.compile(rf"({_SIGN}(?<![0-9.])[0-9]+\.[0-9]+(?![0-9]|\.[0-9])|{_SIGN}[0-9]+)")
_WHOLE = re.compile(rf"({_SIGN}[0-9]+)")


class FrameListing(NamedTuple):
    """The frames of a folder.

    Attributes:
        files: their paths, in order; at least one.
        notes: one line for each reason for which pictures were left out, naming them; usually empty.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]


class Pairing(NamedTuple):
    """Which mask belongs to which frame, by their names.

    Attributes:
        pairs: (frame, mask), in the order of the frames.
        frames: frames without a mask.
        masks: masks without a frame.
    """

    pairs: tuple[tuple[Path, Path], ...]
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]

    def note(self) -> str | None:
        """What has no partner, in one line (with a hint where the numbers are shifted); None if all have one."""
        parts = [
            f"{kind} without {other}: {_named(paths)}"
            for kind, other, paths in (("frames", "a mask", self.frames), ("masks", "a frame", self.masks))
            if paths
        ]
        if not parts:
            return None
        return "; ".join(parts) + self.shift_hint()

    def shift_hint(self) -> str:
        """Says in brackets that both sides are numbered alike from another start; empty where they are not."""
        return _shift_hint(self)


def frame_files(folder: str | Path, *, without: Iterable[str | Path] = ()) -> FrameListing:
    """The picture files of a folder that are frames, in the order of the numbers in their names.

    Signs and decimals count (-1, 0.5, 1, 2, 10). Left out are hidden files, what is in `without`, and what by its
    name belongs to another frame (`00000_mask.png` beside `00000.jpg`); the notes name all of these but hidden files.

    Args:
        folder: the folder; its subfolders are not searched.
        without: files that are something else, such as the mask of the first frame; compared as files, not names.

    Returns:
        The listing. A folder of masks is listed the same way.

    Raises:
        InputError: the folder is missing, cannot be read or holds no frame, or two frames have one name but for their
            suffixes, so that their results would, too.
    """
    folder = Path(folder)
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except FileNotFoundError as error:
        raise InputError(f"there is no folder {folder}: check the path") from error
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}; check its permissions") from error
    pictures = [path for path in entries if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    others = _same_files(pictures, without)
    named_otherwise = [path for path in pictures if path in others]
    pictures = [path for path in pictures if path not in others]
    of_others = _of_other_frames(pictures)
    frames = [path for path in pictures if path not in of_others]
    unreadable = [path for path in entries if path.suffix.lower() in _UNREADABLE_SUFFIXES]
    if not frames:
        raise InputError(_explain_none(folder, entries, named_otherwise, unreadable))
    _require_different_stems(frames)
    reasons = (
        (named_otherwise, "given as something else"),
        (of_others, "by their names masks of other frames"),
        (unreadable, "a format that cannot be read: convert them to PNG if they are frames"),
    )
    notes = tuple(
        f"{folder}: {_named(naturally_sorted(paths))} left out ({reason})" for paths, reason in reasons if paths
    )
    return FrameListing(naturally_sorted(frames), notes)


def naturally_sorted(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Paths by the numbers in their stems: frame2 before frame10, -1 before 0.5 before 1.

    A minus is a sign at the start of a name and after `_`, `=`, `(`, `,` or another minus, otherwise a dash (img-2). A
    dot between two numbers is a decimal point, unless the names count behind it (1.9, 1.10) or it is one of several
    (10.59.58).
    """
    paths = tuple(paths)
    number = _WHOLE if _counts_behind_a_dot(paths) else _DECIMAL

    def order(path: Path) -> tuple[list[str | Decimal], str]:
        parts = number.split(path.stem.lower())
        return [Decimal(part) if position % 2 else part for position, part in enumerate(parts)], path.name

    return tuple(sorted(paths, key=order))


def pair_by_name(frames: Sequence[Path], masks: Sequence[Path]) -> Pairing:
    """Pairs frames with masks: by equal stems, then by equal numbers (`8.png` belongs to `00008.jpg`).

    Numbers pair only where neither side has another file of the same numbers.

    Args:
        frames: files of frames, in order.
        masks: files of masks (annotations or results), in any order.

    Returns:
        The pairs, and what has no partner on either side.
    """
    by_stem = {mask.stem: mask for mask in masks}
    partner = {frame: by_stem[frame.stem] for frame in frames if frame.stem in by_stem}
    taken = set(partner.values())
    by_numbers = _unique_by_numbers([mask for mask in masks if mask not in taken])
    for numbers, frame in _unique_by_numbers([frame for frame in frames if frame not in partner]).items():
        if numbers in by_numbers:
            partner[frame] = by_numbers[numbers]
    taken = set(partner.values())
    return Pairing(
        tuple((frame, partner[frame]) for frame in frames if frame in partner),
        tuple(frame for frame in frames if frame not in partner),
        tuple(mask for mask in masks if mask not in taken),
    )


def _unique_by_numbers(paths: Sequence[Path]) -> dict[tuple[Decimal, ...], Path]:
    numbers = {path: tuple(map(Decimal, _DECIMAL.findall(path.stem))) for path in paths}
    count = Counter(numbers.values())
    return {value: path for path, value in numbers.items() if value and count[value] == 1}


def _counts_behind_a_dot(paths: Iterable[Path]) -> bool:
    """Whether 1.10 comes after 1.9: fractions of several lengths of which one ends with a needless zero."""
    fractions = [
        part.partition(".")[2] for path in paths for part in _DECIMAL.findall(path.stem.lower()) if "." in part
    ]
    return len({len(digits) for digits in fractions}) > 1 and any(
        len(digits) > 1 and digits.endswith("0") for digits in fractions
    )


def _same_files(paths: Iterable[Path], others: Iterable[str | Path]) -> set[Path]:
    """Those of `paths` that are one of the other files, also through links."""
    identities = set()
    for other in others:
        try:
            status = os.stat(other)
        except OSError:
            continue
        identities.add((status.st_dev, status.st_ino))
    return {path for path in paths if (path.stat().st_dev, path.stat().st_ino) in identities} if identities else set()


def _of_other_frames(paths: Sequence[Path]) -> list[Path]:
    """Files that by their names are made from a frame beside them: 00000_mask, 00000-depth, mask_00000, first_mask."""
    stems = {path.stem.lower() for path in paths}

    def is_mask(path: Path) -> bool:
        return not _MASK_WORDS.isdisjoint(re.split("[^a-z]+", path.stem.lower()))

    def is_made_from_another(path: Path) -> bool:
        frame = re.fullmatch(r"(.*[0-9])[ _.\-]+[a-z]+", path.stem.lower())
        return frame is not None and frame[1] in stems

    made = [path for path in paths if is_mask(path) or is_made_from_another(path)]
    return made if len(made) < len(paths) else []


def _require_different_stems(paths: Iterable[Path]) -> None:
    by_stem: dict[str, Path] = {}
    for path in paths:
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            raise InputError(
                f"the results of {other} and {path.name} would have one name: leave one of them in the folder"
            )


def _explain_none(folder: Path, entries: list[Path], named_otherwise: list[Path], unreadable: list[Path]) -> str:
    if named_otherwise:
        return f"{folder} holds no frames but {_named(named_otherwise)}, given as something else: check the path"
    if unreadable:
        return f"{folder} holds no frames that can be read, but {_named(unreadable)}: convert them to PNG"
    nested = [
        path for path in entries if path.is_dir() and any(p.suffix.lower() in PICTURE_SUFFIXES for p in _in(path))
    ]
    if nested:
        return f"{folder} holds no frames, but its folders do ({_named(naturally_sorted(nested))}): give one of them"
    return f"{folder} holds no frames (.jpg, .png, .tif and other pictures): check the path"


def _in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _named(paths: Sequence[Path], most: int = 5) -> str:
    names = ", ".join(path.name for path in paths[:most])
    return names if len(paths) <= most else f"{names} and {len(paths) - most} more"


def _shift_hint(pairing: Pairing) -> str:
    """Where both sides are numbered alike but from another start, says so: results from 0 and frames from 1."""
    sides = []
    for index, unpaired in ((0, pairing.frames), (1, pairing.masks)):
        numbers = [_DECIMAL.findall(path.stem) for path in (*(pair[index] for pair in pairing.pairs), *unpaired)]
        if not all(numbers):
            return ""
        sides.append({Decimal(found[-1]) for found in numbers})
    frames, masks = sides
    shift = min(frames) - min(masks) if frames and masks else Decimal(0)
    if shift == 0 or {number + shift for number in masks} != frames:
        return ""
    return (
        f" (frames are numbered from {min(frames)}, masks from {min(masks)}: rename one side if they belong together)"
    )
