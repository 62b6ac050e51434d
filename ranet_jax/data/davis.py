"""The folder layout of DAVIS 2016 and 2017: which sequences, which frames, which annotations.

    ROOT/JPEGImages/480p/<sequence>/00000.jpg ...
    ROOT/Annotations/480p/<sequence>/00000.png ...
    ROOT/ImageSets/2016/<split>.txt         sequence names, one a line
    ROOT/ImageSets/480p/<split>.txt         the first release of DAVIS 2016: pairs of paths, one pair a frame
    ROOT/ImageSets/2017/<split>.txt         sequence names, one a line

Nothing here imports JAX: the processes that score masks start in a fraction of a second.
"""

import dataclasses
import pathlib
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.annotations import VOID_LABEL as VOID_LABEL
from ranet_jax.data.annotations import Annotations, FirstAnnotation, read_annotation
from ranet_jax.errors import InputError
from ranet_jax.io.folders import frame_files, pair_by_name


@dataclasses.dataclass(frozen=True)
class DavisTree:
    """A DAVIS folder on disk, read as one of its two years.

    Attributes:
        root: The folder that holds `JPEGImages`, `Annotations` and `ImageSets`.
        year: 2016 (one object: everything annotated) or 2017 (several objects, one id each).
        resolution: The folder below `JPEGImages` and `Annotations`: "480p", "1080p", "Full-Resolution".

    Raises:
        InputError: `root` is no DAVIS folder, or `year` is neither 2016 nor 2017.
    """

    root: pathlib.Path
    year: Literal[2016, 2017]
    resolution: str = "480p"

    def __post_init__(self) -> None:
        if self.year not in (2016, 2017):
            raise InputError(f"DAVIS {self.year} is unknown: the year is 2016 or 2017")
        if not (self.root / "ImageSets").is_dir():
            raise InputError(f"{self.root} is no DAVIS folder: it lacks the folder ImageSets")

    def sequences(self, split: str) -> tuple[str, ...]:
        """Names of the sequences of a split ("train", "val", ...), in the order of its list, each once.

        Both published forms are read: a name a line, and a pair of paths a line
        (`/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png`).

        Raises:
            InputError: The list does not exist, cannot be read as text, or is empty.
        """
        path = self._image_set(split)
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as a list of sequences: {error}") from error
        entries = [line.split()[0] for line in lines if line.strip()]
        # A path's last folder is the sequence; a dict keeps the order and drops a sequence's other frames.
        names = dict.fromkeys(pathlib.PurePosixPath(e).parent.name if "/" in e else e for e in entries)
        if not names:
            raise InputError(f"{path} lists no sequence")
        return tuple(names)

    def frames(self, sequence: str) -> tuple[pathlib.Path, ...]:
        """Paths of a sequence's frames: every still picture, in the natural order of their names.

        Raises:
            InputError: The sequence's folder is absent or holds no frame.
        """
        return self._files("JPEGImages", sequence)

    def annotations(self, sequence: str) -> tuple[pathlib.Path, ...]:
        """Paths of the annotations that exist, in the order of the frames.

        They belong to the frames of the same names: the first one need not be of the first frame, and not every frame
        has one (test splits have the first alone).

        Raises:
            InputError: The sequence's folder is absent or holds no annotation.
        """
        return self._files("Annotations", sequence)

    def annotated(self, sequence: str) -> Annotations:
        """The annotations of a sequence as this year reads them.

        Raises:
            InputError: As of `annotations`.
        """
        return Annotations(sequence, self.annotations(sequence), one_object=self.year == 2016)

    def first_annotations(self, sequence: str) -> dict[str, FirstAnnotation]:
        """Where each object is seen first: frame name to annotation, in the order of the frames.

        Raises:
            InputError: As of `annotations`; a file is damaged, or no annotation shows an object.
        """
        return self.annotated(sequence).first_annotations()

    def start(self, sequence: str) -> tuple[tuple[pathlib.Path, ...], FirstAnnotation]:
        """The frames from the first annotated one on, and that annotation: what a tracker begins with.

        Raises:
            InputError: As of `frames` and `first_annotations`; or the annotation belongs to no frame.
        """
        frames = self.frames(sequence)
        _, given = self.annotated(sequence).given()
        pairing = pair_by_name(frames, [given.path])
        if not pairing.pairs:
            raise InputError(f"{given.path} belongs to no frame of {frames[0].parent}: name it like its frame")
        return frames[frames.index(pairing.pairs[0][0]) :], given

    def given(self, sequence: str) -> tuple[tuple[pathlib.Path, ...], dict[int, UInt8[np.ndarray, "height width"]]]:
        """What a tracker is given: the frames from the first annotated one on, and each object's first mask.

        Returns:
            The frames; and by number among them, from 0, the label map of the objects that are seen first there.

        Raises:
            InputError: As of `start`.
        """
        frames, _ = self.start(sequence)
        masks = {}
        for first in self.first_annotations(sequence).values():
            labels = self.label_map(first.path)
            pairing = pair_by_name(frames, [first.path])
            if not pairing.pairs:
                raise InputError(f"{first.path} belongs to no frame of {frames[0].parent}: name it like its frame")
            number = frames.index(pairing.pairs[0][0])
            masks[number] = np.where(np.isin(labels, first.objects), labels, 0).astype(np.uint8)
        return frames, masks

    def label_map(self, path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
        """Labels of an annotation, or of a result in the same format: 0 background, 1, 2, ... objects.

        Of year 2016 every annotated pixel is label 1. Of year 2017 label 255 is `VOID_LABEL`.

        Raises:
            InputError: The file is absent, damaged or a colour image.
        """
        return read_annotation(path, one_object=self.year == 2016)

    def _image_set(self, split: str) -> pathlib.Path:
        path = self.root / "ImageSets" / str(self.year) / f"{split}.txt"
        first_release = self.root / "ImageSets" / self.resolution / f"{split}.txt"
        if path.is_file():
            return path
        if self.year == 2016 and first_release.is_file():
            return first_release
        raise InputError(f"{path} does not exist: DAVIS {self.year} in {self.root} has no split {split!r}")

    def _files(self, kind: str, sequence: str) -> tuple[pathlib.Path, ...]:
        folder = self.root / kind / self.resolution / sequence
        if not folder.is_dir():
            raise InputError(f"{folder} does not exist: sequence {sequence!r} is incomplete")
        return frame_files(folder).files
