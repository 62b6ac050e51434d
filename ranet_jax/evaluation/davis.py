"""The DAVIS protocol: masks on disk against a DAVIS folder, one process a core.

Semi-supervised: the objects are those of the first annotation, the first and the last annotated frame are
not scored, an object that a result lacks has an empty mask, and the numbers of a data set are means over its
objects.

Neither this module nor what it imports needs JAX, so that worker processes start fast and stay small.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import pathlib
import sys
import types
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from ranet_jax.data.davis import VOID_LABEL, DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.metrics import Statistics, one_opencv_thread, score_label_maps, statistics

GLOBAL_MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
"""The seven numbers of a data set, in the official order and spelling."""


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


@dataclasses.dataclass(frozen=True)
class DavisScores:
    """The scores of all objects, sequence by sequence.

    Attributes:
        objects: One entry an object; a sequence's objects follow one another in the order of their ids.
    """

    objects: tuple[ObjectScores, ...]

    def global_scores(self) -> dict[str, float]:
        """The seven numbers of `GLOBAL_MEASURES`: means over objects (not over sequences), as fractions."""
        region = np.mean([scores.region for scores in self.objects], axis=0)
        boundary = np.mean([scores.boundary for scores in self.objects], axis=0)
        values = ((region[0] + boundary[0]) / 2, *region, *boundary)
        return {name: float(value) for name, value in zip(GLOBAL_MEASURES, values, strict=True)}

    def of_sequence(self, sequence: str) -> "DavisScores":
        """The scores of one sequence's objects alone."""
        return DavisScores(tuple(scores for scores in self.objects if scores.sequence == sequence))

    @property
    def sequences(self) -> tuple[str, ...]:
        """The names of the scored sequences, in order."""
        return tuple(dict.fromkeys(scores.sequence for scores in self.objects))


def evaluate_masks(
    tree: DavisTree,
    split: str,
    results: pathlib.Path,
    *,
    workers: int | None = None,
    sequences: Sequence[str] | None = None,
) -> DavisScores:
    """Scores the masks `RESULTS/<sequence>/<frame>.png`, named like the annotations.

    Masks of frames that are not scored, and of other sequences, are not looked at. The scores do not depend
    on the number of workers.

    Args:
        tree: The ground truth; its year says whether everything annotated is one object.
        split: A split of the tree ("val", ...).
        results: The folder of the masks to score.
        workers: Processes that score sequences; all of the machine's cores if None.
        sequences: Those of the split to score; all of them if None.

    Returns:
        The scores, in the order of the split.

    Raises:
        InputError: A sequence or a mask is missing; a mask cannot be read, differs in size from the
            annotation or holds an id that the first annotation does not (the official evaluation stops there,
            too); the split, a sequence or the number of workers makes no sense.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot score anything: give 1 or more")
    names = choose_sequences(tree, split, sequences)
    _require_results(tree, split, results, names)
    workers = min(workers or _available_cores(), len(names))
    arguments = (itertools.repeat(tree), itertools.repeat(results), names)
    if workers == 1:
        scored = list(map(_score_files, *arguments))
    else:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            with _without_main_module():
                pending = pool.map(_score_files, *arguments)
            scored = list(pending)
    return DavisScores(tuple(itertools.chain.from_iterable(scored)))


def choose_sequences(tree: DavisTree, split: str, sequences: Sequence[str] | None) -> tuple[str, ...]:
    """The sequences of a split, or those of it that are named, in the order of the split.

    Raises:
        InputError: the split does not exist, a sequence is not of it, or none is named.
    """
    names = tree.sequences(split)
    if sequences is None:
        return names
    if unknown := [name for name in sequences if name not in names]:
        raise InputError(f"split {split!r} of {tree.root} has no sequence {', '.join(unknown)}")
    if not sequences:
        raise InputError("no sequence is left to score: name at least one")
    return tuple(name for name in names if name in sequences)


def object_labels(tree: DavisTree, sequence: str) -> tuple[int, ...]:
    """The ids of a sequence's objects: those of its first annotation, in order; (1,) for the year 2016.

    The published annotations number them from 1 without gaps. An id that is skipped there is no object here,
    while the official evaluation would count it as one that is rightly never predicted.

    Raises:
        InputError: The annotation is missing, unreadable or empty (2017).
    """
    if tree.year == 2016:
        return (1,)
    first = tree.annotations(sequence)[0]
    labels = tuple(int(label) for label in np.unique(tree.label_map(first)) if label not in (0, VOID_LABEL))
    if not labels:
        raise InputError(f"{first} annotates no object: the first annotation says which objects there are")
    return labels


def score_sequence(
    sequence: str, labels: Sequence[int], frames: Iterable[tuple[np.ndarray, np.ndarray]]
) -> tuple[ObjectScores, ...]:
    """Scores the label maps of one sequence, wherever they come from.

    Args:
        sequence: Its name.
        labels: The ids of the objects to score.
        frames: The annotated and the predicted labels of every frame to score, uint8 (height, width), in
            order; taken one at a time. Annotated `VOID_LABEL` pixels count for nothing.

    Returns:
        The scores of every object.

    Raises:
        ValueError: There are no frames.
    """
    per_frame = []
    for truth, prediction in frames:
        void = truth == VOID_LABEL
        per_frame.append(score_label_maps(truth, prediction, labels, void if void.any() else None))
    if not per_frame:
        raise ValueError(f"sequence {sequence} has no frame to score")
    objects = zip(labels, np.stack(per_frame).transpose(1, 2, 0), strict=True)
    return tuple(
        ObjectScores(sequence, label, statistics(j), statistics(f), tuple(map(float, j)), tuple(map(float, f)))
        for label, (j, f) in objects
    )


def scored_annotations(tree: DavisTree, sequence: str) -> tuple[pathlib.Path, ...]:
    """The annotations that count: all but the first, which is given to the method, and the last.

    Raises:
        InputError: The sequence is missing or has fewer than three annotations.
    """
    annotations = tree.annotations(sequence)
    if len(annotations) < 3:
        raise InputError(
            f"{annotations[0].parent} holds {len(annotations)} annotation(s), of which the first and the "
            "last are not scored: this split cannot be evaluated"
        )
    return annotations[1:-1]


def _score_files(tree: DavisTree, results: pathlib.Path, sequence: str) -> tuple[ObjectScores, ...]:
    labels = object_labels(tree, sequence)
    with one_opencv_thread():
        return score_sequence(sequence, labels, _read_pairs(tree, results, sequence, labels))


def _read_pairs(
    tree: DavisTree, results: pathlib.Path, sequence: str, labels: Sequence[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    # Void is not an object: in a prediction it is background.
    unknown_labels = np.ones(256, np.uint8)
    unknown_labels[[0, *labels, VOID_LABEL]] = 0
    for annotation in scored_annotations(tree, sequence):
        path = results / sequence / annotation.name
        truth, prediction = tree.label_map(annotation), tree.label_map(path)
        if prediction.shape != truth.shape:
            sizes = "{1}x{0}, but its annotation is {3}x{2}".format(*prediction.shape, *truth.shape)
            raise InputError(f"{path} is {sizes}: save masks at the size of the frames")
        unknown = cv2.LUT(prediction, unknown_labels)
        if cv2.countNonZero(unknown):
            raise InputError(
                f"{path} holds object {prediction[unknown > 0][0]}, but the first annotation of {sequence} "
                f"has the objects {', '.join(map(str, labels))} only"
            )
        yield truth, prediction


def _require_results(tree: DavisTree, split: str, results: pathlib.Path, sequences: Sequence[str]) -> None:
    """Finds what is missing before anything is computed."""
    if not results.is_dir():
        raise InputError(f"{results} is no folder of results: it should hold one folder of masks a sequence")
    if absent := [name for name in sequences if not (results / name).is_dir()]:
        raise InputError(
            f"{results} lacks {len(absent)} of {len(sequences)} sequences of split {split!r} "
            f"({', '.join(absent)}): segment them, or choose the sequences to score"
        )
    for name in sequences:
        paths = [results / name / annotation.name for annotation in scored_annotations(tree, name)]
        if missing := [path for path in paths if not path.is_file()]:
            raise InputError(f"{missing[0]} does not exist: {len(missing)} of {len(paths)} masks of {name} are missing")


def _available_cores() -> int:
    """The cores this process may use; containers and batch systems often allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Hides the running program from worker processes that are started inside the block.

    A spawned process otherwise runs the main module again. That would import JAX wherever the program does,
    and fail for a script that calls the evaluation outside of an `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
