"""What a tracker gives beside its label maps: how probable each object and the background is at every pixel."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from ranet_jax.io.frames import Frame


class ProbabilitySink:
    """Completes a tracker's probabilities by those of the background, and hands them on.

    The most probable of background and objects is what the label map shows.
    """

    def __init__(self, write: Callable[[Frame, np.ndarray], object], ids: Sequence[int], aggregation: str):
        """Takes where they go.

        Args:
            write: gets every frame with float32 (height, width, 1 + objects), the background first.
            ids: of the objects, in the order in which the tracker has them: that in which they appear.
            aggregation: the tracker's: "soft" probabilities sum to one with the background's; of "hard" ones each is
                its own, and the background is what the most probable object leaves.
        """
        self._write = write
        self._ids = np.array(ids, np.uint8)
        self._aggregation = aggregation

    def __call__(
        self,
        frame: Frame,
        label_map: UInt8[np.ndarray, "height width"],
        probability: Float32[Any, "height width n"] | None,
    ) -> None:
        """Takes one frame.

        Args:
            frame: names it.
            label_map: its objects.
            probability: of the first objects, perhaps padded; None where the label map is certain: it was given, or is
                of a frame before any mask.
        """
        objects = (label_map[..., None] == self._ids).astype(np.float32)
        if probability is not None:
            # An object that is yet to appear has no column, or an empty one.
            known = min(self._ids.size, probability.shape[-1])
            objects = np.zeros((*label_map.shape, self._ids.size), np.float32)
            objects[..., :known] = probability[..., :known]
        taken = objects.sum(axis=-1) if self._aggregation == "soft" else objects.max(axis=-1)
        background = np.clip(1.0 - taken, 0.0, 1.0)
        self._write(frame, np.concatenate([background[..., None], objects], axis=-1))
