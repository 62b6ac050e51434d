"""Frames of 16 bits or of floats as 8 bits: one scale for a whole video."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ranet_jax.errors import InputError

_ROBUST_PERCENT = 0.1, 99.9
_FILLS = 0.5


class Levels(NamedTuple):
    """The values that become black and white; what lies between is linear, what lies outside is clipped."""

    black: float
    white: float

    def apply(self, values: np.ndarray) -> UInt8[np.ndarray, "..."]:
        """Scales values of any kind; NaN becomes black."""
        scaled = (values.astype(np.float32) - self.black) * np.float32(255.0 / (self.white - self.black))
        return np.nan_to_num(np.clip(np.rint(scaled), 0, 255), nan=0.0).astype(np.uint8)


def parse_levels(text: str) -> Levels:
    """Reads LOW:HIGH, such as `51000:52020` or `0:0.8`.

    Raises:
        InputError: it is not two numbers, the first below the second.
    """
    low, separator, high = text.partition(":")
    try:
        levels = Levels(float(low), float(high))
    except ValueError:
        levels = Levels(math.nan, math.nan)
    if not (separator and math.isfinite(levels.white - levels.black) and levels.black < levels.white):
        raise InputError(f"{text!r} is no range of values: give LOW:HIGH, such as 0:4095")
    return levels


class EightBits:
    """Turns the frames of one video into 8 bits, all by the levels of the first frame that has more.

    Values of 8 bits stay as they are. Others keep their nominal range (0 to 65535 for whole numbers, 0 to 1 for floats)
    where they fill at least half of it; otherwise black and white are the first frame's 0.1 and 99.9 percentiles.

    Attributes:
        note: how the values were scaled, in one line, once that was chosen from a frame; else None.
    """

    def __init__(self, levels: Levels | None = None):
        """Takes the levels to use, or None to choose them."""
        self.note: str | None = None
        self._levels = levels
        self._given = levels is not None

    def __call__(self, values: np.ndarray, name: str) -> UInt8[np.ndarray, "..."]:
        """Scales one frame.

        Args:
            values: uint8, or any other whole numbers or floats, of any shape.
            name: of the frame, for messages.

        Raises:
            InputError: levels were given, and the frame has 8 bits already, or it holds no finite number.
        """
        if values.dtype == np.uint8:
            if self._given:
                raise InputError(f"{name} has 8 bits, whose range is fixed: leave the range of values out")
            return values
        if self._levels is None:
            self._levels = self._choose(values, name)
        return self._levels.apply(values)

    def _choose(self, values: np.ndarray, name: str) -> Levels:
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if finite.size == 0:
            raise InputError(f"{name} holds no number: replace it")
        nominal = Levels(0.0, 1.0 if values.dtype.kind == "f" else 65535.0)
        low, high = (float(value) for value in np.percentile(finite, _ROBUST_PERCENT))
        inside = nominal.black <= finite.min() and finite.max() <= nominal.white
        if inside and high - low >= _FILLS * (nominal.white - nominal.black):
            return nominal
        if low == high:  # nearly one value all over: what little differs decides
            low, high = float(finite.min()), float(finite.max())
        if low == high:
            return nominal if inside else Levels(low - 1.0, high + 1.0)
        self.note = (
            f"{name}: values from {low:g} to {high:g} are scaled to 8 bits, in all frames alike"
            f" (another range: LOW:HIGH, such as {low:g}:{high:g})"
        )
        return Levels(low, high)
