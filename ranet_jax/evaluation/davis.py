"""Masks on disk against annotations: a DAVIS folder, or any folder of videos; one process a core.

The rules are those of the official semi-supervised evaluation of DAVIS 2017: the first and the last annotation are not
scored, an object that a result lacks has an empty mask, and the numbers of a data set are means over its objects.
`docs/scoring.md` compares them with other programs'.

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
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ranet_jax.data.annotations import Annotations
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation.sequence import ObjectScores, Rules, require_masks, score_masks
from ranet_jax.io.folders import PICTURE_SUFFIXES, frame_files, naturally_sorted

GLOBAL_MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
"""The seven numbers of a data set, in the official order and spelling."""


class _Job(NamedTuple):
    """One sequence to score: its annotations, its frames where they are known, the folder of its masks."""

    annotations: Annotations
    frames: tuple[pathlib.Path, ...]
    masks: pathlib.Path


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
    void: bool = False,
    workers: int | None = None,
    sequences: Sequence[str] | None = None,
) -> DavisScores:
    """Scores the masks `RESULTS/<sequence>/<frame>.png` of a DAVIS split, named like its frames.

    Where only some frames are annotated, those alone are scored, less the first and the last annotation. Objects that
    are seen first in a later annotation count from the next one on (published DAVIS annotations have none). Masks of
    frames that are not scored, and of other sequences, are not looked at. The scores do not depend on the number of
    workers.

    Args:
        tree: The ground truth; its year says whether everything annotated is one object.
        split: A split of the tree ("val", ...).
        results: The folder of the masks to score.
        void: Whether pixels annotated as 255 (2017) count for nothing; to the official evaluation they are background.
        workers: Processes that score sequences; all of the machine's cores if None.
        sequences: Those of the split to score; all of them if None.

    Returns:
        The scores, in the order of the split.

    Raises:
        InputError: A sequence or a mask is missing; a mask cannot be read, differs in size from the
            annotation or holds an id that no annotation does (the official evaluation stops there, too); the masks
            are numbered from another start than the frames; the split, a sequence or the number of workers makes no
            sense.
    """
    names = choose_sequences(tree, split, sequences)
    _require_folders(results, names, f"split {split!r}")
    jobs = []
    for name in names:
        annotations = tree.annotated(name)
        known = (tree.root / "JPEGImages" / tree.resolution / name).is_dir()
        jobs.append(_Job(annotations, tree.frames(name) if known else annotations.paths, results / name))
    return _score(jobs, Rules(void=void), workers)


def evaluate_folders(
    prediction: pathlib.Path,
    truth: pathlib.Path,
    *,
    void: bool = False,
    score_first: bool = False,
    workers: int | None = None,
    sequences: Sequence[str] | None = None,
) -> DavisScores:
    """Scores the masks of one's own video, or of a folder of videos.

    Both folders hold masks named like the frames, or both hold one such folder for each video. Not every frame needs
    an annotation. Every annotation counts, the last one too, but for that in which an object is seen first: it is
    taken to be what the method was given.

    Args:
        prediction: The masks to score; an object that one lacks is missing there.
        truth: The annotations: label maps, with the same ids.
        void: Whether pixels annotated as 255 count for nothing, instead of as background.
        score_first: Whether the first annotation of an object counts, too, because the method was given another one.
        workers: Processes that score videos; all of the machine's cores if None.
        sequences: Names of the videos to score, where the folders hold several; all of them if None.

    Returns:
        The scores, the videos in the order of their names.

    Raises:
        InputError: As of `evaluate_masks`; or the folders are missing, empty or not of one kind.
    """
    names = _videos(truth)
    if names is None:
        if sequences is not None:
            raise InputError(f"{truth} holds the annotations of one video: leave out the names of sequences")
        if not prediction.is_dir():
            raise InputError(f"{prediction} is no folder of masks: give the one that holds a mask for each frame")
        paths = frame_files(truth).files
        jobs = [_Job(Annotations(truth.resolve().name, paths), paths, prediction)]
    else:
        names = _chosen(names, sequences, str(truth))
        _require_folders(prediction, names, str(truth))
        jobs = []
        for name in names:
            paths = frame_files(truth / name).files
            jobs.append(_Job(Annotations(name, paths), paths, prediction / name))
    return _score(jobs, Rules(void=void, first=score_first, last=True), workers)


def choose_sequences(tree: DavisTree, split: str, sequences: Sequence[str] | None) -> tuple[str, ...]:
    """The sequences of a split, or those of it that are named, in the order of the split.

    Raises:
        InputError: The split does not exist, a sequence is not of it, or none is named.
    """
    return _chosen(tree.sequences(split), sequences, f"split {split!r} of {tree.root}")


def object_labels(tree: DavisTree, sequence: str) -> tuple[int, ...]:
    """The ids of a sequence's objects, in order, whenever they are seen first; (1,) for the year 2016.

    The published annotations number them from 1 without gaps. An id that is skipped there is no object here,
    while the official evaluation would count it as one that is rightly never predicted.

    Raises:
        InputError: An annotation is missing or unreadable, or none shows an object.
    """
    if tree.year == 2016:
        return (1,)
    first = tree.first_annotations(sequence).values()
    return tuple(sorted(label for annotation in first for label in annotation.objects))


def _score(jobs: Sequence[_Job], rules: Rules, workers: int | None) -> DavisScores:
    """Scores sequences in parallel, after looking for what is missing in any of them."""
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot score anything: give 1 or more")
    masks = [require_masks(job.annotations, job.frames, job.masks, rules) for job in jobs]
    arguments = ([job.annotations for job in jobs], masks, itertools.repeat(rules))
    workers = min(workers or _available_cores(), len(jobs))
    if workers == 1:
        scored = list(map(score_masks, *arguments))
    else:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            with _without_main_module():
                pending = pool.map(score_masks, *arguments)
            scored = list(pending)
    return DavisScores(tuple(itertools.chain.from_iterable(scored)))


def _chosen(known: Sequence[str], sequences: Sequence[str] | None, place: str) -> tuple[str, ...]:
    if sequences is None:
        return tuple(known)
    if unknown := [name for name in sequences if name not in known]:
        raise InputError(f"{place} has no sequence {', '.join(unknown)}")
    if not sequences:
        raise InputError("no sequence is left to score: name at least one")
    return tuple(name for name in known if name in sequences)


def _require_folders(results: pathlib.Path, sequences: Sequence[str], place: str) -> None:
    if not results.is_dir():
        raise InputError(f"{results} is no folder of results: it should hold one folder of masks a sequence")
    if absent := [name for name in sequences if not (results / name).is_dir()]:
        raise InputError(
            f"{results} lacks {len(absent)} of {len(sequences)} sequences of {place} "
            f"({', '.join(absent)}): segment them, or choose the sequences to score"
        )


def _videos(truth: pathlib.Path) -> tuple[str, ...] | None:
    """Names of the folders of a folder of videos, in order; None if it holds the pictures of one."""
    if not truth.is_dir():
        raise InputError(f"{truth} is no folder of annotations: give the one that holds them")
    entries = [path for path in truth.iterdir() if not path.name.startswith(".")]
    if any(path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() for path in entries):
        return None
    return tuple(path.name for path in naturally_sorted(path for path in entries if path.is_dir())) or None


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
