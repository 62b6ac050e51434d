"""Small made-up videos in which trackers surprise: blank frames, specks, poles, unlike parts, masks without background.

    python -m tests.tracker.surprises [NAME ...]

tracks them with the shipped `lite` and prints J of every frame.
"""

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

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


def _drawn(draw: Callable[[np.ndarray], object]) -> Bool[np.ndarray, "height width"]:
    canvas = np.zeros(SIZE, np.uint8)
    draw(canvas)
    return canvas > 0


def _pasted(seed: int, shapes: Iterator[Bool[np.ndarray, "height width"]], colour: tuple[int, int, int]) -> Clip:
    """An object of one colour, with grain, before a texture."""
    background, rng = _texture(seed), np.random.default_rng(seed + 1)
    frames, masks = [], []
    for mask in shapes:
        grain = rng.normal(0, 6, (*SIZE, 3))
        painted = np.clip(np.asarray(colour) + grain, 0, 255).astype(np.uint8)
        frames.append(np.where(mask[..., None], painted, background))
        masks.append(mask)
    return Clip(frames, masks)


def ball(diameter: int) -> Clip:
    """An orange ball of a few pixels that rises and falls; it moves by half of its size a frame."""
    step = max(2, diameter // 2)
    places = [(100 + step * i, 160 + int(20 * np.sin(i / 2))) for i in range(FRAMES)]
    disc = np.hypot(*np.mgrid[:diameter, :diameter] - (diameter - 1) / 2) <= diameter / 2

    def shapes() -> Iterator[np.ndarray]:
        for x, y in places:
            mask = np.zeros(SIZE, bool)
            mask[y : y + diameter, x : x + diameter] = disc
            yield mask

    return _pasted(3, shapes(), (235, 130, 30))


def pole() -> Clip:
    """A light pole of 3x300 pixels that moves sideways by two pixels a frame."""
    columns = range(200, 200 + 2 * FRAMES, 2)
    masks = (_drawn(lambda c, x=x: c[10:310, x : x + 3].fill(1)) for x in columns)
    return _pasted(5, masks, (225, 225, 215))


def blank() -> Clip:
    """A blue disc that moves; two frames in between are white, and later three black."""
    masks = (_drawn(lambda c, i=i: cv2.circle(c, (140 + 6 * i, 160), 34, 1, -1)) for i in range(FRAMES))
    clip = _pasted(7, masks, (40, 70, 215))
    for numbers, value in ((WHITE, 255), (BLACK, 0)):
        for number in numbers:
            clip.frames[number] = np.full_like(clip.frames[number], value)
            clip.masks[number] = np.zeros(SIZE, bool)
    return clip


def man_and_shadow(gap: int) -> Clip:
    """A bright figure and the shadow that it casts, as one object; `gap` pixels lie between them."""
    background, frames, masks = _texture(9, 110, 190), [], []
    for i in range(FRAMES):
        x, foot = 150 + 5 * i, 190

        def figure(canvas: np.ndarray, x: int = x) -> None:
            cv2.ellipse(canvas, (x, foot - 55), (20, 55), 0, 0, 360, 1, -1)
            cv2.circle(canvas, (x, foot - 122), 15, 1, -1)

        man = _drawn(figure)
        shadow = _drawn(lambda c, x=x: cv2.ellipse(c, (x + 50, foot + gap + 14), (60, 14), 0, 0, 360, 1, -1)) & ~man
        frame = np.where(shadow[..., None], (background * 0.45).astype(np.uint8), background)
        frame = np.where(man[..., None], np.asarray((215, 60, 50), np.uint8), frame)
        frames.append(frame)
        masks.append(man | shadow)
    return Clip(frames, masks)


def nearly_everything() -> Clip:
    """All of the picture but a dark square, which moves."""
    everything, frames, masks = _texture(11), [], []
    for i in range(FRAMES):
        square = _drawn(lambda c, i=i: c[20:80, 30 + 4 * i : 90 + 4 * i].fill(1))
        frames.append(np.where(square[..., None], np.asarray((20, 24, 30), np.uint8), everything))
        masks.append(~square)
    return Clip(frames, masks)


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
