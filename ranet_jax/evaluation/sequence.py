"""One sequence's masks against its annotations: which frames, pixels and objects count, and their scores.

Neither this module nor what it imports needs JAX, so that worker processes start fast and stay small.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from ranet_jax.data.annotations import VOID_LABEL, Annotations, annotated_objects
from ranet_jax.errors import InputError
from ranet_jax.evaluation.metrics import Statistics, one_opencv_thread, score_label_maps, statistics
from ranet_jax.io.folders import frame_files, pair_by_name


@dataclasses.dataclass(frozen=True)
class Rules:
    """What counts. As it stands: the official semi-supervised evaluation of DAVIS 2017.

    Attributes:
        void: Whether annotated pixels of `VOID_LABEL` count for nothing and against nothing, instead of as background.
        first: Whether an object is also scored in the annotation in which it is seen first, which is usually given to
            the method.
        last: Whether the last annotation is scored.
    """

    void: bool = False
    first: bool = False
    last: bool = False


@dataclasses.dataclass(frozen=True)
class ObjectScores:
    """The scores of one object in one sequence.

    Attributes:
        sequence: The sequence's name.
        label: The object's id in the annotations.
        region: Mean, recall and decay of J.
        boundary: Mean, recall and decay of F.
        region_per_frame: J of every scored frame in order, in [0, 1].
        boundary_per_frame: F of every scored frame in order, in [0, 1].
    """

    sequence: str
    label: int
    region: Statistics
    boundary: Statistics
    region_per_frame: tuple[float, ...]
    boundary_per_frame: tuple[float, ...]


def score_sequence(
    sequence: str, frames: Iterable[tuple[np.ndarray, np.ndarray | None]], rules: Rules
) -> tuple[ObjectScores, ...]:
    """Scores the label maps of one sequence, wherever they come from.

    An object counts from the annotation after the one in which it is seen first (from that one with `rules.first`), to
    the end, and is missing wherever a prediction lacks it.

    Args:
        sequence: Its name.
        frames: The annotated and the predicted labels of every annotated frame, uint8 (height, width), in order; taken
            one at a time. A prediction of None: the frame is not scored. `rules.last` says nothing here.
        rules: What counts.

    Returns:
        The scores of every object, by ascending id. An object that is seen first where nothing follows has none.

    Raises:
        ValueError: No object is scored in any frame.
    """
    per_object: dict[int, list[np.ndarray]] = {}
    for truth, prediction in frames:
        fresh = [label for label in annotated_objects(truth) if label not in per_object]
        counted = [*per_object, *(fresh if rules.first else ())]
        per_object.update((label, []) for label in fresh)
        if prediction is None or not counted:
            continue
        void = truth == VOID_LABEL if rules.void else None
        scores = score_label_maps(truth, prediction, counted, void)
        for label, score in zip(counted, scores, strict=True):
            per_object[label].append(score)
    scored = {label: np.stack(per_object[label]).T for label in sorted(per_object) if per_object[label]}
    if not scored:
        raise ValueError(f"sequence {sequence} has no frame to score")
    return tuple(
        ObjectScores(sequence, label, statistics(j), statistics(f), tuple(map(float, j)), tuple(map(float, f)))
        for label, (j, f) in scored.items()
    )


def scored_annotations(annotations: Annotations, rules: Rules) -> tuple[pathlib.Path, ...]:
    """The annotations that count for some object.

    Raises:
        InputError: No annotation shows an object, or none is left to score.
    """
    start, given = annotations.given()
    paths = annotations.paths[start if rules.first else start + 1 : None if rules.last else -1]
    if not paths:
        given_frame = "" if rules.first else ", the first is given to the method"
        last_frame = "" if rules.last else ", the last does not count"
        raise InputError(
            f"{given.path.parent} has {len(annotations.paths) - start} annotation(s) from the first object on"
            f"{given_frame}{last_frame}: no frame is left to score"
        )
    return paths


def require_masks(
    annotations: Annotations, frames: Sequence[pathlib.Path], folder: pathlib.Path, rules: Rules
) -> dict[pathlib.Path, pathlib.Path]:
    """Finds the mask of every annotation that counts.

    Args:
        annotations: Of the sequence.
        frames: Its frames, where they are known: what the masks should be named like; else the annotations again.
        folder: Of the masks.
        rules: What counts.

    Returns:
        Annotation to mask.

    Raises:
        InputError: A mask is missing, or the masks are numbered like the frames but from another start.
    """
    needed = scored_annotations(annotations, rules)
    masks = frame_files(folder).files
    if hint := pair_by_name(frames, masks).shift_hint():
        raise InputError(f"{folder} is numbered differently from {frames[0].parent}{hint}")
    pairing = pair_by_name(needed, masks)
    if pairing.frames:
        missing = folder / f"{pairing.frames[0].stem}.png"
        raise InputError(
            f"{missing} does not exist: {len(pairing.frames)} of {len(needed)} masks of {annotations.sequence} are "
            f"missing{pairing.shift_hint()}"
        )
    return dict(pairing.pairs)


def score_masks(
    annotations: Annotations, masks: dict[pathlib.Path, pathlib.Path], rules: Rules
) -> tuple[ObjectScores, ...]:
    """Scores the masks of one sequence on disk.

    Args:
        annotations: Of the sequence.
        masks: Annotation to mask, as of `require_masks`; other annotations only say where objects are seen first.
        rules: What counts.

    Returns:
        The scores of every object.

    Raises:
        InputError: A file cannot be read, differs in size from its annotation, or holds an id that no annotation has.
    """
    unknown: dict[int, pathlib.Path] = {}
    seen: set[int] = set()
    with one_opencv_thread():
        scores = score_sequence(annotations.sequence, _read_pairs(annotations, masks, seen, unknown), rules)
    for label, path in unknown.items():
        if label not in seen:
            raise InputError(_unknown_object(path, label, annotations, seen))
    return scores


def _read_pairs(
    annotations: Annotations,
    masks: dict[pathlib.Path, pathlib.Path],
    seen: set[int],
    unknown: dict[int, pathlib.Path],
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Reads annotations and masks in order; notes the objects seen, and the first mask of each that was not yet."""
    for annotation in annotations.paths:
        truth = annotations.label_map(annotation)
        seen.update(annotated_objects(truth))
        if annotation not in masks:
            yield truth, None
            continue
        path = masks[annotation]
        prediction = annotations.label_map(path)
        if prediction.shape != truth.shape:
            sizes = "{1}x{0}, but its annotation is {3}x{2}".format(*prediction.shape, *truth.shape)
            raise InputError(f"{path} is {sizes}: save masks at the size of the frames")
        not_seen = np.ones(256, np.uint8)
        not_seen[[0, *seen]] = 0
        strange = cv2.LUT(prediction, not_seen)
        if cv2.countNonZero(strange):
            for label in np.unique(prediction[strange > 0]):
                unknown.setdefault(int(label), path)
        yield truth, prediction


def _unknown_object(path: pathlib.Path, label: int, annotations: Annotations, seen: set[int]) -> str:
    objects = ", ".join(map(str, sorted(seen)))
    line = f"{path} holds object {label}, but the annotations of {annotations.sequence} have the objects {objects} only"
    if label == VOID_LABEL:
        line += f" ({VOID_LABEL} is an id like others in a result: save the object with its own id)"
    return line
