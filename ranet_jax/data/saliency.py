"""The saliency data sets that RANet is pre-trained on, read from the folders that their archives unpack to.

    MSRA10K   ROOT/Imgs/<name>.jpg and ROOT/Imgs/<name>.png        (the archive's folder MSRA10K_Imgs_GT)
    ECSSD     ROOT/images/0001.jpg, ROOT/ground_truth_mask/0001.png
    HKU-IS    ROOT/imgs/0004.png, ROOT/gt/0004.png
    SOC       ROOT/TrainSet/Imgs/<name>.jpg, ROOT/TrainSet/Instance gt/gt/<name>.png; ValSet likewise
    ILSO      ROOT/imgs/<name>.jpg, ROOT/gt/<name>.png, ROOT/ImageSets/train_id_1000.txt: names, one a line

The first three have one object an image: white in a gray mask, whose edge may be soft. SOC and ILSO paint
every instance in its own colour or palette index on black.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranet_jax.data.sources import FileSource, LabelledFile
from ranet_jax.errors import InputError

_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_VOID_INDEX = 255


def msra10k(root: str | pathlib.Path) -> FileSource:
    """MSRA10K (Cheng et al., TPAMI 2015): 10,000 images of one object.

    Args:
        root: The folder that holds `Imgs`.

    Raises:
        InputError: The layout is another one.
    """
    folder = pathlib.Path(root) / "Imgs"
    return FileSource(_pairs("msra10k", folder, folder, (".jpg",)), _read_single)


def ecssd(root: str | pathlib.Path) -> FileSource:
    """ECSSD (Shi et al., TPAMI 2016): 1,000 images of one object.

    Args:
        root: The folder that holds `images` and `ground_truth_mask`.

    Raises:
        InputError: The layout is another one.
    """
    images, masks = pathlib.Path(root) / "images", pathlib.Path(root) / "ground_truth_mask"
    return FileSource(_pairs("ecssd", images, masks, (".jpg",)), _read_single)


def hku_is(root: str | pathlib.Path) -> FileSource:
    """HKU-IS (Li and Yu, CVPR 2015): 4,447 images whose salient objects are one foreground.

    Args:
        root: The folder that holds `imgs` and `gt`.

    Raises:
        InputError: The layout is another one.
    """
    images, masks = pathlib.Path(root) / "imgs", pathlib.Path(root) / "gt"
    return FileSource(_pairs("hku_is", images, masks, (".png", ".jpg")), _read_single)


def soc(root: str | pathlib.Path, split: str = "TrainSet") -> FileSource:
    """SOC (Fan et al., ECCV 2018), its images with salient objects, one label an instance.

    Half of the images have no salient object; those have no instance mask, and are left out.

    Args:
        root: The folder that holds `TrainSet` and `ValSet`.
        split: "TrainSet" or "ValSet".

    Raises:
        InputError: The layout is another one.
    """
    folder = pathlib.Path(root) / split
    images, masks = folder / "Imgs", folder / "Instance gt" / "gt"
    annotated = set(_names(masks, (".png",)))
    pairs = [pair for pair in _pairs("soc", images, masks, (".jpg",)) if pair.image.stem in annotated]
    if not pairs:
        raise InputError(f"no image in {images} has an instance mask in {masks}: unpack the data set again")
    return FileSource(pairs, _read_instances)


def ilso(root: str | pathlib.Path, split: str = "train_id_1000") -> FileSource:
    """ILSO (Li et al., CVPR 2017; 2,000 images in CVIU 2021), one label an instance.

    Args:
        root: The folder that holds `imgs`, `gt` and `ImageSets`.
        split: A list in `ImageSets`: "train_id_1000", "test_id_1000", "train_id_2000", "test_id_2000".

    Raises:
        InputError: The layout is another one, or the list does not exist or names unknown images.
    """
    root = pathlib.Path(root)
    path = root / "ImageSets" / f"{split}.txt"
    try:
        chosen = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of images: {error}") from error
    pairs = {pair.image.stem: pair for pair in _pairs("ilso", root / "imgs", root / "gt", (".jpg",))}
    unknown = [name for name in chosen if name not in pairs]
    if unknown or not chosen:
        what = f"names {unknown[0]}, which {root / 'imgs'} lacks" if unknown else "is empty"
        raise InputError(f"{path} {what}: unpack the data set again")
    return FileSource([pairs[name] for name in chosen], _read_instances)


def _names(folder: pathlib.Path, suffixes: Sequence[str]) -> dict[str, str]:
    """File name by stem of a folder's files with these suffixes (or in capitals), in order of the stems."""
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: unpack the data set there (layout: ranet_jax.data.saliency)")
    # Copies made on a Mac hold a "._0001.jpg" beside every file.
    paths = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    if not paths:
        raise InputError(f"{folder} holds no {' or '.join(suffixes)} file: unpack the data set again")
    return {path.stem: path.name for path in sorted(paths)}


def _pairs(title: str, images: pathlib.Path, masks: pathlib.Path, suffixes: Sequence[str]) -> list[LabelledFile]:
    """Every image with its mask; a mask that is absent is found out, and named, when it is read."""
    mask_names = _names(masks, (".png",))
    return [
        LabelledFile(images / name, masks / mask_names.get(stem, f"{stem}.png"), f"{title}/{stem}")
        for stem, name in _names(images, suffixes).items()
    ]


def _open(path: pathlib.Path) -> Image.Image:
    if not path.is_file():
        raise InputError(f"there is no mask file {path}: unpack the data set again")
    try:
        with Image.open(path) as image:
            image.load()
    except _DAMAGED as error:
        raise InputError(f"cannot read the mask {path} ({error}): fetch it again") from error
    return image


def _read_single(path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
    """A gray mask as labels 0 and 1, cut at half of its brightest value: soft edges, and masks of 0 and 1."""
    values = np.asarray(_open(path).convert("L"))
    return (values > values.max() // 2).view(np.uint8)


def _read_instances(path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
    """A mask with a colour, a gray value or a palette index an instance as labels 0 (black), 1, 2, ..."""
    image = _open(path)
    if image.mode == "P":
        values = np.array(image, np.int32)
        values[values == _VOID_INDEX] = 0
    elif image.mode in ("1", "L", "LA"):
        values = np.asarray(image.convert("L"), np.int32)
    else:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), np.int32), -1, 0)
        values = red << 16 | green << 8 | blue
    ids = np.unique(values)
    ids = ids[ids != 0]
    if len(ids) > 254:
        raise InputError(f"the instance mask {path} has {len(ids)} colours: it must be stored without loss")
    labels = np.searchsorted(ids, values).astype(np.uint8) + np.uint8(1)
    labels[values == 0] = 0
    return labels
