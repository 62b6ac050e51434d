"""How whole frames are brought to a network's input size, and its output back."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ranet_jax.networks import NetworkConfig, RANetConfig


class Canvas(NamedTuple):
    """Where a frame lies on the working canvas: its size there, the canvas's size, and the margin above and left."""

    scaled: tuple[int, int]
    size: tuple[int, int]
    margin: tuple[int, int]

    @classmethod
    def of(cls, frame_size: tuple[int, int], config: NetworkConfig) -> "Canvas":
        """Frames are fitted into the input size, centre padded; RANet's geometry "pad" crops the frame itself.

        A frame that needs only padding is not resampled: 480x854 lies in 480x864 as it is.
        """
        if isinstance(config, RANetConfig) and config.crop == "pad":
            return cls(frame_size, frame_size, (0, 0))
        (h, w), (height, width) = frame_size, config.input_size
        fits = h <= height and w <= width and (h == height or w == width)
        scale = 1.0 if fits else min(height / h, width / w)
        scaled = (min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale))))
        return cls(scaled, config.input_size, ((height - scaled[0]) // 2, (width - scaled[1]) // 2))

    def place(self, x: jax.Array, method: str) -> jax.Array:
        """Fits an array (h, w, c) of the frame's size onto the canvas; the margins are 0."""
        if x.shape[:2] != self.scaled:
            x = jax.image.resize(x, (*self.scaled, x.shape[2]), method)
        (top, left), (h, w), (height, width) = self.margin, self.scaled, self.size
        return jnp.pad(x, ((top, height - h - top), (left, width - w - left), (0, 0)))

    def take(self, x: jax.Array, frame_size: tuple[int, int]) -> jax.Array:
        """The inverse of `place` for probabilities (height, width, n): margins cut off, bilinear resize undone."""
        (top, left), (h, w) = self.margin, self.scaled
        x = x[top : top + h, left : left + w]
        return x if frame_size == self.scaled else jax.image.resize(x, (*frame_size, x.shape[2]), "linear")
