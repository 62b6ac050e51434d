"""Masks in COCO's JSON: one run-length mask, a list of them, or a file of annotations."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from ranet_jax.errors import InputError
from ranet_jax.io.mask_arrays import Mask, labels_of_objects
from ranet_jax.io.reasons import brief
from ranet_jax.io.run_lengths import mask_of_run_lengths, unpack

_MOST_PIXELS = 1 << 28


def mask_of_json(path: Path) -> Mask:
    """Reads COCO's JSON: `{"size", "counts"}`, a list of these or of annotations, or a file of images and annotations.

    Run lengths may be numbers or packed text; polygons are filled. Of a file of several images the first one that has
    annotations is taken. Ids are the annotations' `track_id`, otherwise 1, 2, ... in their order.

    Raises:
        InputError: the file is damaged, or holds no masks or masks of several sizes.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        entries, size, notes = _entries(path, content)
        masks = [_mask(entry, size) for entry in entries]
        ids = _ids(entries)
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise InputError(
            f"cannot read {path} as COCO masks ({brief(error)}): give run lengths or annotations"
        ) from error
    if not masks:
        raise InputError(f"the mask {path} has no annotation: mark at least one object")
    if len({mask.shape for mask in masks}) > 1:
        raise InputError(f"the masks in {path} have several sizes: give those of one frame")
    joined = labels_of_objects(path, masks, ids)
    return Mask(joined.labels, (*notes, *joined.notes))


def _entries(path: Path, content: Any) -> tuple[list[Any], tuple[int, int] | None, tuple[str, ...]]:
    """What describes one object each, the size of the image where that is given, and notes."""
    if isinstance(content, list):
        return content, None, ()
    if "annotations" not in content:
        return [content], None, ()
    images = {image["id"]: image for image in content.get("images", [])}
    used = list(dict.fromkeys(entry.get("image_id") for entry in content["annotations"]))
    used.sort(key=lambda number: list(images).index(number) if number in images else len(images))
    if not used:
        return [], None, ()
    image = images.get(used[0], {})
    size = (int(image["height"]), int(image["width"])) if "height" in image else None
    name = image.get("file_name", used[0])
    notes = (f"{path} has masks of {len(used)} images: those of {name} are used",) if len(used) > 1 else ()
    return [entry for entry in content["annotations"] if entry.get("image_id") == used[0]], size, notes


def _mask(entry: Any, size: tuple[int, int] | None) -> Bool[np.ndarray, "height width"]:
    segmentation = entry.get("segmentation", entry)
    if isinstance(segmentation, list):
        if size is None:
            raise ValueError("polygons without the image's height and width")
        return _filled(segmentation, size)
    height, width = (int(length) for length in segmentation["size"])
    _require_possible(height, width)
    counts = segmentation["counts"]
    return mask_of_run_lengths(unpack(counts) if isinstance(counts, str) else counts, (height, width))


def _filled(polygons: list[Any], size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    _require_possible(*size)
    canvas = np.zeros(size, np.uint8)
    for polygon in polygons:
        # COCO's coordinates are of pixels' corners, OpenCV's of their centres, here in sixteenths.
        corners = np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5
        cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)


def _require_possible(height: int, width: int) -> None:
    if min(height, width) <= 0 or height * width > _MOST_PIXELS:
        raise ValueError(f"a size of {height}x{width}")


def _ids(entries: list[Any]) -> list[int]:
    ids = [entry.get("track_id", entry.get("attributes", {}).get("track_id")) for entry in entries]
    usable = all(isinstance(value, int) and 1 <= value <= 255 for value in ids) and len(set(ids)) == len(ids)
    return ids if usable else list(range(1, len(entries) + 1))
