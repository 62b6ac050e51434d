"""The command: a whole run on a small video, and one clear line for every kind of wrong input."""

import json
import re
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ranet_jax import cli
from ranet_jax.commands import segment as segment_command
from ranet_jax.io.masks import read_label_map, write_label_map
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint

SIZE = (48, 80)
HOW = TrackerConfig.lite()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    config = RANetConfig.lite(
        backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
    )
    path = tmp_path_factory.mktemp("network") / "net"
    save_checkpoint(path, config, HOW, initial_variables(config), card={"steps": 0})
    return path


@pytest.fixture
def video(tmp_path, rng):
    folder = tmp_path / "video"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(folder / f"frame{i}.png")
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 10:40], labels[20:40, 50:70] = 1, 5
    write_label_map(tmp_path / "mask.png", labels)
    return folder


def segment(video, network, *more):
    out = video.parent / "out"
    mask = video.parent / "mask.png"
    return cli.main(
        ["segment", str(video), "--mask", str(mask), "--out", str(out), "--checkpoint", str(network), *more]
    )


def test_segment_writes_masks_named_like_the_frames_and_an_overlay(video, network, capsys):
    overlay = video.parent / "overlay.mp4"
    assert segment(video, network, "--overlay", str(overlay)) == 0
    masks = sorted((video.parent / "out").iterdir())
    assert [path.name for path in masks] == [f"frame{i}.png" for i in range(4)]
    np.testing.assert_array_equal(read_label_map(masks[0]), read_label_map(video.parent / "mask.png"))
    assert all(set(np.unique(read_label_map(path))) <= {0, 1, 5} for path in masks)
    assert overlay.stat().st_size > 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith("4 frames, 2 objects, median ")
    assert str(video.parent / "out") in line


class Forgetful:
    """A tracker that repeats its first label map, but for object 5 in the third of the frames."""

    def init(self, variables, frame, label_map):
        return 0, jnp.asarray(label_map)

    def step(self, variables, state, frame):
        done, label_map = state
        shown = jnp.where(label_map == 5, 0, label_map) if done == 1 else label_map
        return (done + 1, label_map), shown, None


def test_segment_says_where_an_object_is_missing(video, network, capsys, monkeypatch):
    tracking = segment_command.Tracking(lambda size, objects: Forgetful(), {}, {}, None, lambda: "hard")
    monkeypatch.setattr(segment_command, "_checkpoint_tracking", lambda options: tracking)
    assert segment(video, network) == 0
    missing, summary = capsys.readouterr().out.splitlines()
    assert missing == "object 5 is nowhere in frame2"
    assert summary.startswith("4 frames, 2 objects, ")


def expect_one_line(capsys, code, *words):
    """The convention for wrong input: exit code 2, one line on stderr with these words, nothing else."""
    assert code == 2
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == 1, lines
    assert shown.out == ""
    for word in words:
        assert word in lines[0]


def test_missing_video(video, network, capsys):
    expect_one_line(capsys, segment(video / "absent.mp4", network), "mask.png")
    code = cli.main(
        ["segment", "/absent.mp4", "--mask", str(video.parent / "mask.png"), "--out", "o", "--checkpoint", str(network)]
    )
    expect_one_line(capsys, code, "/absent.mp4")


def test_mask_of_another_size(video, network, capsys):
    write_label_map(video.parent / "mask.png", np.ones((48, 81), np.uint8))
    expect_one_line(capsys, segment(video, network), "81x48", "80x48")
    assert not (video.parent / "out").exists()


def test_empty_mask_and_too_many_objects(video, network, capsys):
    write_label_map(video.parent / "mask.png", np.zeros(SIZE, np.uint8))
    expect_one_line(capsys, segment(video, network), "mask.png", "empty")
    many = np.arange(SIZE[0] * SIZE[1], dtype=np.int64).reshape(SIZE) % 250
    write_label_map(video.parent / "mask.png", many.astype(np.uint8))
    expect_one_line(capsys, segment(video, network), "249 objects", "16 is the most")
    Image.fromarray(many.astype(np.uint16) + 256).save(video.parent / "mask.png")
    expect_one_line(capsys, segment(video, network), "mask.png")


def test_damaged_frame_keeps_what_came_before(video, network, capsys):
    (video / "frame2.png").write_bytes((video / "frame2.png").read_bytes()[:300])
    expect_one_line(capsys, segment(video, network), "frame2.png")
    assert sorted(path.name for path in (video.parent / "out").iterdir()) == ["frame0.png", "frame1.png"]


def test_unknown_checkpoint_and_misspelt_config_field(video, network, capsys, tmp_path):
    expect_one_line(capsys, segment(video, "no-such-net"), "no-such-net", "no such checkpoint")
    config = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16)
    save_checkpoint(tmp_path / "net", config, HOW, initial_variables(config))
    description = json.loads((tmp_path / "net" / "config.json").read_text())
    description["config"]["kept_mapz"] = 3
    (tmp_path / "net" / "config.json").write_text(json.dumps(description))
    expect_one_line(capsys, segment(video, tmp_path / "net"), "kept_mapz")


def test_output_that_cannot_be_a_folder(video, network, capsys):
    (video.parent / "out").write_text("in the way")
    expect_one_line(capsys, segment(video, network), "out")


@pytest.fixture(scope="module")
def mask_ranking_network(tmp_path_factory):
    config = MRNetConfig.lite(backbone="resnet_micro", input_size=(64, 96))
    path = tmp_path_factory.mktemp("mrnet") / "net"
    save_checkpoint(path, config, TrackerConfig.mrnet(), initial_variables(config), card={"steps": 0})
    return path


def test_segment_and_info_take_either_network(video, network, mask_ranking_network, capsys):
    assert segment(video, mask_ranking_network, "--model", "mrnet") == 0
    masks = sorted((video.parent / "out").iterdir())
    assert [path.name for path in masks] == [f"frame{i}.png" for i in range(4)]
    assert cli.main(["info", "--checkpoint", str(mask_ranking_network)]) == 0
    assert "(MRNet)" in capsys.readouterr().out
    expect_one_line(capsys, segment(video, network, "--model", "mrnet"), "is of ranet, not of mrnet")
    expect_one_line(capsys, segment(video, mask_ranking_network, "--model", "ranet"), "is of mrnet, not of ranet")
    expect_one_line(capsys, segment(video, mask_ranking_network, "--online-steps", "3"), "online learning is RANet's")
    target = video.parent / "net.pth"
    expect_one_line(capsys, cli.main(["convert", str(mask_ranking_network), str(target)]), "not of ranet")
    assert not target.exists()


def test_wrong_amounts_of_online_learning(video, network, capsys):
    for option, value, reason in [
        ("--online-steps", "-1", "give 0 or more"),
        ("--online-steps", "ten", "give 0 or more"),
        ("--online-learning-rate", "0", "give a positive number"),
        ("--online-learning-rate", "nan", "give a positive number"),
    ]:
        with pytest.raises(SystemExit) as caught:
            segment(video, network, option, value)
        expect_one_line(capsys, caught.value.code, option, reason)


def test_no_online_steps_import_nothing_of_training(video, network):
    program = (
        "import sys; from ranet_jax import cli; code = cli.main(sys.argv[1:]);"
        "sys.exit(code or any(name.startswith('ranet_jax.training') for name in sys.modules))"
    )
    mask, out = str(video.parent / "mask.png"), str(video.parent / "out")
    command = ["segment", str(video), "--mask", mask, "--out", out, "--checkpoint", str(network), "--online-steps", "0"]
    assert subprocess.run([sys.executable, "-c", program, *command]).returncode == 0


@pytest.mark.slow
def test_online_learning_changes_the_masks_and_not_the_checkpoint(video, network):
    stored = {path: path.read_bytes() for path in network.rglob("*") if path.is_file()}
    assert segment(video, network) == 0
    plain = [path.read_bytes() for path in sorted((video.parent / "out").iterdir())]
    assert segment(video, network, "--overwrite", "--online-steps", "4", "--online-learning-rate", "1e-2") == 0
    adapted = [path.read_bytes() for path in sorted((video.parent / "out").iterdir())]
    assert adapted[0] == plain[0]
    assert adapted[1:] != plain[1:]
    assert {path: path.read_bytes() for path in network.rglob("*") if path.is_file()} == stored


def test_evaluate_scores_masks_and_writes_tables(tmp_path, capsys):
    davis = tmp_path / "DAVIS"
    truth = np.zeros(SIZE, np.uint8)
    truth[10:30, 10:40] = 255
    for folder in ("JPEGImages/480p/cow", "Annotations/480p/cow"):
        (davis / folder).mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(davis / f"JPEGImages/480p/cow/{i:05d}.jpg")
        Image.fromarray(truth).save(davis / f"Annotations/480p/cow/{i:05d}.png")
        write_label_map(tmp_path / f"results/cow/{i:05d}.png", (truth > 0).astype(np.uint8))
    (davis / "ImageSets/2016").mkdir(parents=True)
    (davis / "ImageSets/2016/val.txt").write_text("cow\n")
    command = ["evaluate", "--davis", str(davis), "--year", "2016", "--split", "val"]
    results = ["--results", str(tmp_path / "results")]
    assert cli.main([*command, *results]) == 0
    assert "100.0" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["cow"]
    assert cli.main([*command, *results, "--sequences", "cow", "--out", str(tmp_path / "tables")]) == 0
    assert "global_results-val.csv" in capsys.readouterr().out
    rows = (tmp_path / "tables/global_results-val.csv").read_text().splitlines()
    assert rows[0] == "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay"
    assert [float(value) for value in rows[1].split(",")] == [1, 1, 1, 0, 1, 1, 0]
    expect_one_line(capsys, cli.main([*command, "--results", str(tmp_path / "absent")]), "absent")
    expect_one_line(capsys, cli.main(command), "--davis needs --results")
    expect_one_line(capsys, cli.main([*command, *results, "--score-first"]), "--score-first belong to own videos")


def test_evaluate_scores_own_videos(tmp_path, capsys):
    truth = np.zeros(SIZE, np.uint8)
    truth[10:30, 10:40] = 1
    border = truth.copy()
    border[30:32, 10:40] = 255
    for name in ("00000", "00004"):
        write_label_map(tmp_path / f"truth/{name}.png", border)
    for index in range(6):
        write_label_map(tmp_path / f"masks/{index:05d}.png", (border > 0).astype(np.uint8) if index else truth * 0)
    command = ["evaluate", "--prediction", str(tmp_path / "masks"), "--truth", str(tmp_path / "truth")]
    assert cli.main(command) == 0
    assert re.search(r"truth +81\.2  90\.9", capsys.readouterr().out)  # 600 of 660 pixels
    assert len(list((tmp_path / "masks").iterdir())) == 6
    assert cli.main([*command, "--void", "--out", str(tmp_path / "tables")]) == 0
    assert "100.0" in capsys.readouterr().out
    assert (tmp_path / "tables/per-sequence_results-truth.csv").read_text().splitlines()[1].startswith("truth_1,1.0")
    assert cli.main([*command, "--void", "--score-first"]) == 0
    assert " 50.0 " in capsys.readouterr().out
    expect_one_line(
        capsys, cli.main(command[:3]), "--davis and --results for a DAVIS split, or --prediction and --truth"
    )
    expect_one_line(capsys, cli.main([*command, "--track"]), "--prediction and --truth for own videos")
    expect_one_line(capsys, cli.main([*command, "--sequences", "cow"]), "leave out the names")


def test_convert_refuses_what_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "net.pth").write_bytes(b"not a checkpoint")
    expect_one_line(capsys, cli.main(["convert", str(tmp_path / "net.pth"), str(tmp_path / "net")]), "net.pth")
    assert not (tmp_path / "net").exists()


def test_convert_writes_a_checkpoint_as_one_file_and_back(tmp_path, network, capsys):
    file, folder = tmp_path / "net.safetensors", tmp_path / "net"
    assert cli.main(["convert", str(network), str(file)]) == 0
    assert cli.main(["convert", str(file), str(folder)]) == 0
    capsys.readouterr()
    for path in (file, folder):
        opened, expected = load_checkpoint(path), load_checkpoint(network)
        assert (opened.config, opened.tracker, opened.card) == (expected.config, expected.tracker, expected.card)
        jax.tree.map(np.testing.assert_array_equal, opened.variables, expected.variables)
    expect_one_line(capsys, cli.main(["convert", str(file), str(file)]), "the target is the checkpoint")
    expect_one_line(capsys, cli.main(["convert", str(file), str(tmp_path / "n.pth")]), "are of another network than")
    expect_one_line(capsys, cli.main(["convert", "a.pth", str(tmp_path / "b.pth")]), "give a folder or a .safetensors")
    assert not (tmp_path / "n.pth").exists()


def test_info_shows_versions_devices_and_parameters(network, capsys):
    assert cli.main(["info", "--checkpoint", str(network)]) == 0
    shown = capsys.readouterr().out
    for word in ("jax ", "devices: cpu", "M parameters", "kept_maps: 16", "card: steps: 0"):
        assert word in shown


def test_faults_of_ours_exit_with_1_and_debug_shows_the_traceback(capsys):
    def fail():
        raise ZeroDivisionError("oops")

    assert cli.run(fail, debug=False) == 1
    shown = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: oops" in shown
    assert "Traceback" not in shown
    assert cli.run(fail, debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_video_cut_off_in_the_middle_keeps_what_was_decoded(tmp_path, network, rng, capsys):
    path = tmp_path / "cut.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (SIZE[1], SIZE[0]))
    for _ in range(12):
        video.write(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    video.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 10:40] = 1
    write_label_map(tmp_path / "mask.png", labels)
    command = ["segment", str(path), "--mask", str(tmp_path / "mask.png"), "--out", str(tmp_path / "out")]
    expect_one_line(
        capsys, cli.main([*command, "--checkpoint", str(network)]), "cut.avi", "cut off", "of its 12 frames"
    )
    kept = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 2 <= len(kept) < 12
    assert kept == [f"{i:05d}.png" for i in range(len(kept))]
