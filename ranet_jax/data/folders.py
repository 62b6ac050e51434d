"""One's own data: any folder of photographs, or of videos, with label PNGs.

Photographs, a mask for each of the same name:

    FOLDER/Images/<name>.jpg and FOLDER/Masks/<name>.png     (`images` and `masks` as well)
    FOLDER/<name>.jpg and FOLDER/<name>.png                  (side by side: the JPEGs are the photographs)
    IMAGES/<name>.jpg|png and MASKS/<name>.png               (two folders)

Videos, a folder of frames and one of masks for each, with masks of all frames or of some:

    FOLDER/JPEGImages/<video>/00000.jpg and FOLDER/Annotations/<video>/00000.png     (perhaps below `480p`)
    FRAMES/<video>/00000.jpg|png and MASKS/<video>/00000.png                         (two folders)
    FRAMES/00000.jpg|png and MASKS/00000.png                                         (two folders, one video)

Masks are what `ranet_jax.io.masks.read_label_map` reads (palette or gray ids, or black and white); 255 beside other ids
is void, and background here.
"""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.davis import VOID_LABEL
from ranet_jax.data.sources import FileSource, LabelledFile
from ranet_jax.errors import InputError
from ranet_jax.io.folders import frame_files, naturally_sorted, pair_by_name
from ranet_jax.io.masks import read_label_map

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class FolderSource(FileSource):
    """Photographs, or the annotated frames of videos, of a user's folder.

    Attributes:
        notes: a line for each kind of file that was left out.
    """

    def __init__(
        self,
        files: Sequence[LabelledFile],
        read_labels: Callable[[pathlib.Path], np.ndarray],
        lengths: Sequence[int] | None = None,
        *,
        notes: Sequence[str] = (),
    ):
        super().__init__(files, read_labels, lengths)
        self.notes = tuple(notes)


def photographs(
    folder: str | pathlib.Path,
    masks: str | pathlib.Path | None = None,
    *,
    partition: tuple[float, float] | None = None,
) -> FolderSource:
    """Photographs with a mask each, in one of the layouts above.

    Args:
        folder: of the photographs, or the one that holds the folders of both.
        masks: of the masks, where it is another.
        partition: where the masks divide the whole image into regions, none of them background: the least and the
            largest share of the image that a region has to be an object. All others are background; which of the
            objects a training sample is about is drawn anew each time.

    Raises:
        InputError: there is no folder, no photograph with a mask, or a mask without its photograph; the shares are not
            0 to 1 in order.
    """
    folder = pathlib.Path(folder)
    if partition is not None and not 0 <= partition[0] < partition[1] <= 1:
        raise InputError(
            f"partition {partition}: give the least and the largest share of an object, such as (0.02, 0.6)"
        )
    images, annotations = _photograph_folders(folder, masks)
    side_by_side = images == annotations
    found = {path.stem: path for path in _files(images, _IMAGE_SUFFIXES[:2] if side_by_side else _IMAGE_SUFFIXES)}
    labelled = {path.stem: path for path in _files(annotations, (".png",))}
    if lost := [path for stem, path in labelled.items() if stem not in found]:
        raise InputError(f"{lost[0]}: there is no photograph of this name in {images} ({len(lost)} such masks)")
    pairs = [
        LabelledFile(path, labelled[stem], f"{folder.name}/{stem}") for stem, path in found.items() if stem in labelled
    ]
    unlabelled = len(found) - len(pairs)
    notes = [f"{images}: {unlabelled} photographs without a mask left out"] if unlabelled else []

    def read_labels(path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
        labels = _read_labels(path)
        return labels if partition is None else _objects_of_partition(labels, *partition)

    return FolderSource(pairs, read_labels, notes=notes)


def videos(
    folder: str | pathlib.Path,
    masks: str | pathlib.Path | None = None,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> FolderSource:
    """The annotated frames of videos, in one of the layouts above.

    Args:
        folder: of the videos' folders of frames (or of the frames of one video), or the one that holds `JPEGImages` and
            `Annotations`.
        masks: of the videos' folders of masks (or of the masks of one video), where it is not `Annotations`.
        only: names of the videos to read; all of them if empty.
        without: names of those to leave out.

    Raises:
        InputError: a folder is missing or empty, a mask has no frame, no video is left, or `only` or `without` names
            one that does not exist.
    """
    frames, annotations = _video_folders(pathlib.Path(folder), masks)
    folders = _video_names(frames, annotations)
    for name in (*only, *without):
        if name not in folders:
            raise InputError(f"{name!r} is not a video of {annotations}: check only and without")
    files: list[LabelledFile] = []
    notes: list[str] = []
    lengths = []
    for name, (own_frames, own_masks) in folders.items():
        if (only and name not in only) or name in without:
            continue
        listing = frame_files(own_frames)
        pairing = pair_by_name(listing.files, frame_files(own_masks).files)
        if pairing.masks:
            raise InputError(f"{own_masks} and {own_frames} do not fit: {pairing._replace(frames=()).note()}")
        _require_readable(pairing.pairs)
        files += [LabelledFile(frame, mask, f"{name}/{frame.stem}") for frame, mask in pairing.pairs]
        lengths.append(len(pairing.pairs))
        notes += listing.notes
    if not files:
        raise InputError(f"no video of {annotations} was chosen: check only and without")
    unlabelled = len([path for path in frames.iterdir() if path.is_dir()]) - len(folders)
    if unlabelled > 0:
        notes.append(f"{frames}: {unlabelled} videos without masks left out")
    return FolderSource(files, _read_labels, lengths, notes=notes)


def _photograph_folders(folder: pathlib.Path, masks: str | pathlib.Path | None) -> tuple[pathlib.Path, pathlib.Path]:
    if masks is not None:
        return folder, pathlib.Path(masks)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: check data.root and the part's folder")
    inside = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    if "images" in inside and "masks" in inside:
        return inside["images"], inside["masks"]
    return folder, folder


def _video_folders(folder: pathlib.Path, masks: str | pathlib.Path | None) -> tuple[pathlib.Path, pathlib.Path]:
    if masks is not None:
        frames, annotations = folder, pathlib.Path(masks)
    else:
        frames, annotations = folder / "JPEGImages", folder / "Annotations"
    for path in (frames, annotations):
        if not path.is_dir():
            raise InputError(f"there is no folder {path}: check data.root, and the part's folder and masks")
    if masks is None:
        # DAVIS has a folder for each resolution in between.
        deeper = [path for path in annotations.iterdir() if path.is_dir() and _folders(path)]
        if len(deeper) > 1:
            listed = ", ".join(sorted(path.name for path in deeper))
            raise InputError(f"{annotations} holds several resolutions ({listed}): give one as folder and masks")
        if deeper:
            return frames / deeper[0].name, deeper[0]
    return frames, annotations


def _video_names(frames: pathlib.Path, annotations: pathlib.Path) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """Folders of frames and of masks by video, in natural order; one video where the folders hold the files."""
    found = naturally_sorted(_folders(annotations))
    if not found:
        return {frames.name: (frames, annotations)}
    for path in found:
        if not (frames / path.name).is_dir():
            raise InputError(f"{path} has masks, but there is no folder of frames {frames / path.name}")
    return {path.name: (frames / path.name, path) for path in found}


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _files(folder: pathlib.Path, suffixes: Sequence[str]) -> tuple[pathlib.Path, ...]:
    """Files with these suffixes, or in capitals, in natural order; at least one."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: check data.root, and the part's folder and masks")
    # Copies made on a Mac hold a "._0001.jpg" beside every file.
    paths = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    if not paths:
        raise InputError(f"{folder} holds no {' or '.join(suffixes)} file: see ranet_jax.data.folders for the layouts")
    return naturally_sorted(paths)


def _require_readable(pairs: Sequence[tuple[pathlib.Path, pathlib.Path]]) -> None:
    for frame, mask in pairs:
        if frame.suffix.lower() not in _IMAGE_SUFFIXES:
            raise InputError(f"{frame}: training reads JPEG and PNG frames: convert it")
        if mask.suffix.lower() != ".png":
            raise InputError(f"{mask}: training reads masks from PNG files: convert it")


def _read_labels(path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
    labels = read_label_map(path)
    labels[labels == VOID_LABEL] = 0
    return labels


def _objects_of_partition(
    labels: UInt8[np.ndarray, "height width"], least: float, most: float
) -> UInt8[np.ndarray, "height width"]:
    """The regions of that share of the image, every other one as background."""
    shares = np.bincount(labels.ravel(), minlength=256) / labels.size
    table = np.where((shares >= least) & (shares <= most), np.arange(256), 0).astype(np.uint8)
    return table[labels]
