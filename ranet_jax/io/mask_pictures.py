"""Masks as pictures: what their pixels mean in every mode."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.errors import InputError
from ranet_jax.io.mask_arrays import Mask, labels_of_array, labels_of_gray
from ranet_jax.io.palette import labels_of_colours
from ranet_jax.io.pictures import UNREADABLE, quiet_pillow
from ranet_jax.io.reasons import brief

_GRAY = ("L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")


def mask_of_picture(path: Path) -> Mask:
    """Reads a picture as a mask; see `ranet_jax.io.masks.read_mask`.

    Raises:
        InputError: it is damaged, lossy, or its pixels are no ids.
    """
    try:
        with quiet_pillow(), Image.open(path) as image:
            several = getattr(image, "n_frames", 1)
            image.load()
    except UNREADABLE as error:
        raise InputError(f"cannot read the mask {path} ({brief(error)}): give an undamaged PNG") from error
    _refuse_lossy(path, image)
    mask = _labels(path, image)
    if several > 1:
        mask = Mask(mask.labels, (*mask.notes, f"{path} holds {several} pictures: the first is the mask"))
    return mask


def _labels(path: Path, image: Image.Image) -> Mask:
    if image.mode in ("P", "PA"):
        return _labels_of_palette(path, image)
    if image.mode == "1":
        return Mask(np.array(image, np.uint8))
    if image.mode == "F":
        return Mask(labels_of_array(path, np.array(image)))
    if image.mode in _GRAY:
        values = np.array(image.getchannel(0) if image.mode == "LA" else image)
        return Mask(labels_of_gray(path, values, white=255 if values.dtype == np.uint8 else 65535))
    if image.mode in ("RGB", "RGBA"):
        return _labels_of_rgb(path, np.array(image))
    raise InputError(
        f"the mask {path} is a colour image (mode {image.mode}), which has no object ids: "
        "save it as a palette (indexed) or gray PNG"
    )


def _labels_of_palette(path: Path, image: Image.Image) -> Mask:
    indices = np.array(image.getchannel(0) if image.mode == "PA" else image, np.uint8)
    colours = np.zeros((256, 3), np.uint8)
    table = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colours[: len(table)] = table
    used = np.unique(indices)
    if image.format == "GIF":
        # Programs that write GIFs renumber the indices; the colours stay.
        shown = colours[indices]
        if np.all(colours[used] == colours[used, :1]):
            return Mask(labels_of_gray(path, shown[..., 0], white=255))
        ids = labels_of_colours(shown)
        if ids is not None:
            return Mask(ids)
        return Mask(indices, (f"{path}: ids are a GIF's indices, which its writer may have renumbered: check them",))
    is_inverse = used.tolist() == [0, 1] and colours[:2].tolist() == [[255] * 3, [0] * 3]
    note = f"{path}: index 0, the background, is shown white and object 1 black; the indices count, not the colours"
    return Mask(indices, (note,) if is_inverse else ())


def _labels_of_rgb(path: Path, pixels: UInt8[np.ndarray, "height width c"]) -> Mask:
    colours = pixels[..., :3]
    if pixels.shape[-1] == 4:
        opacity = pixels[..., 3]
        is_cut_out = opacity.min() == 0 and opacity.max() == 255
        if is_cut_out and np.all(colours == colours[opacity > 0][0]):
            cut_out = labels_of_gray(path, opacity, white=255)
            return Mask(cut_out, (f"{path}: what is not transparent is the object, as it has one colour throughout",))
    if np.all(colours == colours[..., :1]):
        return Mask(labels_of_gray(path, colours[..., 0], white=255))
    labels = labels_of_colours(colours)
    if labels is not None:
        return Mask(labels)
    different = np.unique(colours.reshape(-1, 3), axis=0)
    shown = ", ".join("#" + bytes(colour).hex() for colour in different[:4]) + (", ..." if len(different) > 4 else "")
    raise InputError(
        f"the mask {path} is a colour image ({shown}) in other colours than DAVIS's, which are no object ids: "
        "save it as a palette (indexed) or gray PNG"
    )


def _refuse_lossy(path: Path, image: Image.Image) -> None:
    is_lossy = image.format in ("JPEG", "MPO", "AVIF") or (image.format == "WEBP" and not _is_lossless_webp(path))
    if is_lossy:
        kind = "JPEG" if image.format == "MPO" else image.format
        raise InputError(f"the mask {path} is a lossy {kind}, whose compression changes the ids: save it as a PNG")


def _is_lossless_webp(path: Path) -> bool:
    """Whether the picture lies in a chunk `VP8L` rather than `VP8 ` (RFC 9649)."""
    content = path.read_bytes()
    start = 12
    while start + 8 <= len(content):
        kind, length = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        start += 8 + length + length % 2
    return False
