"""The shipped `lite` on the videos of `surprises`: what it holds on to, frame by frame."""

import numpy as np
import pytest

from tests.tracker.surprises import BLACK, CLIPS, WHITE, overlaps, tracked

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optimized")]


def test_blank_frames_show_nothing_and_are_forgotten():
    clip = CLIPS["blank frames"]()
    found = tracked(clip)
    for number in (*WHITE, *BLACK):
        assert not found[number].any()
    assert min(overlaps(clip, found)) > 0.9, "in no second frame is the object gone"


@pytest.mark.parametrize("diameter", [5, 7, 9])
def test_a_ball_of_a_few_pixels_is_not_lost(diameter):
    clip = CLIPS[f"ball of {diameter}"]()
    assert min(overlaps(clip, tracked(clip))) > 0.5


@pytest.mark.xfail(strict=True, reason="it comes out four to seven times as wide")
def test_a_thin_pole_keeps_its_width():
    clip = CLIPS["pole"]()
    assert min(overlaps(clip, tracked(clip))) > 0.5


@pytest.mark.parametrize("how", ["touching", "apart"])
def test_both_of_two_unlike_parts_are_tracked(how):
    clip = CLIPS[f"man and shadow, {how}"]()
    assert min(overlaps(clip, tracked(clip))) > 0.9


def test_a_mask_of_nearly_everything_gets_no_holes():
    clip = CLIPS["nearly everything"]()
    assert min(overlaps(clip, tracked(clip))) > 0.95


def test_a_mask_without_background_gets_no_holes():
    found = tracked(CLIPS["no background"]())
    assert min(np.mean(labels > 0) for labels in found) > 0.99
