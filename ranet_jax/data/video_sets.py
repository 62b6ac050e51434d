"""Data sets of videos in the layout that YouTube-VOS, MOSE, LVOS and VOST share.

    FOLDER/JPEGImages/<video>/<frame>.jpg ...
    FOLDER/Annotations/<video>/<frame>.png ...

FOLDER is a split (`YouTubeVOS/valid`, `MOSE/train`, `LVOS/val`), or the whole data set where lists say what belongs to
a split (VOST). Objects may be seen first in any frame, frames need not have an annotation, and numbers need not start
from 0. `docs/datasets.md` says where the data sets are and what each is like.

Nothing here imports JAX.
"""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.annotations import Annotations, FirstAnnotation, read_annotation
from ranet_jax.errors import InputError
from ranet_jax.io.folders import frame_files, naturally_sorted, pair_by_name


@dataclasses.dataclass(frozen=True)
class VideoSet:
    """The annotated videos of one split.

    Attributes:
        folder: Holds `JPEGImages` and `Annotations`.
        names: A text file that names the videos of the split, one a line; if None, every folder is one.
        frames_folder: Holds the frames instead of `folder / "JPEGImages"`, such as
            `YouTubeVOS/valid_all_frames/JPEGImages`, which has the frames between the annotated ones, too.

    Raises:
        InputError: A folder is missing.
    """

    folder: pathlib.Path
    names: pathlib.Path | None = None
    frames_folder: pathlib.Path | None = None

    def __post_init__(self) -> None:
        for path in (self._frames, self._annotations):
            if not path.is_dir():
                raise InputError(f"there is no folder {path}: give the folder of a split, which holds it")

    def sequences(self) -> tuple[str, ...]:
        """Names of the videos: of those that have annotations, in natural order, or of those listed, in their order.

        Raises:
            InputError: The list cannot be read or is empty; a listed video has no annotations, or none has any.
        """
        known = [path.name for path in naturally_sorted(p for p in self._annotations.iterdir() if p.is_dir())]
        known = [name for name in known if not name.startswith(".")]
        if self.names is None:
            if not known:
                raise InputError(f"{self._annotations} holds no folder of annotations: check the path")
            return tuple(known)
        try:
            lines = self.names.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.names} cannot be read as a list of videos: {error}") from error
        listed = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not listed:
            raise InputError(f"{self.names} lists no video")
        if absent := sorted(set(listed).difference(known)):
            raise InputError(f"{self.names} lists {len(absent)} video(s) without annotations, such as {absent[0]}")
        return listed

    def frames(self, sequence: str) -> tuple[pathlib.Path, ...]:
        """Paths of a video's frames, in the order of their numbers.

        Raises:
            InputError: The folder is missing or holds no frame.
        """
        return frame_files(self._frames / sequence).files

    def annotations(self, sequence: str) -> tuple[pathlib.Path, ...]:
        """Paths of a video's annotations, in order; of a split that is to be predicted, those that are given.

        Raises:
            InputError: The folder is missing or holds no annotation.
        """
        return frame_files(self._annotations / sequence).files

    def first_annotations(self, sequence: str) -> dict[str, FirstAnnotation]:
        """Where each object is seen first: name of the frame to annotation, in the order of the frames.

        A later annotation may repeat the objects that were seen before, or leave them out: both are published.

        Raises:
            InputError: As of `frames` and `annotations`; an annotation belongs to no frame or is damaged, or none shows
                an object.
        """
        paths = self.annotations(sequence)
        pairing = pair_by_name(self.frames(sequence), paths)
        if pairing.masks:
            raise InputError(
                f"{len(pairing.masks)} annotation(s) of {sequence} belong to no frame of {self._frames / sequence}, "
                f"such as {pairing.masks[0].name}{pairing.shift_hint()}"
            )
        frame_of = {annotation: frame for frame, annotation in pairing.pairs}
        found = Annotations(sequence, paths).first_annotations()
        return {frame_of[annotation.path].stem: annotation for annotation in found.values()}

    def label_map(self, path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
        """Labels of an annotation: 0 background, 255 void, other numbers objects.

        Raises:
            InputError: The file is absent, damaged or a colour image.
        """
        return read_annotation(path, one_object=False)

    @property
    def _frames(self) -> pathlib.Path:
        return self.folder / "JPEGImages" if self.frames_folder is None else self.frames_folder

    @property
    def _annotations(self) -> pathlib.Path:
        return self.folder / "Annotations"
