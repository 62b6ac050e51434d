"""Training samples from images and videos: pure functions of a random generator, a source and a config.

`static_pair` makes two transformed copies of one image, `video_pair` takes two frames of a video, `clip` a
run of frames. Every array has a fixed shape. Label maps hold 0 for the background and 1, 2, ... `max_objects`
for the objects that the template (of a clip, the first frame) shows; `valid[i]` says whether there is an
object i + 1. All else is background in every label map: objects that only come later, and those over
`max_objects`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from ranet_jax.data import augment
from ranet_jax.data.config import SampleConfig
from ranet_jax.data.sources import Source
from ranet_jax.data.views import Shot, View, assemble, draw_place, objects_to_keep

Sample = dict[str, Any]


def static_pair(rng: np.random.Generator, source: Source, index: int, config: SampleConfig) -> Sample | None:
    """Two transformed copies of one image: template and current frame (paper, section 4.1, pre-training).

    Args:
        rng: Decides everything.
        source: Where the image, and what is pasted, comes from.
        index: Which image.
        config: See `SampleConfig`.

    Returns:
        Template and current frame, with rollout 2 also the next one, as a clip: `images`: uint8 (2 or 3, height, width,
        3), RGB; `labels`: uint8 (2 or 3, height, width); `previous_labels`, for the current frame: uint8 (height,
        width); `valid`: bool (max_objects,); `name`: str. None if the image shows no object.

    Raises:
        UnreadableError: A file is missing or damaged.
    """
    return _pair(rng, source, range(index, index + 1), (index, index, index), config)


def video_pair(rng: np.random.Generator, source: Source, index: int, config: SampleConfig) -> Sample | None:
    """Any other frame of a video as template, this one as current frame (paper, section 4.1, fine-tuning).

    The previous mask is that of a frame before or after, at most `previous_gap` away; the frame of a rollout
    lies on the other side. Arguments, result and errors as `static_pair`; None if no frame shows an object.
    """
    span = source.span(index)
    nearby = [i for i in span if 0 < abs(i - index) <= config.previous_gap]
    previous = int(rng.choice(nearby)) if nearby else index
    step = int(rng.integers(1, config.rollout_gap + 1)) * (1 if previous <= index else -1)
    following = min(max(index + step, span.start), span.stop - 1)
    return _pair(rng, source, span, (previous, index, following), config)


def clip(rng: np.random.Generator, source: Source, index: int, config: SampleConfig) -> Sample | None:
    """Consecutive frames of a video, from this one on, all cropped, deformed and mirrored alike.

    A clip that reaches the end of its video turns back there. If the frame shows no object, the clip starts
    at another frame of the video.

    Args:
        rng: Decides everything.
        source: Where the frames, and what is pasted, come from.
        index: The first frame.
        config: See `SampleConfig`.

    Returns:
        `images`: uint8 (clip_length, height, width, 3), RGB; `labels`: uint8 (clip_length, height, width);
        `valid`: bool (max_objects,); `name`: str. None if no frame of the video shows an object.

    Raises:
        UnreadableError: A file is missing or damaged.
    """
    span = source.span(index)
    for _ in range(config.attempts):
        first = _frame_with_object(source, [index, *_shuffled(rng, span)])
        if first is None:
            return None
        start, first_labels = first
        indices = _there_and_back(span, start, config)
        kept = objects_to_keep(rng, first_labels, config.max_objects)
        labels = [cv2.LUT(first_labels if i == start else source.labels(i), kept) for i in indices]
        flip = bool(rng.random() < config.geometry.flip)
        positions = draw_place(rng, np.max(labels, axis=0), config, flip=flip)(None)
        views = [View(i, part, positions, group=0) for i, part in zip(indices, labels, strict=True)]
        assembled = assemble(rng, source, views, config)
        if assembled is not None:
            shots, valid = assembled
            images = np.stack([shot.image for shot in shots if shot.image is not None])
            sample = {"images": images, "labels": np.stack([shot.labels for shot in shots])}
            return sample | {"valid": valid, "name": source.name(start)}
    return None


def _pair(
    rng: np.random.Generator, source: Source, span: range, scene: tuple[int, int, int], config: SampleConfig
) -> Sample | None:
    """A template out of `span` and the frames of `scene`: previous, current, next."""
    previous, current, following = scene
    for _ in range(config.attempts):
        others = [i for i in _shuffled(rng, span) if i != current]
        first = _frame_with_object(source, [*others, current])
        if first is None:
            return None
        template, template_labels = first
        kept = objects_to_keep(rng, template_labels, config.max_objects)
        template_labels = cv2.LUT(template_labels, kept)
        labels = {i: cv2.LUT(source.labels(i), kept) for i in scene[: 1 + config.rollout]}
        # Where the object has just come into view, the box of a tracker that lost it would be anywhere.
        around = labels[previous] if labels[previous].any() else labels[current]
        flip = bool(rng.random() < config.geometry.flip)
        template_positions = draw_place(rng, template_labels, config, flip=flip)(None)
        place = draw_place(rng, around, config, flip=flip)
        views = [
            View(template, template_labels, template_positions, group=0),
            View(previous, labels[previous], place(None), group=1, shown=False),
            View(current, labels[current], place(None), group=1),
        ]
        if config.rollout == 2:
            # A still has no next frame: what is shown moves instead.
            motion = None
            if following == current:
                motion = augment.sample_deformation(rng, config.motion, config.size, flip=False)
            views.append(View(following, labels[following], place(motion), group=1))
        assembled = assemble(rng, source, views, config)
        if assembled is not None:
            return _as_pair(rng, *assembled, source.name(current), config)
    return None


def _as_pair(
    rng: np.random.Generator,
    shots: Sequence[Shot],
    valid: Bool[np.ndarray, "n"],
    name: str,
    config: SampleConfig,
) -> Sample:
    """The entries of a pair, its previous mask perturbed."""
    template, previous, current = shots[:3]
    previous_labels = previous.labels
    if config.perturbation is not None:
        previous_labels = augment.perturb_labels(rng, previous_labels, config.perturbation)
    shown = [template, current, *shots[3:]]
    images = np.stack([shot.image for shot in shown if shot.image is not None])
    sample: Sample = {"images": images, "labels": np.stack([shot.labels for shot in shown])}
    return sample | {"previous_labels": previous_labels, "valid": valid, "name": name}


def _shuffled(rng: np.random.Generator, span: range) -> list[int]:
    return rng.permutation(span).tolist()


def _frame_with_object(source: Source, indices: Iterable[int]) -> tuple[int, UInt8[np.ndarray, "height width"]] | None:
    """The first of these frames that has any foreground, and its labels."""
    for index in indices:
        labels = source.labels(index)
        if labels.any():
            return index, labels
    return None


def _there_and_back(span: range, start: int, config: SampleConfig) -> list[int]:
    """Indices of a clip from `start` on, turning round at the ends of the video."""
    last = len(span) - 1
    steps = [start - span.start + config.clip_gap * i for i in range(config.clip_length)]
    return [span.start + (last - abs(last - step % (2 * last)) if last else 0) for step in steps]
