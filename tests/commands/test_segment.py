"""`ranet-jax segment` and `ranet-jax frame`: whole runs on small videos, and one line for everything that is wrong."""

import hashlib
import os
import pathlib
import resource

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ranet_jax import cli
from ranet_jax.commands import segment as segment_command
from ranet_jax.io.masks import read_label_map, write_label_map
from ranet_jax.io.overlay import OverlayWriter
from ranet_jax.io.video import open_frames
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint

SIZE = (48, 80)
COUNT = 5


class Repeating:
    """A tracker that shows again what was given last."""

    def init(self, variables, frame, label_map):
        return jnp.asarray(label_map)

    def step(self, variables, state, frame):
        return state, state, None

    def annotate(self, variables, state, frame, label_map):
        label_map = jnp.where(label_map > 0, label_map, state)
        return label_map, label_map, None


class Sure(Repeating):
    """The same with a probability of 3/4 for what it shows, for 1 and 9, and one column too many."""

    def step(self, variables, state, frame):
        shown = state[..., None] == jnp.array([1, 9, 0], jnp.uint8)[None, None]
        return state, state, jnp.where(shown, 0.75, 0.125)

    def annotate(self, variables, state, frame, label_map):
        state, label_map, _ = super().annotate(variables, state, frame, label_map)
        return state, label_map, self.step(variables, state, frame)[2]


def stand_in(monkeypatch, tracker):
    def tracking(options):
        opened = lambda: load_checkpoint(options.checkpoint)
        return segment_command.Tracking(lambda size, objects: tracker, {}, {}, opened, lambda: "hard")

    monkeypatch.setattr(segment_command, "_checkpoint_tracking", tracking)


@pytest.fixture
def repeating(monkeypatch):
    """In place of a network, where only files and messages are looked at."""
    stand_in(monkeypatch, Repeating())


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    config = RANetConfig.lite(
        backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
    )
    path = tmp_path_factory.mktemp("network") / "net"
    save_checkpoint(path, config, TrackerConfig.lite(), initial_variables(config), card={"licence": "CC BY 4.0"})
    return str(path)


@pytest.fixture
def case(tmp_path, rng, monkeypatch):
    """A folder of frames, a video file of the same pictures, and masks; the current directory."""
    monkeypatch.chdir(tmp_path)
    images = rng.integers(0, 255, (COUNT, *SIZE, 3), dtype=np.uint8)
    os.mkdir("frames")
    for i, image in enumerate(images):
        Image.fromarray(image).save(f"frames/{i + 1}.png")
    with OverlayWriter("video.mp4", SIZE, 10.0) as video:
        for i, image in enumerate(images):
            video.write(image, i / 10 if i < 3 else i / 5)
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 10:40] = 1
    write_label_map("a.png", labels)
    labels[20:40, 50:70] = 9
    write_label_map("b.png", labels)
    return tmp_path


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(*arguments):
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code


def refused(capsys, folder, *arguments):
    """The line with which a command ends that has written and changed nothing."""
    before = digests(folder)
    line = one_line(capsys, *arguments)
    assert digests(folder) == before
    return line


def one_line(capsys, *arguments):
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1, shown.err
    return shown.err


def results(folder="out"):
    return {path.stem: read_label_map(path) for path in sorted(pathlib.Path(folder).glob("*.png"))}


def ids(label_map):
    return sorted({int(value) for value in np.unique(label_map)} - {0})


def test_masks_at_any_frame_with_a_network(case, network, capsys):
    arguments = ["segment", "frames", "--checkpoint", network, "--out", "out"]
    assert run(*arguments, "--mask", "1=a.png", "--mask", "3=b.png", "--start", "1", "--overlay", "o.mp4") == 0
    found = results()
    assert sorted(found) == ["2", "3", "4", "5"]
    np.testing.assert_array_equal(found["2"], read_label_map("a.png"))
    given = read_label_map("b.png")
    np.testing.assert_array_equal(found["4"][given > 0], given[given > 0])
    assert ids(found["3"]) in ([], [1])
    assert set(ids(found["5"])) <= {1, 9}
    shown = capsys.readouterr()
    assert shown.err == ""
    summary = shown.out.splitlines()[-1]
    assert summary.startswith("4 frames, 2 objects, median ")
    assert summary.endswith("masks in out, overlay o.mp4; weights: CC BY 4.0")


@pytest.mark.parametrize("video", ["frames", "video.mp4"])
def test_a_folder_of_masks_that_are_named_like_frames(case, repeating, video):
    first, later = ("2", "4") if video == "frames" else ("1", "00003")
    os.mkdir("masks")
    os.rename("a.png", f"masks/{first}.png")
    os.rename("b.png", f"masks/{later}.png")
    assert run("segment", video, "--masks", "masks", "--out", "out") == 0
    assert [ids(labels) for _, labels in sorted(results().items())] == [[], [1], [1], [1, 9], [1, 9]]


def test_an_overlay_of_a_part_begins_at_zero_and_keeps_the_time_between(case, repeating):
    assert run("segment", "video.mp4", "--mask", "2=a.png", "--start", "2", "--overlay", "o.mp4", "--out", "out") == 0
    assert sorted(results()) == ["00002", "00003", "00004"]
    with open_frames("o.mp4") as frames:
        times = [frame.seconds for frame in frames]
    np.testing.assert_allclose(times, [0.0, 0.4, 0.6], atol=1e-3)


def test_frames_before_the_first_mask(case, repeating, capsys):
    assert run("segment", "frames", "--mask", "3=a.png", "--out", "out") == 0
    shown = capsys.readouterr()
    assert shown.err == "the first mask is of frame 3: frames before it show nothing (see --backward)\n"
    assert "nowhere" not in shown.out
    assert [ids(labels) for _, labels in sorted(results().items())] == [[], [], [], [1], [1]]
    assert run("segment", "frames", "--mask", "3=a.png", "--out", "out2", "--backward") == 0
    assert capsys.readouterr().err == ""
    assert [ids(labels) for _, labels in sorted(results("out2").items())] == [[1]] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--mask a.png --mask 0=b.png", "frame 0 has two masks, a.png and b.png: give one"),
        ("--mask 1=a.png --start 2", "a.png is the mask of frame 1, which is not segmented: change --start or --end"),
        ("--mask 4=a.png --end 3", "a.png is the mask of frame 4, which is not segmented: change --start or --end"),
        ("--mask a.png --start 5", "the video has 5 frames, from 0, and no frame 5: choose an earlier --start"),
        ("--mask 5=a.png", "a.png is the mask of frame 5 and the video has 5 frames, from 0"),
        ("--mask a.png --start 3 --end 2", "--end 2 lies before --start 3: exchange them"),
        ("--mask empty.png", "empty.png: the mask is empty: mark at least one object"),
        ("--mask many.png", "many.png: the masks have 17 objects and 16 is the most: leave some out"),
        ("--mask half1.png --mask 2=half2.png", "the masks have 17 objects and 16 is the most: leave some out"),
        ("--mask strangers", "strangers: first.png is named like no frame"),
        ("--mask frames", "frames holds the frames: give the folder of their masks"),
        ("", "there is no mask: `ranet-jax frame frames 0 frame.png` writes the frame to draw it on"),
        ("--mask absent.png", "no mask absent.png: check the path, or make one: `ranet-jax frame frames 0 frame.png`"),
        ("--mask 3=absent.png", "`ranet-jax frame frames 3 frame.png` writes the frame to draw it on"),
        ("--mask a.png --start one", "'one' is not the number of a frame: give 0 or more"),
        ("--mask a.png --range 9", "9"),
        ("--mask a.png --format davis", "invalid choice: 'davis'"),
    ],
)
def test_wrong_arguments_are_one_line_before_anything_is_written(case, repeating, capsys, arguments, message):
    write_label_map("empty.png", np.zeros(SIZE, np.uint8))
    for name, first, last in (("many", 1, 17), ("half1", 1, 9), ("half2", 10, 17)):
        numbers = first + np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) // 64 % (last - first + 1)
        write_label_map(f"{name}.png", numbers.astype(np.uint8))
    write_label_map("strangers/first.png", read_label_map("a.png"))
    line = refused(capsys, case, "segment", "frames", "--out", "out", *arguments.split())
    assert message in line
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("video.mp4 --mask a.png --out out --overlay video.mp4", "--overlay is the video (video.mp4)"),
        ("link.mp4 --mask a.png --out out --overlay video.mp4", "--overlay is the video (link.mp4)"),
        ("video.mp4 --mask a.png --out out --overlay link.mp4", "--overlay is the video (video.mp4)"),
        ("frames --mask a.png --out frames", "--out is the video (frames)"),
        ("frames --mask a.png --out linked", "--out is the video (frames)"),
        ("linked --mask a.png --out frames/../frames", "--out is the video (linked)"),
        ("frames --mask masks/a.png --out masks", "--out masks holds the mask of frame 0 (a.png)"),
        ("frames --mask a_link.png --out masks", "--out masks holds the mask of frame 0 (a_link.png)"),
        ("video.mp4 --mask by_number --out by_number", "--out by_number holds the mask of frame 0 (0.png)"),
        ("video.mp4 --mask 2=a.png --mask 0=b.png --out out --preview a.png", "--preview is the mask of frame 2"),
        ("frames --mask a.png --out out --preview frames/p.png", "--preview frames/p.png would lie among the frames"),
        ("video.mp4 --mask a.png --out out --overlay o.gif --preview o.gif", "--overlay and --preview are both o.gif"),
        ("video.mp4 --mask a.png --out out --program p.bin --overlay p.bin", "--overlay is --program (p.bin)"),
        ("video.mp4 --mask a.png --checkpoint net --out net", "--out is --checkpoint (net)"),
    ],
)
def test_an_output_that_is_an_input_is_refused(case, repeating, capsys, arguments, message):
    os.symlink("video.mp4", "link.mp4")
    os.symlink("frames", "linked")
    write_label_map("masks/a.png", read_label_map("a.png"))
    os.symlink("masks/a.png", "a_link.png")
    write_label_map("by_number/0.png", read_label_map("a.png"))
    (case / "p.bin").write_bytes(b"program")
    os.mkdir("net")
    line = refused(capsys, case, "segment", *arguments.split(), "--overwrite")
    assert message in line
    assert not os.path.exists("out")


def test_old_results_stay_or_go_as_they_are_told(case, repeating, capsys):
    command = ["segment", "frames", "--mask", "a.png", "--out", "out"]
    assert run(*command) == 0
    capsys.readouterr()
    (case / "out/notes.txt").write_text("mine")
    line = refused(capsys, case, *command, "--end", "1")
    assert line == "ranet-jax: out holds 5 PNG files (1.png, ...) already: choose another folder, or give --overwrite\n"
    assert run(*command, "--end", "1", "--overwrite") == 0
    assert "3 old results removed\n" in capsys.readouterr().out
    assert sorted(os.listdir("out")) == ["1.png", "2.png", "notes.txt"]
    Image.new("RGB", (4, 4)).save("out/photo.png")
    assert "photo.png is no palette PNG" in refused(capsys, case, *command, "--overwrite")


def write_cut_video(path, images):
    """An MJPEG file that ends in the middle."""
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, SIZE[::-1])
    for image in images:
        video.write(image)
    video.release()
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def test_a_video_that_breaks_off_leaves_what_came_before_and_no_older_results(case, repeating, capsys, rng):
    write_cut_video("cut.avi", rng.integers(0, 255, (12, *SIZE, 3), dtype=np.uint8))
    old = ["00000.png", "00001.png", "00011.png"]
    for name in old:
        write_label_map(f"out/{name}", np.full(SIZE, 77, np.uint8))
    command = ["segment", "cut.avi", "--mask", "a.png", "--out", "out", "--overwrite", "--overlay", "o.mp4"]
    line = one_line(capsys, *command)
    assert "cut.avi is cut off: " in line
    found = results()
    assert sorted(found) == [f"{i:05d}" for i in range(len(found))]
    assert f"{len(found)} of its 12 frames could be decoded" in line
    assert 2 <= len(found) < 12
    assert all(ids(labels) == [1] for labels in found.values())
    with open_frames("o.mp4") as frames:
        assert len(list(frames)) == len(found)


def test_a_video_that_breaks_off_before_the_first_mask(case, repeating, capsys, rng):
    write_cut_video("cut.avi", rng.integers(0, 255, (12, *SIZE, 3), dtype=np.uint8))
    line = one_line(capsys, "segment", "cut.avi", "--mask", "11=a.png", "--backward", "--out", "out")
    assert "cut.avi is cut off: " in line
    assert os.listdir("out") == []


def test_a_full_disk_is_one_line(case, repeating, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        line = one_line(capsys, "segment", "frames", "--mask", "a.png", "--out", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line.startswith("ranet-jax: cannot write out/1.png: the file would be larger than is allowed here; ")
    assert os.listdir("out") == []


def test_all_outputs_at_once(case, repeating, capsys):
    kinds = ("coco-json", "npz", "youtube-vos-zip")
    formats = [word for kind in kinds for word in ("--format", kind)]
    command = ["segment", "video.mp4", "--mask", "a.png", "--out", "out", "--overlay", "o.webm", "--preview", "p.png"]
    assert run(*command, *formats) == 0
    assert len(os.listdir("out")) == COUNT + 3
    summary = capsys.readouterr().out
    for kind in (*kinds, "overlay o.webm", "preview p.png"):
        assert kind in summary
    with np.load("out/video.npz") as arrays:
        assert len(arrays.files) >= COUNT


@pytest.mark.parametrize("backward", [False, True])
def test_probabilities_fit_the_masks(case, repeating, monkeypatch, network, backward):
    stand_in(monkeypatch, Sure())
    command = ["segment", "frames", "--mask", "1=a.png", "--mask", "3=b.png", "--out", "out", "--checkpoint", network]
    more = ["--backward"] if backward else []
    assert run(*command, "--format", "probabilities", "--format", "npz", *more) == 0
    labels = results()
    with np.load("out/frames_probabilities.npz") as found:
        assert found["ids"].tolist() == [1, 9]
        assert sorted(found.files) == ["1", "2", "3", "4", "5", "ids"]
        for name, shown in labels.items():
            assert found[name].shape == (*SIZE, 3)
            np.testing.assert_array_equal(np.array([0, 1, 9])[found[name].argmax(axis=-1)], shown)
        assert found["2"].max() == 1, "what is given is certain"
        assert found["1"].max() == (0.875 if backward else 1)
        row, column = 25, 60
        assert found["5"][row, column].tolist() == [0.25, 0.125, 0.75]


def test_objects_are_marked_by_boxes_and_points(case, repeating, network, capsys):
    image = np.full((*SIZE, 3), 90, np.uint8)
    image[20:40, 50:70] = (230, 40, 30)
    image[34:46, 2:14] = (20, 60, 220)
    for number in range(COUNT):
        Image.fromarray(image).save(f"frames/{number + 1}.png")
    marks = ["--mask", "a.png", "--mask", "2=b.png", "--box", "49,19,22,22", "--point", "5,40", "--checkpoint", network]
    assert run("segment", "frames", *marks, "--out", "out") == 0
    found = results()
    assert ids(found["1"]) == [1, 2, 3]
    assert found["1"][40, 5] == 3
    np.testing.assert_array_equal(found["1"] == 1, read_label_map("a.png") == 1)
    rows, columns = np.nonzero(found["1"] == 2)
    assert 18 <= rows.min() < rows.max() < 42
    assert 48 <= columns.min() < columns.max() < 72
    assert ids(found["5"]) == [1, 2, 3, 9] or ids(found["5"]) == [1, 3, 9]
    assert run("segment", "frames", "--start", "2", "--point", "5,40", "--checkpoint", network, "--out", "out2") == 0
    assert [(name, ids(labels)) for name, labels in results("out2").items()] == [("3", [1]), ("4", [1]), ("5", [1])]
    capsys.readouterr()
    for mark, message in (
        (("--point", "5"), "'5' is not a point: give X,Y in pixels, such as 320,180"),
        (("--box", "1,2,3,x"), "'1,2,3,x' is not a box: give X,Y,WIDTH,HEIGHT in pixels"),
        (("--point", "80,5", "--checkpoint", network), "--point 80,5 lies outside of the frames of 80x48"),
        (("--point", "5,5", "--program", "p"), "--point and --box need a checkpoint's encoder"),
    ):
        assert message in refused(capsys, case, "segment", "frames", "--out", "new", *mark)


def test_frame_writes_the_frame_to_draw_on(case, capsys):
    assert run("frame", "frames", "3", "drawing.png") == 0
    assert capsys.readouterr().out == "frame 3 (4), 80x48: drawing.png\n"
    np.testing.assert_array_equal(np.array(Image.open("drawing.png")), np.array(Image.open("frames/4.png")))
    assert run("frame", "video.mp4", "4", "new/last.png") == 0
    with open_frames("video.mp4") as frames:
        np.testing.assert_array_equal(np.array(Image.open("new/last.png")), list(frames)[4].image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("frames 5 new.png", "frames has 5 frames, numbered from 0: there is no frame 5"),
        ("absent.mp4 0 new.png", "there is no video absent.mp4: check the path"),
        ("frames 0 a.png", "a.png exists and is kept: choose another name, or give --overwrite"),
        ("frames 0 new.jpg", "new.jpg is no .png"),
        ("frames 0 frames/new.png", "would lie among the frames of the video"),
        ("frames -1 new.png", "'-1'"),
    ],
)
def test_wrong_arguments_of_frame(case, capsys, arguments, message):
    assert message in refused(capsys, case, "frame", *arguments.split())


def test_frame_replaces_a_file_where_it_is_told_to(case):
    assert run("frame", "frames", "0", "a.png", "--overwrite") == 0
    np.testing.assert_array_equal(np.array(Image.open("a.png")), np.array(Image.open("frames/1.png")))
