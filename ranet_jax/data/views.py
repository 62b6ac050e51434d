"""From frames of a source to the arrays of a sample: place, colour, resample, paste, number the objects."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from ranet_jax.data import augment
from ranet_jax.data.config import SampleConfig
from ranet_jax.data.paste import paste_image, paste_labels, place_donor
from ranet_jax.data.sources import Source, check_sizes

_MOST_COVERED = 0.5  # a pasted object that would hide more than this of the first view's objects goes behind them


@dataclasses.dataclass(frozen=True)
class View:
    """A frame as it enters a sample.

    Attributes:
        index: Which image of the source.
        labels: Its label map, with the objects that the sample is about.
        positions: Where every pixel of the output lies in it.
        group: Views of a group belong together in time and place.
        shown: Whether its image is wanted, or the labels alone.
    """

    index: int
    labels: UInt8[np.ndarray, "height width"]
    positions: Float32[np.ndarray, "rows columns 2"]
    group: int
    shown: bool = True


@dataclasses.dataclass
class Shot:
    """A view after resampling; `image` is None if it is not shown."""

    image: UInt8[np.ndarray, "rows columns 3"] | None
    labels: UInt8[np.ndarray, "rows columns"]


def draw_place(
    rng: np.random.Generator, labels: UInt8[np.ndarray, "height width"], config: SampleConfig, *, flip: bool
) -> Callable[[augment.Deformation | None], Float32[np.ndarray, "rows columns 2"]]:
    """Draws a crop around `labels` and a deformation.

    Returns:
        A function from a further, small motion (or None) to the positions of a view.
    """
    if config.crop == "box":
        placement = augment.place_box(rng, labels, config.size, config.box)
    else:
        placement = augment.fit_frame(labels.shape, config.size)
    deformation = augment.sample_deformation(rng, config.geometry, config.size, flip=flip)
    unmoved = augment.backward_map(deformation, placement, config.size)

    def positions(motion: augment.Deformation | None) -> Float32[np.ndarray, "rows columns 2"]:
        if motion is None:
            return unmoved
        return augment.backward_map(deformation.then(motion), placement, config.size)

    return positions


def objects_to_keep(
    rng: np.random.Generator, labels: UInt8[np.ndarray, "height width"], max_objects: int
) -> UInt8[np.ndarray, "256"]:
    """Table from ids to ids that makes background of all objects but `max_objects` of this label map."""
    ids = augment.label_ids(labels)
    if len(ids) > max_objects:
        ids = [int(label) for label in rng.choice(ids, max_objects, replace=False)]
    table = np.zeros(256, np.uint8)
    table[ids] = ids
    return table


def assemble(
    rng: np.random.Generator, source: Source, views: Sequence[View], config: SampleConfig
) -> tuple[list[Shot], Bool[np.ndarray, "n"]] | None:
    """Resamples all views, pastes, and numbers the objects that the first view shows 1, 2, ...

    Returns:
        The shots, and which of `config.max_objects` objects there are; None if the first view shows none.

    Raises:
        UnreadableError: A file is missing or damaged.
    """
    shared = augment.sample_colour(rng, config.colour)
    images: dict[int, np.ndarray] = {}
    shots = []
    for view in views:
        shot = Shot(None, augment.warp_labels(view.labels, view.positions))
        if view.shown:
            if view.index not in images:
                images[view.index] = source.image(view.index)
                check_sizes(images[view.index], view.labels, source.name(view.index))
            shot.image = _render(rng, images[view.index], view.positions, shared, config)
        shots.append(shot)
    if rng.random() < config.paste.probability:
        count = int(rng.integers(1, config.paste.count + 1)) if config.paste.count > 1 else 1
        for _ in range(count):
            _paste_donor(rng, source, views, shots, shared, config)
    ids = augment.label_ids(shots[0].labels, config.minimum_pixels)
    if not ids:
        return None
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    for shot in shots:
        shot.labels = cv2.LUT(shot.labels, table)
    return shots, np.arange(config.max_objects) < len(ids)


def _render(
    rng: np.random.Generator,
    image: np.ndarray,
    positions: np.ndarray,
    shared: Float64[np.ndarray, "4"],
    config: SampleConfig,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """An image, its colours changed, in its place; what lies outside keeps the exact colour of padding."""
    coloured = augment.apply_colour(image, shared, augment.sample_colour(rng, config.colour_each))
    outside = augment.MEAN_COLOUR if config.crop == "box" else (0, 0, 0)
    return augment.warp_image(coloured, positions, outside)


def _paste_donor(
    rng: np.random.Generator,
    source: Source,
    views: Sequence[View],
    shots: Sequence[Shot],
    shared: Float64[np.ndarray, "4"],
    config: SampleConfig,
) -> None:
    """Pastes an object of another video or image, or one of the sample's own, into all shots; or does nothing."""
    # The same few frames are wanted again and again here.
    read_labels, read_image = functools.cache(source.labels), functools.cache(source.image)
    if config.paste.twin and rng.random() < config.paste.twin:
        anchor = views[-1].index
        ids = augment.label_ids(views[-1].labels)
    else:
        anchor = int(rng.integers(len(source)))
        ids = [] if views[0].index in source.span(anchor) else augment.label_ids(read_labels(anchor))
    if not ids:
        return
    wanted = int(rng.choice(ids))
    mask_of = functools.cache(lambda index: (read_labels(index) == wanted).view(np.uint8))
    donors = _donor_positions(rng, mask_of, anchor, source.span(anchor), views, config)
    masks = [augment.warp_labels(mask_of(i), positions) for i, positions in donors]
    label = _label_of_donor(rng, shots, config)
    behind = bool(rng.random() < config.paste.behind)
    own = shots[0].labels != 0
    if np.count_nonzero(own & (masks[0] != 0)) > _MOST_COVERED * np.count_nonzero(own):
        behind = True
    for shot, mask, (index, positions) in zip(shots, masks, donors, strict=True):
        shot.labels, seen = paste_labels(shot.labels, mask, label, behind=behind)
        if shot.image is not None and seen.any():
            donor = _render(rng, read_image(index), positions, shared, config)
            shot.image = paste_image(shot.image, donor, seen)


def _label_of_donor(rng: np.random.Generator, shots: Sequence[Shot], config: SampleConfig) -> int:
    """A new id if the donor is to be an object and there is room for one, or else 0."""
    highest = max(int(shot.labels.max()) for shot in shots)
    room = len(augment.label_ids(shots[0].labels)) < config.max_objects and highest < 255
    return highest + 1 if rng.random() < config.paste.as_object and room else 0


def _donor_positions(
    rng: np.random.Generator,
    mask_of: Callable[[int], UInt8[np.ndarray, "height width"]],
    anchor: int,
    span: range,
    views: Sequence[View],
    config: SampleConfig,
) -> list[tuple[int, Float32[np.ndarray, "rows columns 2"]]]:
    """For every view, the donor's frame and where the pixels of the output lie in it.

    The last group of views shows the donor from the frame `anchor` on, in step with the sample's own frames;
    an earlier group (the template) shows any other moment of its video, elsewhere in the picture.
    """
    height, width = config.size
    extent = height * rng.uniform(*config.paste.extent)
    flip = bool(rng.random() < config.geometry.flip)
    result = []
    for group in sorted({view.group for view in views}):
        members = [view for view in views if view.group == group]
        start = anchor if group == views[-1].group else int(rng.choice(span))
        if not mask_of(start).any():
            start = anchor
        deformation = augment.sample_deformation(rng, config.geometry, config.size, flip=flip)
        centre = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        for k, view in enumerate(members):
            if k and config.paste.motion is not None:
                motion = config.paste.motion
                deformation = deformation.then(augment.sample_deformation(rng, motion, config.size, flip=False))
                # A donor is placed by its middle, whatever its deformation: what moves is that.
                dx, dy = rng.uniform(-motion.translation, motion.translation, 2) * (width, height)
                centre = (centre[0] + dx, centre[1] + dy)
            positions = place_donor(mask_of(start), deformation, centre, extent, config.size)
            frame = min(max(start + view.index - members[0].index, span.start), span.stop - 1)
            result.append((frame, positions))
    return result
