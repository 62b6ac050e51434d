"""Small sequences on which programs that score masks differ; `docs/scoring.md` has the numbers of each."""

from typing import NamedTuple

import numpy as np

HEIGHT, WIDTH, FRAMES = 48, 64, 10


class Case(NamedTuple):
    """Annotated and predicted label maps of a sequence.

    Attributes:
        truth: uint8 (48, 64) for each frame.
        prediction: Likewise.
        names: Of the frames, without suffix.
    """

    truth: list[np.ndarray]
    prediction: list[np.ndarray]
    names: list[str]


def square(index: int, label: int, *, row: int = 6, shift: int = 0) -> np.ndarray:
    """A frame with one square of 14 pixels that moves right by three pixels a frame."""
    frame = np.zeros((HEIGHT, WIDTH), np.uint8)
    left = 4 + 3 * index + shift
    frame[row : row + 14, left : left + 14] = label
    return frame


def case(truth: list[np.ndarray], prediction: list[np.ndarray], *, pad: int = 5, start: int = 0) -> Case:
    """A case whose frames are numbered from `start` with `pad` digits."""
    return Case(truth, prediction, [f"{index + start:0{pad}d}" for index in range(len(truth))])


def _one() -> list[np.ndarray]:
    return [square(index, 1) for index in range(FRAMES)]


def _two(first: int = 1, second: int = 2, since: int = 0) -> list[np.ndarray]:
    """Two objects, the second of them from one frame on."""
    lower = [square(index, second, row=28) * (index >= since) for index in range(FRAMES)]
    return [square(index, first) + frame for index, frame in enumerate(lower)]


def _shifted(frames: list[np.ndarray]) -> list[np.ndarray]:
    """The first frame as it is, the others 4 pixels to the right of where they are."""
    return [frame if index == 0 else np.roll(frame, 4, axis=1) for index, frame in enumerate(frames)]


def plain() -> Case:
    """One object, 4 pixels off in all frames but the first."""
    return case(_one(), _shifted(_one()))


def lost_in_the_last_frame() -> Case:
    """One object, right but for the last frame, where it is missing."""
    prediction = _one()
    prediction[-1] = np.zeros_like(prediction[-1])
    return case(_one(), prediction)


def void_border() -> Case:
    """The object with three pixels of 255 around it, all of which is predicted as the object."""
    truth = []
    for index in range(FRAMES):
        frame = np.zeros((HEIGHT, WIDTH), np.uint8)
        left = 4 + 3 * index
        frame[3:23, left - 3 : left + 17] = 255
        frame[6:20, left : left + 14] = 1
        truth.append(frame)
    return case(truth, [(frame > 0).astype(np.uint8) for frame in truth])


def late_object() -> Case:
    """Object 2 is annotated from frame 4 on; both are predicted 4 pixels off, the second from frame 5 on."""
    truth = _two(since=4)
    prediction = _shifted(truth)
    prediction[4] = truth[4]
    return case(truth, prediction)


def late_object_too_early() -> Case:
    """Object 2 is annotated from frame 4 on and predicted from frame 2 on; else all is right."""
    return case(_two(since=4), _two(since=2))


def gap_in_ids() -> Case:
    """Objects 1 and 4, both 4 pixels off."""
    truth = _two(1, 4)
    return case(truth, _shifted(truth))


def unknown_id() -> Case:
    """Object 1, right, and something predicted as 2 that is not annotated."""
    return case(_one(), [frame + square(index, 2, row=28) for index, frame in enumerate(_one())])


def white_as_id() -> Case:
    """The object, right, but with the id 255."""
    return case(_one(), [255 * frame for frame in _one()])


def swapped_ids() -> Case:
    """Two objects, right but for their ids, which are swapped in every frame."""
    return case(_two(1, 2), _two(2, 1))


def object_that_leaves() -> Case:
    """Object 2 is annotated and predicted in the first four frames alone."""
    truth = [np.where((frame == 2) & (index > 3), 0, frame) for index, frame in enumerate(_two())]
    return case([frame.astype(np.uint8) for frame in truth], _shifted([frame.astype(np.uint8) for frame in truth]))


def unpadded_names() -> Case:
    """Frames 1 to 10, named 1, 2, ..., 10; the object is missing from the last one."""
    truth, prediction, _ = lost_in_the_last_frame()
    return case(truth, prediction, pad=1, start=1)


def long_sequence() -> Case:
    """302 frames, of which 300 are scored; the object is missing from the last 75 of those and from the last one."""
    truth = [square(0, 1) for _ in range(302)]
    return case(truth, [frame * (index < 226) for index, frame in enumerate(truth)])


CASES = {
    function.__name__: function
    for function in (
        *(plain, lost_in_the_last_frame, void_border, late_object, late_object_too_early, gap_in_ids, unknown_id),
        *(white_as_id, swapped_ids, object_that_leaves, unpadded_names, long_sequence),
    )
}
