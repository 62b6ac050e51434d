"""The colours of the labels."""

import numpy as np
from jaxtyping import UInt8


def _bit_interleaved_palette() -> UInt8[np.ndarray, "256 3"]:
    """The colour map of PASCAL VOC: an id's bits 0, 3, 6 fill red from the top; 1, 4, 7 green; 2, 5 blue."""
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


DAVIS_PALETTE: UInt8[np.ndarray, "256 3"] = _bit_interleaved_palette()
"""RGB of every label: the PASCAL VOC colour map, which DAVIS uses, up to label 255."""
DAVIS_PALETTE.setflags(write=False)


def labels_of_colours(colours: UInt8[np.ndarray, "... 3"]) -> UInt8[np.ndarray, "..."] | None:
    """The labels whose colours these are; None where a colour is none of the palette's."""
    packed = _packed(colours)
    palette = _packed(DAVIS_PALETTE)
    order = np.argsort(palette)
    place = np.minimum(np.searchsorted(palette[order], packed), 255)
    return order[place].astype(np.uint8) if np.array_equal(palette[order][place], packed) else None


def _packed(colours: np.ndarray) -> np.ndarray:
    """Each colour as one number."""
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
