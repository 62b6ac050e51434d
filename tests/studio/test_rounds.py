"""A simulated person corrects a tracker that only repeats what was given last."""

import numpy as np
import pytest
from PIL import Image

from ranet_jax.data.davis import DavisTree
from ranet_jax.studio import rounds
from ranet_jax.studio.rounds import Report, corrections, draw_rounds, measure, open_video, print_reports

from .conftest import picture, square
from .test_clicks import features_of

FRAMES = 9
larger = lambda x: np.kron(x, np.ones((4, 4, 1)[: x.ndim], np.uint8))


class Repeating:
    """Shows the last given mask; notes which frames had one."""

    def __init__(self):
        self.given = []

    def __call__(self, frames, masks):
        self.given.append(list(masks))
        for number, _ in enumerate(frames):
            shown = masks[max(index for index in masks if index <= number)]
            yield shown


@pytest.fixture
def video(tmp_path):
    """A square that moves by four pixels a frame, and is not there in the last but one."""
    truth = {i: larger(square(i)) for i in range(FRAMES)}
    truth[FRAMES - 2] = np.zeros_like(truth[0])
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (tmp_path / kind / "480p" / "moving").mkdir(parents=True)
        for i in range(FRAMES):
            content = larger(picture(i)) if kind == "JPEGImages" else 255 * truth[i]
            Image.fromarray(content).save(tmp_path / kind / "480p" / "moving" / f"{i:05d}.{suffix}")
    (tmp_path / "ImageSets").mkdir()
    return open_video(DavisTree(tmp_path, year=2016), "moving")


encode = lambda key, image: features_of(np.array(image))


def test_the_worst_frame_that_shows_the_object_is_mended_next(video):
    tracker = Repeating()
    results = corrections(tracker, encode, video, video.truth[0], 2)
    # The farthest from the first mask; then the farthest before that one.
    assert tracker.given == [[0], [0, 6], [0, 5, 6]]
    expected = [(24 - i) / (24 + i) for i in range(1, FRAMES - 2)]
    expected.append(0.0)  # nothing is there, and something is shown
    np.testing.assert_allclose(results[0].scores[:, 0], expected)
    assert results[1].scores[5, 0] > results[0].scores[5, 0] + 0.1, "three clicks mend it"
    assert results[0].mean < results[1].mean < results[2].mean


def test_a_report_and_its_picture(video, monkeypatch, tmp_path):
    monkeypatch.setattr(rounds, "ROUNDS", (0, 1))
    report = measure(Repeating(), encode, video)
    assert report.corrected[0] == report.clicked[rounds.CLICKS.index(rounds.FIRST_CLICKS)]
    assert report.overlaps[-1] > 0.9
    assert abs(report.clicked[-1] - report.true) < 3
    lines = []
    other = Report("other", (0.5,) * 4, 50.0, (50.0,) * 4, (50.0, 60.0))
    print_reports([other, other._replace(name="more", overlaps=(1.0,) * 4, corrected=(70.0, 70.0))], lines.append)
    assert lines[3].split() == ["mean", "75.0", "75.0", "75.0", "75.0"]
    assert lines[-1].split() == ["mean", "60.0", "65.0"]
    draw_rounds([report], tmp_path / "rounds.svg")
    assert (tmp_path / "rounds.svg").read_text().count("<!-- moving -->") == 1
