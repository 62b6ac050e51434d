"""Copy-paste: an object cut from one image and set into another, with its mask.

A donor is resampled once, straight to its place in the output, like everything in `ranet_jax.data.augment`.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from ranet_jax.data.augment import Deformation, backward_map


def place_donor(
    mask: UInt8[np.ndarray, "height width"],
    deformation: Deformation,
    centre: tuple[float, float],
    extent: float,
    size: tuple[int, int],
) -> Float32[np.ndarray, "rows columns 2"]:
    """Where every pixel of the output lies in the donor's image.

    Args:
        mask: The object in the donor's image, not empty.
        deformation: Of the object, in the output's plane.
        centre: Where the middle of the object's box goes, (x, y) in output pixels.
        extent: The longer side of its box in the output, pixels, before the deformation.
        size: Height and width of the output.

    Returns:
        Positions as `augment.backward_map` gives them.
    """
    x, y, columns, rows = cv2.boundingRect(mask)
    step = max(columns, rows) / extent
    moved = deformation.matrix @ (*centre, 1)
    middle = (x + columns / 2, y + rows / 2)
    offset = (middle[0] - step * moved[0], middle[1] - step * moved[1])
    placement = np.array(((step, 0, offset[0]), (0, step, offset[1]), (0, 0, 1)), np.float64)
    return backward_map(deformation, placement, size)


def paste_labels(
    labels: UInt8[np.ndarray, "height width"],
    mask: UInt8[np.ndarray, "height width"],
    label: int,
    *,
    behind: bool,
) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
    """Sets a label where a mask (0 and 1) is; `behind` leaves the labels that are there.

    Returns:
        The new label map, and the part of the mask that is seen.
    """
    seen = mask & (labels == 0).view(np.uint8) if behind else mask
    return np.where(seen != 0, np.uint8(label), labels), seen


def paste_image(
    image: UInt8[np.ndarray, "height width 3"],
    donor: UInt8[np.ndarray, "height width 3"],
    seen: UInt8[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Blends a donor into an image where `seen` is 1, its edge over three pixels, to give no hard cue."""
    x, y, columns, rows = cv2.boundingRect(seen)
    window = (slice(max(0, y - 1), y + rows + 1), slice(max(0, x - 1), x + columns + 1))
    alpha = cv2.blur(seen[window].astype(np.float32), (3, 3))
    result = image.copy()
    result[window] = cv2.blendLinear(donor[window], image[window], alpha, 1 - alpha)
    return result
