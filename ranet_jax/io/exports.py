"""Results in other programs' formats: one file for a whole video."""

import json
import zipfile
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.file_sink import FileSink
from ranet_jax.io.frames import Frame
from ranet_jax.io.masks import encode_label_map
from ranet_jax.io.run_lengths import pack, run_lengths

LabelFormat = Literal["coco-json", "npz", "youtube-vos-zip"]
LABEL_FORMATS: tuple[str, ...] = get_args(LabelFormat)
"""Formats that label maps are written in, beside palette PNGs."""
FORMATS: tuple[str, ...] = (*LABEL_FORMATS, "probabilities")
"""All formats."""
_SUFFIXES = {"coco-json": ".json", "npz": ".npz", "youtube-vos-zip": ".zip", "probabilities": ".npz"}
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive: equal results are equal files."""


class CocoWriter(FileSink):
    """Writes label maps as COCO's JSON: an image for each frame, an annotation for each object in it.

    Annotations have run lengths as packed text, area, box, and the object's id as `track_id`; frames in which nothing
    is shown are images without annotations. `read_mask` reads the first of them.

    Examples:
        with CocoWriter("results.json") as write:
            write(frame, labels)
    """

    def __init__(self, path: str | Path):
        """Opens the file.

        Args:
            path: the .json file to write.

        Raises:
            InputError: it has another suffix, or cannot be written there.
        """
        _require_suffix(path, "coco-json")
        super().__init__(path)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def __call__(self, frame: Frame, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Adds one frame."""
        self.count += 1
        height, width = label_map.shape
        self._images.append({"id": self.count, "file_name": f"{frame.name}.png", "height": height, "width": width})
        for value in np.unique(label_map[label_map > 0]).tolist():
            mask = label_map == value
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            top, left = int(rows[0]), int(columns[0])
            annotation = {
                "id": len(self._annotations) + 1,
                "image_id": self.count,
                "category_id": 1,
                "track_id": value,
                "segmentation": {"size": [height, width], "counts": pack(run_lengths(mask))},
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "iscrowd": 0,
            }
            self._annotations.append(annotation)

    def _finish(self) -> None:
        categories = [{"id": 1, "name": "object"}]
        content = {"images": self._images, "categories": categories, "annotations": self._annotations}
        with self.writing():
            self.temporary.write_text(json.dumps(content), encoding="utf-8")


class _ZipWriter(FileSink):
    """Base of what writes an archive, one member a frame, so that memory stays flat."""

    def __init__(self, path: str | Path, kind: str):
        _require_suffix(path, kind)
        super().__init__(path)
        with self.removed_on_error(), self.writing():
            self._archive = zipfile.ZipFile(self.temporary, "w")

    def _add(self, name: str, content: bytes, compression: int) -> None:
        member = zipfile.ZipInfo(name, _EARLIEST)
        member.external_attr = 0o644 << 16
        with self.writing():
            self._archive.writestr(member, content, compression, compresslevel=1)

    def _add_array(self, name: str, array: np.ndarray) -> None:
        member = zipfile.ZipInfo(f"{name}.npy", _EARLIEST)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = 0o644 << 16
        with self.writing(), self._archive.open(member, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)

    def _finish(self) -> None:
        with self.writing():
            self._archive.close()

    def _abandon(self) -> None:
        if self._archive.fp is not None:
            file, self._archive.fp = self._archive.fp, None  # so that it does not try to complete itself
            file.close()


class NpzWriter(_ZipWriter):
    """Writes label maps as one .npz: `numpy.load(path)["00000"]` is the first frame's, uint8 (height, width)."""

    def __init__(self, path: str | Path):
        """Opens the file.

        Args:
            path: the .npz file to write.

        Raises:
            InputError: it has another suffix, or cannot be written there.
        """
        super().__init__(path, "npz")

    def __call__(self, frame: Frame, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Adds one frame; raises `InputError` where the file cannot be written."""
        self._add_array(frame.name, label_map)
        self.count += 1


class YouTubeVosWriter(_ZipWriter):
    """Writes label maps as YouTube-VOS's servers want them: `Annotations/VIDEO/FRAME.png` in a .zip."""

    def __init__(self, path: str | Path, video: str):
        """Opens the file.

        Args:
            path: the .zip file to write.
            video: the video's name; others may be added by `start`.

        Raises:
            InputError: it has another suffix, or cannot be written there.
        """
        super().__init__(path, "youtube-vos-zip")
        self._video = video

    def start(self, video: str) -> None:
        """Lets the frames that follow be of another video."""
        self._video = video

    def __call__(self, frame: Frame, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Adds one frame; raises `InputError` where the file cannot be written."""
        self._add(f"Annotations/{self._video}/{frame.name}.png", encode_label_map(label_map), zipfile.ZIP_STORED)
        self.count += 1


class ProbabilityWriter(_ZipWriter):
    """Writes probabilities as one .npz: `numpy.load(path)["00000"]` is float16 (height, width, n + 1).

    Index 0 of the last axis is the background, index i the object `numpy.load(path)["ids"][i - 1]`.
    """

    def __init__(self, path: str | Path, ids: list[int]):
        """Opens the file.

        Args:
            path: the .npz file to write.
            ids: of the n objects, in the order of the probabilities.

        Raises:
            InputError: it has another suffix, or cannot be written there.
        """
        super().__init__(path, "probabilities")
        with self.removed_on_error():
            self._add_array("ids", np.array(ids, np.uint8))
        self._objects = len(ids)

    def __call__(self, frame: Frame, probabilities: Float[np.ndarray, "height width n"]) -> None:
        """Adds one frame.

        Args:
            frame: names the array.
            probabilities: (height, width, n + 1), background first.

        Raises:
            InputError: the file cannot be written.
            ValueError: the last axis has another length.
        """
        if probabilities.shape[-1] != self._objects + 1:
            raise ValueError(f"{probabilities.shape[-1]} probabilities of {self._objects} objects and background")
        self._add_array(frame.name, probabilities.astype(np.float16))
        self.count += 1


def open_export(kind: LabelFormat, path: str | Path, *, video: str) -> CocoWriter | NpzWriter | YouTubeVosWriter:
    """What writes label maps in one of `LABEL_FORMATS`: a context manager that is called with a frame and its labels.

    Args:
        kind: the format.
        path: the file to write.
        video: the video's name, of which only YouTube-VOS's format makes use.

    Raises:
        InputError: the file's suffix is not the format's, or it cannot be written there.
    """
    if kind == "coco-json":
        return CocoWriter(path)
    return NpzWriter(path) if kind == "npz" else YouTubeVosWriter(path, video)


def export_path(kind: str, folder: str | Path, video: str) -> Path:
    """Where an export goes that has no place of its own: into a folder, named like the video."""
    suffix = "_probabilities" if kind == "probabilities" else ""  # beside label maps, which may be an .npz, too
    return Path(folder) / f"{video}{suffix}{_SUFFIXES[kind]}"


def _require_suffix(path: str | Path, kind: str) -> None:
    if Path(path).suffix.lower() != _SUFFIXES[kind]:
        raise InputError(f"{path}: results as {kind} are a {_SUFFIXES[kind]} file: change the suffix")
