import os

import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.paths import require_distinct


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("frames", "out", "other"):
        (tmp_path / folder).mkdir()
    for name in ("video.mp4", "mask.png", "frames/0.jpg", "frames/1.jpg", "out/mask.png", "other/notes.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def refused(words, video, mask, out, overlay=None):
    with pytest.raises(InputError, match=words) as raised:
        require_distinct({"the video": video, "--mask": mask}, {"--out": out, "--overlay": overlay})
    assert "\n" not in str(raised.value)


def test_what_differs_is_fine(place):
    require_distinct({"the video": "video.mp4", "--mask": "mask.png"}, {"--out": "new", "--overlay": "overlay.mp4"})
    require_distinct({"the video": "frames", "--mask": "mask.png"}, {"--out": "out", "--overlay": "out/overlay.mp4"})
    require_distinct({"the video": "frames", "--mask": "frames/0.jpg"}, {"--out": "frames/masks", "--overlay": None})
    # A video in the folder of the results is no picture, and camera 0 is no file.
    require_distinct({"the video": "video.mp4", "--mask": "frames/0.jpg"}, {"--out": ".", "--overlay": "frames/a.mp4"})
    require_distinct({"the video": "0", "--mask": None}, {"--out": "out"})


def test_outputs_that_are_inputs(place):
    refused(r"--overlay is the video \(video\.mp4\)", "video.mp4", "mask.png", "new", "./video.mp4")
    refused(r"--overlay is --mask", "video.mp4", "mask.png", "new", place / "frames" / ".." / "mask.png")
    refused(r"--out is the video \(frames\)", "frames", "mask.png", place / "frames")
    refused(r"--out is --mask", "video.mp4", "mask.png", "mask.png")


def test_links_are_followed(place):
    (place / "link.mp4").symlink_to(place / "video.mp4")
    refused("--overlay is the video", "video.mp4", "mask.png", "new", "link.mp4")
    refused("--overlay is the video", "link.mp4", "mask.png", "new", "video.mp4")
    os.link(place / "video.mp4", place / "hard.mp4")
    refused("--overlay is the video", "hard.mp4", "mask.png", "new", "video.mp4")
    (place / "results").symlink_to(place / "frames")
    refused("--out is the video", "frames", "mask.png", "results")
    (place / "linked.png").symlink_to(place / "out" / "mask.png")
    refused(r"--out out holds --mask", "video.mp4", "linked.png", "out")
    (place / "out" / "elsewhere.png").symlink_to(place / "mask.png")
    refused(r"--out out holds --mask", "video.mp4", "out/elsewhere.png", "out")


def test_a_folder_of_results_that_holds_the_mask(place):
    refused(r"--out out holds --mask \(mask\.png\)", "video.mp4", "out/mask.png", "out")
    refused(r"--out \. holds --mask", "video.mp4", "mask.png", ".")


def test_pictures_among_the_frames(place):
    with pytest.raises(InputError, match="among the frames of the video"):
        require_distinct({"the video": "frames"}, {"--preview": "frames/sheet.png"})


def test_two_outputs_in_one_place(place):
    with pytest.raises(InputError, match="--overlay and --preview are both"):
        require_distinct({}, {"--overlay": "new/a.gif", "--preview": "new/../new/a.gif"})
    (place / "link").symlink_to(place / "out")
    with pytest.raises(InputError, match="--overlay and --preview are both"):
        require_distinct({}, {"--overlay": "out/a.gif", "--preview": "link/a.gif"})
