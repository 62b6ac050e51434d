"""The masks of a project on disk: what the user gave, and the results, each a palette PNG named like its frame."""

from pathlib import Path
from typing import Literal

import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.masks import read_label_map, write_label_map
from ranet_jax.studio.description import Labels

Kind = Literal["given", "masks"]
"""The folders: of the user's masks, and of results."""


class MaskFiles:
    """Reads and writes them; every file appears complete or not at all."""

    def __init__(self, folder: Path, names: list[str], size: tuple[int, int]):
        """Nothing is read yet.

        Args:
            folder: of the project.
            names: of the frames.
            size: height and width of the frames.
        """
        self._folder, self._names, self._size = folder, names, size

    def path(self, kind: Kind, index: int) -> Path:
        """Where a frame's mask is, or will be."""
        return self._folder / kind / f"{self._names[index]}.png"

    def exists(self, kind: Kind, index: int) -> bool:
        """Whether a frame has one."""
        return self.path(kind, index).exists()

    def given(self) -> list[int]:
        """Numbers of the frames that have a mask of the user's, ascending."""
        found = {path.stem for path in (self._folder / "given").glob("*.png")}
        return [index for index, name in enumerate(self._names) if name in found]

    def read(self, kind: Kind, index: int) -> Labels:
        """A frame's mask, uint8 (height, width), a copy; zeros without one.

        Raises:
            InputError: the file is damaged, or not of the video's size.
        """
        path = self.path(kind, index)
        if not path.exists():
            return np.zeros(self._size, np.uint8)
        labels = read_label_map(path)
        if labels.shape != self._size:
            raise InputError(f"{path} is not of the video's size: put the old file back, or delete it")
        return labels

    def write(self, kind: Kind, index: int, labels: Labels) -> None:
        """Writes a mask; an empty one of the user's is none."""
        if kind == "given" and not labels.any():
            self.path(kind, index).unlink(missing_ok=True)
        else:
            write_label_map(self.path(kind, index), labels)

    def erase(self, index: int, id: int) -> None:
        """Takes an object out of a frame's masks."""
        kinds: tuple[Kind, ...] = ("given", "masks")
        for kind in kinds:
            labels = self.read(kind, index)
            if np.any(labels == id):
                labels[labels == id] = 0
                self.write(kind, index, labels)
