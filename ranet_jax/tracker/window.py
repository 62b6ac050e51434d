"""Crop boxes and resampling, on the device: from a mask to a box, from a frame to the network's input, and back.

A box is `(top, left, bottom, right)` in pixels of the frame, bottom and right exclusive. There are two geometries
(config field `crop`):

- "clip" (released, spec section 6): integer boxes clipped to the frame, so that its border changes a crop's aspect.
- "pad" (lite): boxes always have the input's aspect and may reach over the border; what lies outside is mean colour.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from ranet_jax.networks import RANetConfig

MINIMUM_BOX = 32
# ImageNet's mean colour: what a padded crop shows outside the frame.
MEAN_COLOUR = np.array((124.0, 116.0, 104.0), np.float32)

Box = Float32[Array, "4"]


def extent(
    mask: Bool[Array, "h w"],
) -> tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""], Int[Array, ""], Bool[Array, ""]]:
    """First and last row and first and last column of the foreground (inclusive), and whether there is any."""
    rows, columns = jnp.any(mask, axis=1), jnp.any(mask, axis=0)
    h, w = mask.shape
    last = lambda line, size: size - 1 - jnp.argmax(line[::-1])
    return jnp.argmax(rows), last(rows, h), jnp.argmax(columns), last(columns, w), jnp.any(rows)


def box_of_mask(mask: Bool[Array, "h w"], config: RANetConfig) -> Box:
    """Box around all foreground of a mask, in the geometry of `config.crop`; the whole frame where there is none."""
    if config.crop == "clip":
        return clipped_box(*extent(mask), (mask.shape[0], mask.shape[1]), config)
    return padded_box(*extent(mask), (mask.shape[0], mask.shape[1]), config)


def clipped_box(
    top: Int[Array, ""],
    bottom: Int[Array, ""],
    left: Int[Array, ""],
    right: Int[Array, ""],
    present: Bool[Array, ""],
    frame_size: tuple[int, int],
    config: RANetConfig,
) -> Box:
    """The released rule: the extent times `crop_scale`, grown to the input's aspect, clipped to the frame.

    Half sizes are truncated to integers as the released tracker's float32 arithmetic gives them (float64 differs by a
    pixel for some extents), whatever a compiler makes of divisions: they come from tables over all extents. Truncation
    is monotone, so the larger of two table entries is the entry of the larger of two extents.

    Args:
        top: first row of the foreground.
        bottom: its last row, inclusive.
        left: its first column.
        right: its last column, inclusive.
        present: whether there is any foreground.
        frame_size: height and width of the frame.
        config: for `crop_scale` and the aspect of `input_size`.

    Returns:
        The box; the whole frame if there is no foreground or a side would be under 32 pixels.
    """
    h, w = frame_size
    aspect = np.float32(config.input_size[0] / config.input_size[1])
    half_rows = (np.arange(h) * config.crop_scale / 2).astype(np.float32)
    half_columns = aspect * (np.arange(w) * config.crop_scale / 2).astype(np.float32)
    table = lambda values: jnp.asarray(values.astype(np.int32))
    height, width = bottom - top, right - left
    a = jnp.maximum(table(half_rows)[height], table(half_columns)[width])
    b = jnp.maximum(table(half_rows / aspect)[height], table(half_columns / aspect)[width])
    row, column = (top + bottom) // 2, (left + right) // 2
    y0, y1 = jnp.maximum(row - a, 0), jnp.minimum(row + a, h)
    x0, x1 = jnp.maximum(column - b, 0), jnp.minimum(column + b, w)
    usable = present & (y1 - y0 >= MINIMUM_BOX) & (x1 - x0 >= MINIMUM_BOX)
    box = jnp.stack([y0, x0, y1, x1]).astype(jnp.float32)
    return jnp.where(usable, box, jnp.asarray((0.0, 0.0, h, w), jnp.float32))


def padded_box(
    top: Int[Array, ""],
    bottom: Int[Array, ""],
    left: Int[Array, ""],
    right: Int[Array, ""],
    present: Bool[Array, ""],
    frame_size: tuple[int, int],
    config: RANetConfig,
) -> Box:
    """A box of the input's aspect around the extent's centre that holds `crop_scale` times the extent.

    Arguments as `clipped_box`'s. Without foreground the box is the smallest that holds the whole frame. A box is never
    higher than twice that one nor lower than a quarter of the network's input: a speck is not blown up to noise.
    """
    h, w = frame_size
    aspect = config.input_size[0] / config.input_size[1]
    whole = max(h, w * aspect)
    rows = (bottom - top + 1).astype(jnp.float32)
    columns = (right - left + 1).astype(jnp.float32)
    height = config.crop_scale * jnp.maximum(rows, columns * aspect)
    height = jnp.clip(height, min(config.input_size[0] / 4, whole), 2 * whole)
    height = jnp.where(present, height, whole)
    row = jnp.where(present, (top + bottom + 1).astype(jnp.float32) / 2, h / 2)
    column = jnp.where(present, (left + right + 1).astype(jnp.float32) / 2, w / 2)
    half = jnp.stack([height, height / aspect]) / 2
    centre = jnp.stack([row, column])
    return jnp.concatenate([centre - half, centre + half])


def resample(
    x: Float[Array, "h w c"], rows: Float[Array, "hout"], columns: Float[Array, "wout"]
) -> Float[Array, "hout wout c"]:
    """Bilinear values at the positions `rows` x `columns`; what lies outside the array counts as zero."""

    def along(x: jax.Array, position: jax.Array, axis: int) -> jax.Array:
        n = x.shape[axis]
        low = jnp.floor(position)
        total = jnp.zeros((), x.dtype)
        for index, weight in ((low, 1 - (position - low)), (low + 1, position - low)):
            inside = (index >= 0) & (index < n)
            taken = jnp.take(x, jnp.clip(index, 0, n - 1).astype(jnp.int32), axis=axis)
            shape = [1] * x.ndim
            shape[axis] = -1
            total = total + taken * jnp.where(inside, weight, 0.0).reshape(shape)
        return total

    return along(along(x, rows, 0), columns, 1)


def _half_pixel(start: jax.Array, stop: jax.Array, size: int) -> jax.Array:
    """Positions of `size` output pixels over the span start..stop, half-pixel centres."""
    return start + (jnp.arange(size, dtype=jnp.float32) + 0.5) * ((stop - start) / size) - 0.5


def crop_frame(frame: Float[Array, "h w 3"], box: Box, config: RANetConfig) -> Float[Array, "hout wout 3"]:
    """The box of a frame (0..255), bilinearly resized to the network's input.

    "clip" clamps at the box's edges, as resizing the cut-out would; "pad" shows the mean colour outside the frame.
    """
    rows = _half_pixel(box[0], box[2], config.input_size[0])
    columns = _half_pixel(box[1], box[3], config.input_size[1])
    if config.crop == "clip":
        return resample(frame, jnp.clip(rows, box[0], box[2] - 1), jnp.clip(columns, box[1], box[3] - 1))
    mean = jnp.asarray(MEAN_COLOUR)[None, None]
    return resample(frame - mean, rows, columns) + mean


def crop_labels(labels: Int[Array, "h w"], box: Box, config: RANetConfig) -> Int[Array, "hout wout"]:
    """The box of a label map, resized by nearest neighbour (`floor(i * n_source / n_target)`); 0 outside the frame."""

    def indices(start: jax.Array, stop: jax.Array, size: int, limit: int) -> tuple[jax.Array, jax.Array]:
        if config.crop == "clip":
            # Integer arithmetic: a product of int32 is exact where a float32 quotient may fall below a whole number.
            first, span = start.astype(jnp.int32), (stop - start).astype(jnp.int32)
            index = first + jnp.arange(size, dtype=jnp.int32) * span // size
        else:
            index = jnp.floor(_half_pixel(start, stop, size) + 0.5).astype(jnp.int32)
        return jnp.clip(index, 0, limit - 1), (index >= 0) & (index < limit)

    h, w = labels.shape
    rows, row_inside = indices(box[0], box[2], config.input_size[0], h)
    columns, column_inside = indices(box[1], box[3], config.input_size[1], w)
    inside = row_inside[:, None] & column_inside[None]
    return jnp.where(inside, labels[rows][:, columns], 0)


def uncrop(
    values: Float[Array, "hin win n"], box: Box, frame_size: tuple[int, int], config: RANetConfig
) -> Float[Array, "h w n"]:
    """The network's output brought back to the frame: zero outside the box.

    "clip" resizes with aligned corners (released); "pad" inverts the half-pixel geometry of its crop.
    """

    def positions(start: jax.Array, stop: jax.Array, size: int, limit: int) -> jax.Array:
        pixel = jnp.arange(limit, dtype=jnp.float32)
        if config.crop == "clip":
            position = (pixel - start) * ((size - 1) / jnp.maximum(stop - start - 1, 1.0))
            inside = (pixel >= start) & (pixel < stop)
        else:
            position = (pixel + 0.5 - start) * (size / (stop - start)) - 0.5
            inside = (pixel + 0.5 >= start) & (pixel + 0.5 <= stop)
        # -2 lies outside the array even with a neighbour's reach: such a pixel becomes zero.
        return jnp.where(inside, jnp.clip(position, 0, size - 1), -2.0)

    h, w = values.shape[:2]
    return resample(values, positions(box[0], box[2], h, frame_size[0]), positions(box[1], box[3], w, frame_size[1]))
