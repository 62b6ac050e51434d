"""Small made-up videos in which trackers surprise: blank frames, specks, poles, unlike parts, masks without background.

    python -m tests.tracker.surprises [NAME ...]

tracks them with the shipped `lite` and prints J of every frame.
"""

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

SIZE = (320, 480)
FRAMES = 12
WHITE, BLACK = (4, 5), (8, 9, 10)
"""Which frames of the video with blank frames are of one colour."""


class Clip(NamedTuple):
    """A video and where its object is; the first mask is what is given."""

    frames: list[UInt8[np.ndarray, "height width 3"]]
    masks: list[Bool[np.ndarray, "height width"]]


def _texture(seed: int, low: int = 60, high: int = 170) -> UInt8[np.ndarray, "height width 3"]:
    """Blobs of several sizes, with grain."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*SIZE, 3), np.float32)
    for sigma in (24, 8, 3):
        layer = cv2.GaussianBlur(rng.standard_normal((*SIZE, 3), dtype=np.float32), (0, 0), sigma)
        total += layer / layer.std()
    total = low + (high - low) * (total - total.min()) / (total.max() - total.min())
    return np.clip(total + rng.normal(0, 3, total.shape), 0, 255).astype(np.uint8)


def _polygon(*corners: tuple[float, float]) -> Float32[np.ndarray, "height width"]:
    """How much of each pixel a convex polygon of corners (x, y) covers, to a 64th."""
    height, width = SIZE
    canvas = np.zeros((8 * height, 8 * width), np.uint8)
    cv2.fillConvexPoly(canvas, np.round(np.asarray(corners) * 8 - 0.5).astype(np.int32), 255)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _ellipse(x: float, y: float, across: float, down: float) -> Float32[np.ndarray, "height width"]:
    """The same of an ellipse with these radii."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return _polygon(*zip(x + across * np.cos(angles), y + down * np.sin(angles), strict=True))


def _blended(
    shape: Float32[np.ndarray, "height width"], above: np.ndarray | tuple[int, int, int], below: np.ndarray
) -> UInt8[np.ndarray, "height width 3"]:
    return np.round(below + shape[..., None] * (np.asarray(above, np.float32) - below)).astype(np.uint8)


def _filmed(seed: int, background: np.ndarray, shapes: Iterable[np.ndarray], colour: tuple[int, int, int]) -> Clip:
    """An object of one colour before a picture, with the noise of a camera; a pixel is its if half of it is."""
    rng, clip = np.random.default_rng(seed), Clip([], [])
    for shape in shapes:
        picture = _blended(shape, colour, background)
        clip.frames.append(np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8))
        clip.masks.append(shape > 0.5)
    return clip


def ball(diameter: int) -> Clip:
    """An orange ball of a few pixels that rises and falls; it moves by about half of its size a frame."""
    places = [(100.3 + diameter * i / 2, 160.2 + 20 * np.sin(i / 2)) for i in range(FRAMES)]
    return _filmed(3, _texture(3), (_ellipse(x, y, diameter / 2, diameter / 2) for x, y in places), (215, 130, 60))


def pole() -> Clip:
    """A light pole of 3x300 pixels that moves sideways by some two pixels a frame."""
    lefts = [200 + 2.3 * i for i in range(FRAMES)]
    shapes = (_polygon((x, 10), (x + 3, 10), (x + 3, 310), (x, 310)) for x in lefts)
    return _filmed(5, _texture(5), shapes, (205, 205, 195))


def blank() -> Clip:
    """A blue disc that moves; two frames in between are white, and later three black."""
    shapes = (_ellipse(140 + 6 * i, 160, 34, 34) for i in range(FRAMES))
    clip = _filmed(7, _texture(7), shapes, (60, 80, 190))
    for numbers, value in ((WHITE, 255), (BLACK, 0)):
        for number in numbers:
            clip.frames[number] = np.full_like(clip.frames[number], value)
            clip.masks[number] = np.zeros(SIZE, bool)
    return clip


def man_and_shadow(gap: float) -> Clip:
    """A bright figure and the shadow that it casts, as one object; `gap` pixels lie between them."""
    ground, foot, clip, rng = _texture(9, 110, 190), 190.0, Clip([], []), np.random.default_rng(9)
    for x in np.arange(150.0, 150 + 4.5 * FRAMES, 4.5):
        man = np.maximum(_ellipse(x, foot - 55, 20, 55), _ellipse(x, foot - 122, 15, 15))
        shadow = _ellipse(x + 50, foot + gap + 14, 60, 14)
        picture = _blended(man, (190, 80, 70), _blended(shadow, ground * 0.5, ground))
        clip.frames.append(np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8))
        clip.masks.append(np.maximum(man, shadow) > 0.5)
    return clip


def nearly_everything() -> Clip:
    """All of the picture but a dark square, which moves."""
    lefts = [30 + 4.5 * i for i in range(FRAMES)]
    squares = (_polygon((x, 20), (x + 60, 20), (x + 60, 80), (x, 80)) for x in lefts)
    clip = _filmed(11, _texture(11), squares, (35, 40, 45))
    return Clip(clip.frames, [~mask for mask in clip.masks])


def no_background() -> Clip:
    """All of the picture, which moves."""
    texture = _texture(13)
    frames = [np.roll(texture, 3 * i, axis=1) for i in range(FRAMES)]
    return Clip(frames, [np.ones(SIZE, bool)] * FRAMES)


CLIPS: dict[str, Callable[[], Clip]] = {
    "blank frames": blank,
    "ball of 5": lambda: ball(5),
    "ball of 7": lambda: ball(7),
    "ball of 9": lambda: ball(9),
    "pole": pole,
    "man and shadow, touching": lambda: man_and_shadow(-6),
    "man and shadow, apart": lambda: man_and_shadow(12),
    "nearly everything": nearly_everything,
    "no background": no_background,
}


def overlaps(clip: Clip, found: list[UInt8[np.ndarray, "height width"]]) -> list[float]:
    """J of every frame after the first; 1 where nothing is and nothing was found."""
    values = []
    for mask, labels in zip(clip.masks[1:], found[1:], strict=True):
        union = np.sum(mask | (labels > 0))
        values.append(float(np.sum(mask & (labels > 0)) / union) if union else 1.0)
    return values


def tracked(clip: Clip) -> list[UInt8[np.ndarray, "height width"]]:
    """Label maps of every frame by the shipped `lite`."""
    import jax

    from ranet_jax.weights import load_checkpoint

    model = load_checkpoint("lite")
    tracker, variables = model.tracker_for(SIZE), jax.device_put(model.variables)
    state = tracker.init(variables, clip.frames[0], clip.masks[0].astype(np.uint8))
    found = [clip.masks[0].astype(np.uint8)]
    for frame in clip.frames[1:]:
        state, labels, _ = tracker.step(variables, state, frame)
        found.append(np.asarray(labels))
    return found


def main() -> int:
    """Runs the program; returns its exit code."""
    for name, make in CLIPS.items():
        if any(word in name for word in sys.argv[1:] or [""]):
            clip = make()
            values = overlaps(clip, tracked(clip))
            print(f"{name:25} {np.mean(values):.2f}: {' '.join(f'{value:.2f}' for value in values)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
