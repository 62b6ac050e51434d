"""Which frames show nothing of an object, so that a user sees where it was hidden, had left, or was lost."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8


class Absences:
    """Notes for every object the runs of frames that show nothing of it.

    >>> absences = Absences([1, 7])
    >>> for name, value in (("000", 1), ("001", 7), ("002", 7), ("003", 1)):
    ...     absences.note(name, np.full((2, 2), value, np.uint8))
    >>> absences.spans
    {1: [('001', '002')], 7: [('000', '000'), ('003', '003')]}
    """

    def __init__(self, ids: Sequence[int]):
        """Nothing noted.

        Args:
            ids: of the objects, 1 to 254.
        """
        self.spans: dict[int, list[tuple[str, str]]] = {value: [] for value in ids}
        """By object the names of the first and last frame of every run, in order."""
        self._hidden = dict.fromkeys(ids, False)

    def note(self, name: str, label_map: UInt8[np.ndarray, "height width"]) -> None:
        """Takes the next frame into account.

        Args:
            name: the frame's.
            label_map: its objects' ids, 0 for the background.
        """
        pixels = np.bincount(label_map.reshape(-1), minlength=256)
        for value, spans in self.spans.items():
            hidden = not pixels[value]
            if hidden:
                start = spans.pop()[0] if self._hidden[value] else name
                spans.append((start, name))
            self._hidden[value] = hidden
