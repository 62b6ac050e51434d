"""A frame through the network's encoder, for clicks: kept for the last few frames, so that only the first one waits."""

import collections
import functools
import threading
from collections.abc import Hashable
from typing import Any

import cv2
import jax
import numpy as np
from jaxtyping import UInt8

from ranet_jax.backbones import backbone, normalise
from ranet_jax.clicks.regions import ClickFeatures, click_features
from ranet_jax.networks import NetworkConfig

LONGEST = 864
"""Pixels of the longer side as the encoder sees it; smaller frames are not enlarged."""
KEPT_FRAMES = 6
MULTIPLE = 32


class Encoder:
    """Encodes frames of any size with a checkpoint's encoder. Safe to use from several threads."""

    def __init__(self, config: NetworkConfig, variables: Any):
        """Nothing is compiled yet.

        Args:
            config: of the network.
            variables: its variables.
        """
        self._name = config.backbone
        self._norm = config.backbone_norm
        self._variables = {kind: values["backbone"] for kind, values in variables.items() if "backbone" in values}
        self._kept: collections.OrderedDict[Hashable, ClickFeatures] = collections.OrderedDict()
        self._lock = threading.Lock()

    def encode(self, key: Hashable, image: UInt8[np.ndarray, "height width 3"]) -> ClickFeatures:
        """Features of a frame.

        Args:
            key: of the frame: what was encoded under it lately is not encoded again.
            image: RGB.
        """
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._encoded(image)
                while len(self._kept) > KEPT_FRAMES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _encoded(self, image: UInt8[np.ndarray, "height width 3"]) -> ClickFeatures:
        height, width = image.shape[:2]
        scale = min(1.0, LONGEST / max(height, width))
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA) if scale < 1.0 else image
        padded = cv2.copyMakeBorder(small, 0, -h % MULTIPLE, 0, -w % MULTIPLE, cv2.BORDER_REPLICATE)
        levels = _pyramid(self._variables, padded, name=self._name, norm=self._norm)
        arrays = [np.asarray(level[0], np.float32) for level in levels]
        return click_features(small, arrays, (height, width))


@functools.partial(jax.jit, static_argnames=("name", "norm"))
def _pyramid(variables: Any, image: jax.Array, *, name: str, norm: str) -> tuple[jax.Array, ...]:
    return tuple(backbone(name, norm=norm).apply(variables, normalise(image, name)[None]))
