"""Masks as run lengths, as COCO stores them: column by column, zeros first, as numbers or packed into text."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool

_OFFSET = 48
_CONTINUES = 0x20
_NEGATIVE = 0x10


def run_lengths(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Lengths of the runs of a mask in columns, alternating, the first of zeros (perhaps 0 long)."""
    values = mask.ravel(order="F")
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = np.concatenate([[0], changes, [values.size]])
    lengths = np.diff(bounds).tolist()
    return [0, *lengths] if values.size and values[0] else lengths


def mask_of_run_lengths(lengths: Iterable[int], size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """The inverse of `run_lengths`.

    Raises:
        ValueError: the lengths are not those of a mask of this size.
    """
    counts = np.asarray(list(lengths))
    if (counts.size and (counts.dtype.kind not in "iu" or counts.min() < 0)) or counts.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths that do not fill {size[0]}x{size[1]} pixels")
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def pack(lengths: list[int]) -> str:
    """Run lengths as COCO's text: differences to the run before the last, five bits a character, lowest first."""
    characters = []
    for position, length in enumerate(lengths):
        rest = length - lengths[position - 2] if position > 2 else length
        while True:
            bits = rest & 0x1F
            rest >>= 5
            continues = rest != (-1 if bits & _NEGATIVE else 0)
            characters.append(chr(_OFFSET + bits + (_CONTINUES if continues else 0)))
            if not continues:
                break
    return "".join(characters)


def unpack(text: str) -> list[int]:
    """The inverse of `pack`.

    Raises:
        ValueError: the text is cut off, or holds other characters.
    """
    lengths: list[int] = []
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - _OFFSET
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r} in run lengths")
        number |= (bits & 0x1F) << shift
        shift += 5
        if bits & _CONTINUES:
            continue
        if bits & _NEGATIVE:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError("run lengths that are cut off")
    return lengths
