"""What of a frame the network sees: windows, on the device, from a mask to a box, to the network's input, and back.

A box is `(top, left, bottom, right)` in pixels of the working frame, bottom and right exclusive. The working frame is
the frame itself, or, for `WholeFrame` and `ReleasedBox`, a letterbox of the network's input size.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from ranet_jax.nn.config import check_values

# ImageNet's mean colour: what a window shows outside the frame.
MEAN_COLOUR = np.array((124.0, 116.0, 104.0), np.float32)

Box = Float32[Array, "4"]
Size = tuple[int, int]


class Letterbox(NamedTuple):
    """Where a frame lies on the working frame: its size there, the working frame's, and the margin above and left."""

    scaled: Size
    size: Size
    margin: Size

    @classmethod
    def of(cls, frame_size: Size, size: Size) -> "Letterbox":
        """Fits a frame into a size, centred. One that needs only padding is not resampled: 480x854 in 480x864."""
        (h, w), (height, width) = frame_size, size
        fits = h <= height and w <= width and (h == height or w == width)
        scale = 1.0 if fits else min(height / h, width / w)
        scaled = (min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale))))
        return cls(scaled, size, ((height - scaled[0]) // 2, (width - scaled[1]) // 2))

    def place(self, x: jax.Array, method: str) -> jax.Array:
        """Fits an array (h, w, c) of the frame's size into the working frame; the margins are 0."""
        if x.shape[:2] != self.scaled:
            x = jax.image.resize(x, (*self.scaled, x.shape[2]), method)
        (top, left), (h, w), (height, width) = self.margin, self.scaled, self.size
        return jnp.pad(x, ((top, height - h - top), (left, width - w - left), (0, 0)))

    def take(self, x: jax.Array, frame_size: Size) -> jax.Array:
        """The inverse of `place` for probabilities (height, width, n): margins cut off, bilinear resize undone."""
        (top, left), (h, w) = self.margin, self.scaled
        x = x[top : top + h, left : left + w]
        return x if frame_size == self.scaled else jax.image.resize(x, (*frame_size, x.shape[2]), "linear")


@dataclasses.dataclass(frozen=True)
class WholeFrame:
    """The whole frame, letterboxed, black around it: as MRNet's paper has it, and training, whose samples are cut."""

    def input_size(self, frame_size: Size, size: Size) -> Size:
        """Size of the network's input for frames of a size, where the network's own is `size`."""
        return size

    def letterbox(self, frame_size: Size, size: Size) -> Letterbox:
        """How frames become working frames."""
        return Letterbox.of(frame_size, size)

    def box(self, mask: Bool[Array, "h w"], size: Size) -> Box:
        """The box for the frame after one with this mask of all objects, for a network's input of `size`."""
        return jnp.asarray((0.0, 0.0, *mask.shape), jnp.float32)

    def cut(self, frame: Float[Array, "h w c"], box: Box, size: Size, outside: np.ndarray) -> Float[Array, "hi wi c"]:
        """The box of a working frame, at the network's input size; `outside`: the colour beyond the frame."""
        return frame

    def cut_labels(self, labels: Int[Array, "h w"], box: Box, size: Size) -> Int[Array, "hi wi"]:
        """The box of a label map; 0 outside the frame."""
        return labels

    def back(self, values: Float[Array, "hi wi n"], box: Box, frame_size: Size) -> Float[Array, "h w n"]:
        """The network's output in the working frame; zero outside the box."""
        return values


@dataclasses.dataclass(frozen=True)
class ReleasedBox(WholeFrame):
    """RANet's release: integer boxes clipped to the letterboxed frame, so that its border changes a crop's aspect.

    Attributes:
        scale: how many times the objects' extent a box is high and wide.
        minimum: side in pixels under which the box is the whole frame.
    """

    scale: float = 1.5
    minimum: int = 32

    def __post_init__(self) -> None:
        """Checks the values; raises InputError."""
        check_values(self, "tracker field window.")

    def box(self, mask: Bool[Array, "h w"], size: Size) -> Box:
        """See `WholeFrame`."""
        return self.box_of_extent(*extent(mask), (mask.shape[0], mask.shape[1]), size)

    def box_of_extent(
        self,
        top: Int[Array, ""],
        bottom: Int[Array, ""],
        left: Int[Array, ""],
        right: Int[Array, ""],
        present: Bool[Array, ""],
        frame_size: Size,
        size: Size,
    ) -> Box:
        """The extent times `scale`, grown to the input's aspect, clipped to the frame.

        Half sizes are truncated to integers as the released tracker's float32 arithmetic gives them (float64 differs by
        a pixel for some extents), whatever a compiler makes of divisions: they come from tables over all extents.
        Truncation is monotone, so the larger of two table entries is the entry of the larger of two extents.

        Args:
            top: first row of the foreground.
            bottom: its last row, inclusive.
            left: its first column.
            right: its last column, inclusive.
            present: whether there is any foreground.
            frame_size: height and width of the working frame.
            size: of the network's input, for its aspect.

        Returns:
            The box; the whole frame if there is no foreground or a side would be under `minimum` pixels.
        """
        h, w = frame_size
        aspect = np.float32(size[0] / size[1])
        half_rows = (np.arange(h) * self.scale / 2).astype(np.float32)
        half_columns = aspect * (np.arange(w) * self.scale / 2).astype(np.float32)
        table = lambda values: jnp.asarray(values.astype(np.int32))
        height, width = bottom - top, right - left
        a = jnp.maximum(table(half_rows)[height], table(half_columns)[width])
        b = jnp.maximum(table(half_rows / aspect)[height], table(half_columns / aspect)[width])
        row, column = (top + bottom) // 2, (left + right) // 2
        y0, y1 = jnp.maximum(row - a, 0), jnp.minimum(row + a, h)
        x0, x1 = jnp.maximum(column - b, 0), jnp.minimum(column + b, w)
        usable = present & (y1 - y0 >= self.minimum) & (x1 - x0 >= self.minimum)
        box = jnp.stack([y0, x0, y1, x1]).astype(jnp.float32)
        return jnp.where(usable, box, jnp.asarray((0.0, 0.0, h, w), jnp.float32))

    def cut(self, frame: Float[Array, "h w c"], box: Box, size: Size, outside: np.ndarray) -> Float[Array, "hi wi c"]:
        """Clamps at the box's edges, as resizing the cut-out would."""
        rows, columns = _half_pixel(box[0], box[2], size[0]), _half_pixel(box[1], box[3], size[1])
        return resample(frame, jnp.clip(rows, box[0], box[2] - 1), jnp.clip(columns, box[1], box[3] - 1))

    def cut_labels(self, labels: Int[Array, "h w"], box: Box, size: Size) -> Int[Array, "hi wi"]:
        """By nearest neighbour, `floor(i * n_source / n_target)`."""

        def indices(start: jax.Array, stop: jax.Array, size: int) -> jax.Array:
            # Integer arithmetic: a product of int32 is exact where a float32 quotient may fall below a whole number.
            first, span = start.astype(jnp.int32), (stop - start).astype(jnp.int32)
            return first + jnp.arange(size, dtype=jnp.int32) * span // size

        return _picked(labels, indices(box[0], box[2], size[0]), indices(box[1], box[3], size[1]))

    def back(self, values: Float[Array, "hi wi n"], box: Box, frame_size: Size) -> Float[Array, "h w n"]:
        """Resizes with aligned corners."""

        def positions(start: jax.Array, stop: jax.Array, size: int, limit: int) -> jax.Array:
            pixel = jnp.arange(limit, dtype=jnp.float32)
            position = (pixel - start) * ((size - 1) / jnp.maximum(stop - start - 1, 1.0))
            return _within(position, (pixel >= start) & (pixel < stop), size)

        return _resampled_back(values, box, frame_size, positions)


@dataclasses.dataclass(frozen=True)
class AspectBox(WholeFrame):
    """A box of the input's aspect around all objects, in the frame's own pixels, mean colour beyond its border.

    Attributes:
        scale: how many times the objects' extent it is high or wide.
        magnification: of a frame's pixels, at most: a speck is not blown up to noise.
        upright: whether frames that are higher than wide get an input whose sides are exchanged.
    """

    scale: float = 1.6
    magnification: float = 4.0
    upright: bool = True

    def __post_init__(self) -> None:
        """Checks the values; raises InputError."""
        check_values(self, "tracker field window.")

    def input_size(self, frame_size: Size, size: Size) -> Size:
        """See `WholeFrame`."""
        turned = self.upright and (frame_size[0] > frame_size[1]) != (size[0] > size[1])
        return size[::-1] if turned else size

    def letterbox(self, frame_size: Size, size: Size) -> Letterbox:
        """The frame itself is the working frame."""
        return Letterbox(frame_size, frame_size, (0, 0))

    def box(self, mask: Bool[Array, "h w"], size: Size) -> Box:
        """Around the extent's centre; the smallest that holds the whole frame where nothing is marked.

        It is never higher than twice that one.
        """
        top, bottom, left, right, present = extent(mask)
        h, w = mask.shape
        aspect = size[0] / size[1]
        whole = max(h, w * aspect)
        rows = (bottom - top + 1).astype(jnp.float32)
        columns = (right - left + 1).astype(jnp.float32)
        height = self.scale * jnp.maximum(rows, columns * aspect)
        height = jnp.clip(height, min(size[0] / self.magnification, whole), 2 * whole)
        height = jnp.where(present, height, whole)
        row = jnp.where(present, (top + bottom + 1).astype(jnp.float32) / 2, h / 2)
        column = jnp.where(present, (left + right + 1).astype(jnp.float32) / 2, w / 2)
        half = jnp.stack([height, height / aspect]) / 2
        centre = jnp.stack([row, column])
        return jnp.concatenate([centre - half, centre + half])

    def cut(self, frame: Float[Array, "h w c"], box: Box, size: Size, outside: np.ndarray) -> Float[Array, "hi wi c"]:
        """Bilinear."""
        rows, columns = _half_pixel(box[0], box[2], size[0]), _half_pixel(box[1], box[3], size[1])
        beyond = jnp.asarray(outside)[None, None]
        return resample(frame - beyond, rows, columns) + beyond

    def cut_labels(self, labels: Int[Array, "h w"], box: Box, size: Size) -> Int[Array, "hi wi"]:
        """By nearest neighbour, half-pixel centres."""
        nearest = lambda start, stop, size: jnp.floor(_half_pixel(start, stop, size) + 0.5).astype(jnp.int32)
        return _picked(labels, nearest(box[0], box[2], size[0]), nearest(box[1], box[3], size[1]))

    def back(self, values: Float[Array, "hi wi n"], box: Box, frame_size: Size) -> Float[Array, "h w n"]:
        """The inverse of `cut`."""

        def positions(start: jax.Array, stop: jax.Array, size: int, limit: int) -> jax.Array:
            pixel = jnp.arange(limit, dtype=jnp.float32) + 0.5
            position = (pixel - start) * (size / (stop - start)) - 0.5
            return _within(position, (pixel >= start) & (pixel <= stop), size)

        return _resampled_back(values, box, frame_size, positions)


Window = WholeFrame
"""Any window: `WholeFrame` says what each can do."""
WINDOWS: dict[str, type[WholeFrame]] = {cls.__name__: cls for cls in (WholeFrame, ReleasedBox, AspectBox)}


def extent(
    mask: Bool[Array, "h w"],
) -> tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""], Int[Array, ""], Bool[Array, ""]]:
    """First and last row and first and last column of the foreground (inclusive), and whether there is any."""
    rows, columns = jnp.any(mask, axis=1), jnp.any(mask, axis=0)
    h, w = mask.shape
    last = lambda line, size: size - 1 - jnp.argmax(line[::-1])
    return jnp.argmax(rows), last(rows, h), jnp.argmax(columns), last(columns, w), jnp.any(rows)


def resample(
    x: Float[Array, "h w c"], rows: Float[Array, "hout"], columns: Float[Array, "wout"]
) -> Float[Array, "hout wout c"]:
    """Bilinear values at the positions `rows` x `columns`; what lies outside the array counts as zero."""

    def along(x: jax.Array, position: jax.Array) -> jax.Array:
        n = x.shape[0]
        low = jnp.floor(position)
        total = jnp.zeros((), x.dtype)
        for index, weight in ((low, 1 - (position - low)), (low + 1, position - low)):
            inside = (index >= 0) & (index < n)
            taken = jnp.take(x, jnp.clip(index, 0, n - 1).astype(jnp.int32), axis=0, mode="clip")
            total = total + taken * jnp.where(inside, weight, 0.0)[:, None, None]
        return total

    # Columns are taken where they are rows: a gather copies what lies together, and picks single values otherwise.
    return jnp.swapaxes(along(jnp.swapaxes(along(x, rows), 0, 1), columns), 0, 1)


def _half_pixel(start: jax.Array, stop: jax.Array, size: int) -> jax.Array:
    """Positions of `size` output pixels over the span start..stop, half-pixel centres."""
    return start + (jnp.arange(size, dtype=jnp.float32) + 0.5) * ((stop - start) / size) - 0.5


def _picked(labels: Int[Array, "h w"], rows: Int[Array, "hi"], columns: Int[Array, "wi"]) -> Int[Array, "hi wi"]:
    """Labels at rows x columns; 0 outside the frame."""
    (h, w), inside = labels.shape, lambda index, limit: (index >= 0) & (index < limit)
    taken = labels[jnp.clip(rows, 0, h - 1)][:, jnp.clip(columns, 0, w - 1)]
    return jnp.where(inside(rows, h)[:, None] & inside(columns, w)[None], taken, 0)


def _within(position: Float[Array, "p"], inside: Bool[Array, "p"], size: int) -> Float[Array, "p"]:
    """Positions clamped to an array; -2, beyond even a neighbour's reach, where a pixel lies outside the box."""
    return jnp.where(inside, jnp.clip(position, 0, size - 1), -2.0)


def _resampled_back(
    values: Float[Array, "hi wi n"], box: Box, frame_size: Size, positions: Callable[..., jax.Array]
) -> Float[Array, "h w n"]:
    h, w = values.shape[:2]
    rows, columns = positions(box[0], box[2], h, frame_size[0]), positions(box[1], box[3], w, frame_size[1])
    # Columns first: what is gathered last is then what is handed out, and no axes have to be exchanged there.
    return jnp.swapaxes(resample(jnp.swapaxes(values, 0, 1), columns, rows), 0, 1)
