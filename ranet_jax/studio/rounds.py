"""What clicks and corrections are worth: a person at the studio is simulated from the truth, and the video is scored.

As in the DAVIS interactive challenge, the next frame to be mended is the one of lowest J. A round is what the studio
does: a few clicks on that frame, beginning with the mask that was tracked there, and the video tracked once more.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ranet_jax.clicks.regions import ClickFeatures
from ranet_jax.data.davis import DavisTree
from ranet_jax.evaluation.metrics import score_frame
from ranet_jax.io.pictures import read_picture
from ranet_jax.studio.simulation import Mask, intersection_over_union, simulate_clicks
from ranet_jax.training.curves import save_figure

CLICKS = (1, 3, 5, 10)
"""After how many clicks the first frame's mask is scored, and tracked from."""
FIRST_CLICKS = 5
"""Clicks on the first frame where corrections follow."""
MENDING_CLICKS = 3
"""Clicks of a correction."""
ROUNDS = (0, 1, 2, 4, 8)
"""After how many corrections the video is scored."""

VideoTracker = Callable[[Iterable[np.ndarray], Mapping[int, np.ndarray]], Iterator[np.ndarray]]
Encode = Callable[[Hashable, np.ndarray], ClickFeatures]


class Video(NamedTuple):
    """A video with one object.

    Attributes:
        name: of it.
        frames: paths of its pictures.
        truth: the object's mask in every frame.
    """

    name: str
    frames: tuple[Path, ...]
    truth: Bool[np.ndarray, "n height width"]


class Tracked(NamedTuple):
    """What tracking from some given masks gave.

    Attributes:
        masks: of every frame.
        scores: J and F of every frame but the first and the last, which DAVIS leaves out, too.
    """

    masks: list[Mask]
    scores: Float64[np.ndarray, "frames 2"]

    @property
    def mean(self) -> float:
        """J&F in percent."""
        return float(100.0 * self.scores.mean())


def open_video(tree: DavisTree, name: str) -> Video:
    """Reads the annotations of a sequence.

    Raises:
        InputError: it is not there, or a file is damaged.
    """
    truth = np.stack([tree.label_map(path) > 0 for path in tree.annotations(name)])
    return Video(name, tree.frames(name), truth)


def track(tracker: VideoTracker, video: Video, given: Mapping[int, Mask]) -> Tracked:
    """Tracks from masks of some frames, the first among them, and scores what comes out."""
    frames = (read_picture(path) for path in video.frames)
    labels = {number: mask.astype(np.uint8) for number, mask in given.items()}
    masks = [label_map > 0 for label_map in tracker(frames, labels)]
    scored = range(1, len(masks) - 1)
    return Tracked(masks, np.array([score_frame(video.truth[i], masks[i]) for i in scored], np.float64))


class Report(NamedTuple):
    """What was measured of one video.

    Attributes:
        name: of it.
        overlaps: IoU of the first frame's mask after each of `CLICKS`.
        true: J&F of tracking from the true mask, in percent.
        clicked: the same from those of clicks.
        corrected: the same after each of `ROUNDS`, from `FIRST_CLICKS` clicks on.
    """

    name: str
    overlaps: tuple[float, ...]
    true: float
    clicked: tuple[float, ...]
    corrected: tuple[float, ...]


def measure(tracker: VideoTracker, encode: Encode, video: Video) -> Report:
    """Everything of one video.

    Args:
        tracker: from frames and given masks to label maps, as `Checkpoint.track`.
        encode: a frame's features for clicks, by a key, as `Encoder.encode`.
        video: see the class.
    """
    features = encode((video.name, 0), read_picture(video.frames[0]))
    masks = simulate_clicks(features, video.truth[0], max(CLICKS))
    chosen = [masks[number - 1] for number in CLICKS]
    rounds = corrections(tracker, encode, video, masks[FIRST_CLICKS - 1], max(ROUNDS))
    tracked = [rounds[0] if n == FIRST_CLICKS else track(tracker, video, {0: masks[n - 1]}) for n in CLICKS]
    return Report(
        video.name,
        tuple(intersection_over_union(mask, video.truth[0]) for mask in chosen),
        track(tracker, video, {0: video.truth[0]}).mean,
        tuple(result.mean for result in tracked),
        tuple(rounds[number].mean for number in ROUNDS),
    )


def corrections(tracker: VideoTracker, encode: Encode, video: Video, first: Mask, rounds: int) -> list[Tracked]:
    """Tracks, mends the worst frame that is not mended yet, tracks again.

    Frames that do not show the object are passed over, as no mask says so.

    Args:
        tracker: from frames and given masks to label maps, as `Checkpoint.track`.
        encode: a frame's features for clicks, by a key, as `Encoder.encode`.
        video: see the class; shows the object in more frames than are mended.
        first: the first frame's mask.
        rounds: how many corrections.

    Returns:
        The result before any correction, and after each.
    """
    given = {0: first}
    results = [track(tracker, video, given)]
    shown = [i for i in range(1, len(video.frames) - 1) if video.truth[i].any()]
    for _ in range(rounds):
        masks, scores = results[-1]
        worst = min((i for i in shown if i not in given), key=lambda i: float(scores[i - 1, 0]))
        features = encode((video.name, worst), read_picture(video.frames[worst]))
        mended = simulate_clicks(features, video.truth[worst], MENDING_CLICKS, tracked=masks[worst])
        given[worst] = mended[-1]
        results.append(track(tracker, video, dict(sorted(given.items()))))
    return results


def print_reports(reports: Sequence[Report], show: Callable[[str], object] = print) -> None:
    """The tables of docs/studio.md and docs/models.md, with a row of means."""
    tables: dict[str, Callable[[Report], Sequence[float]]] = {
        f"IoU of the first mask in percent after {_listed(CLICKS)} clicks": lambda r: [100 * x for x in r.overlaps],
        f"J&F tracked from the true mask, and from those of {_listed(CLICKS)} clicks": lambda r: [r.true, *r.clicked],
        f"J&F after {_listed(ROUNDS)} corrections": lambda r: r.corrected,
    }
    for title, values in tables.items():
        rows = {report.name: values(report) for report in reports}
        means = np.mean(np.array(list(rows.values()), np.float64), axis=0).tolist()
        show(title)
        for name, numbers in {**rows, "mean": means}.items():
            show(f"  {name:20}" + "".join(f"{number:7.1f}" for number in numbers))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def draw_rounds(reports: Sequence[Report], target: Path) -> None:
    """Draws J&F against the number of corrections, a line for each video and one for the mean.

    Raises:
        InputError: the picture is neither .png nor .svg, cannot be written, or Matplotlib is not installed.
    """

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        for report in reports:
            axes.plot(ROUNDS, report.corrected, marker="o", markersize=3, linewidth=1, label=report.name)
        mean = np.mean([report.corrected for report in reports], axis=0)
        axes.plot(ROUNDS, mean, color="black", marker="o", linewidth=2, label="mean")
        axes.set_xticks(ROUNDS)
        axes.set_xlabel(f"corrected frames, {MENDING_CLICKS} clicks each")
        axes.set_ylabel("J&F in percent")
        axes.grid(alpha=0.3)
        axes.legend()

    save_figure(target, (6.0, 4.0), fill)
