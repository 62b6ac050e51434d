"""Which frames show nothing of an object, so that a user sees where it was hidden, had left, or was lost."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8


class Absences:
    """Notes for every object the runs of frames that show nothing of it.

    >>> absences = Absences({1: 0, 7: 1})
    >>> for name, value in (("000", 1), ("001", 7), ("002", 7), ("003", 1)):
    ...     absences.note(name, np.full((2, 2), value, np.uint8))
    >>> absences.spans
    {1: [('001', '002')], 7: [('003', '003')]}
    """

    def __init__(self, first_frames: Mapping[int, int]):
        """Nothing noted.

        Args:
            first_frames: by id of every object, 1 to 255, how many frames come before it is looked for.
        """
        self.spans: dict[int, list[tuple[str, str]]] = {value: [] for value in first_frames}
        """By object the names of the first and last frame of every run, in order."""
        self._first_frames = dict(first_frames)
        self._hidden = dict.fromkeys(first_frames, False)
        self._noted = 0

    def note(self, name: str, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Takes the next frame into account.

        Args:
            name: the frame's.
            label_map: its objects' ids, 0 for the background.
        """
        pixels = np.bincount(label_map.reshape(-1), minlength=256)
        for value, spans in self.spans.items():
            hidden = self._noted >= self._first_frames[value] and not pixels[value]
            if hidden:
                start = spans.pop()[0] if self._hidden[value] else name
                spans.append((start, name))
            self._hidden[value] = hidden
        self._noted += 1
