"""The annotations of one sequence on disk: which objects there are, and in which frame each is seen first.

Frames and annotations belong together by their names, never by their positions: the first annotation may be of frame 8.
Nothing here imports JAX.
"""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map

VOID_LABEL = 255
"""Annotated pixels of this label belong to no object (2017 annotations): nobody could decide on them."""


class FirstAnnotation(NamedTuple):
    """The annotation in which objects are seen first.

    Attributes:
        path: The label map; it holds objects that were seen before, too.
        objects: The ids that no earlier annotation holds, in ascending order; at least one.
    """

    path: pathlib.Path
    objects: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The label maps of one sequence; every frame may have one, or some.

    Attributes:
        sequence: Its name.
        paths: The files, in the order of the frames; each is named like its frame. At least one.
        one_object: Whether everything annotated is one object, with the id 1 (DAVIS 2016).
    """

    sequence: str
    paths: tuple[pathlib.Path, ...]
    one_object: bool = False

    def label_map(self, path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
        """Labels of an annotation, or of a result in the same format: 0 background, 1, 2, ... objects.

        Raises:
            InputError: The file is absent, damaged or a colour image.
        """
        return read_annotation(path, one_object=self.one_object)

    def given(self) -> tuple[int, FirstAnnotation]:
        """The earliest annotation that shows an object, and its position among `paths`.

        Raises:
            InputError: A file is damaged, or no annotation shows an object.
        """
        for index, path in enumerate(self.paths):
            if objects := annotated_objects(self.label_map(path)):
                return index, FirstAnnotation(path, objects)
        raise InputError(
            f"{self.paths[0].parent} annotates no object in any of its {len(self.paths)} file(s) "
            f"(0 is background, {VOID_LABEL} void): give every object an id from 1 to 254"
        )

    def first_annotations(self) -> dict[str, FirstAnnotation]:
        """Where each object is seen first: frame name (the file's stem) to annotation, in the order of the frames.

        Every annotation is read, as an object may be the last one's alone.

        Raises:
            InputError: A file is damaged, or no annotation shows an object.
        """
        start, _ = self.given()
        known: set[int] = set()
        found = {}
        for path in self.paths[start:]:
            fresh = tuple(label for label in annotated_objects(self.label_map(path)) if label not in known)
            if fresh:
                found[path.stem] = FirstAnnotation(path, fresh)
                known.update(fresh)
        return found


def annotated_objects(labels: UInt8[np.ndarray, "height width"]) -> tuple[int, ...]:
    """The ids in an annotation, in ascending order: all but the background and `VOID_LABEL`."""
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))  # a third of the time of np.unique
    return tuple(int(label) for label in found if label not in (0, VOID_LABEL))


def read_annotation(path: pathlib.Path, *, one_object: bool) -> UInt8[np.ndarray, "height width"]:
    """Reads a label map, in which everything annotated may be one object with the id 1.

    Raises:
        InputError: The file is absent, damaged or a colour image.
    """
    labels = read_label_map(path)
    return (labels != 0).astype(np.uint8) if one_object else labels
