"""A split in batches, over devices and processes: the same masks and the same table as one after the other."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from PIL import Image

from ranet_jax.commands.evaluate import main
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.evaluation import tracking
from ranet_jax.evaluation.shares import Group, make_groups, over_devices, share_of
from ranet_jax.io.masks import read_label_map
from ranet_jax.networks import RANetConfig
from ranet_jax.runtime.batched import compiled_steps
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import initial_variables, load_checkpoint, save_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
LENGTHS = {"ant": 3, "bee": 5, "cow": 4, "dog": 4, "eel": 3}
SIZES = {"dog": (40, 72)}
SIZE = (48, 80)


@pytest.fixture
def tree(write_davis):
    return DavisTree(write_davis(LENGTHS, SIZES), 2016)


@pytest.fixture
def network(tmp_path):
    config = RANetConfig.lite(
        backbone="resnet_micro", input_size=(32, 64), template_grid=(2, 4), kept_maps=8, matching_features=16
    )
    save_checkpoint(tmp_path / "net", config, TrackerConfig.lite(), initial_variables(config))
    return tmp_path / "net"


def masks(results):
    return {str(path.relative_to(results)): read_label_map(path) for path in sorted(results.glob("*/*.png"))}


def assert_same_masks(results, expected):
    ours, theirs = masks(results), masks(expected)
    assert ours.keys() == theirs.keys()
    assert len(ours) == sum(LENGTHS.values())
    for name, labels in ours.items():
        assert (labels == theirs[name]).mean() > 0.999, name


def without_times(output):
    """Tables without the folder that the files go to, and without the last column: milliseconds."""
    tables = [line for line in output.splitlines() if not line.endswith(".csv")]
    return [re.sub(r"\s+(ms/frame|[\d.]+|-)$", "", line) for line in tables]


def test_groups_are_of_one_size_and_similar_length(tree):
    groups = make_groups(tree, tuple(LENGTHS), batch=3, workers=1)
    assert groups == [Group(("bee", "cow", "ant"), 12), Group(("dog",), 4), Group(("eel",), 3)]
    # Five sequences for four devices: two at once at most, or devices would go without.
    assert max(len(group.sequences) for group in make_groups(tree, tuple(LENGTHS), batch=8, workers=4)) == 2


def test_groups_are_of_one_bucket(tree):
    folder = tree.root / "Annotations" / "480p" / "bee"
    labels = np.zeros(SIZE, np.uint8)
    labels[:9, :9], labels[20:, 20:] = 1, 2
    Image.fromarray(labels).save(folder / "00000.png")
    (tree.root / "ImageSets" / "2017").mkdir()
    (tree.root / "ImageSets" / "2017" / "val.txt").write_text("ant\nbee\n")
    tree = DavisTree(tree.root, 2017)
    ant = tree.root / "Annotations" / "480p" / "ant" / "00000.png"
    Image.fromarray((labels == 1).astype(np.uint8)).save(ant)
    assert make_groups(tree, ("ant", "bee"), batch=2, workers=1) == [Group(("bee",), 5), Group(("ant",), 3)]
    for path in ant.parent.iterdir():
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(path)
    with pytest.raises(InputError, match=r"ant.*no object"):
        make_groups(tree, ("ant", "bee"), batch=2, workers=1)


def test_shares_are_whole_and_balanced():
    groups = [Group((str(frames),), frames) for frames in (9, 7, 6, 5, 4)]
    shares = [share_of(groups, index, 2) for index in range(2)]
    assert [[group.frames for group in share] for share in shares] == [[9, 5], [7, 6, 4]]
    assert share_of(groups, 0, 1) == groups
    assert share_of(groups[:1], 1, 2) == []


def test_devices_work_at_once_and_an_error_ends_them_all():
    groups = [Group((str(i),), i) for i in range(8)]
    together, seen = threading.Barrier(4, timeout=60), {}

    def work(variables, group, device, check):
        assert variables.devices() == {device}
        if group.frames < 4:
            together.wait()
        seen[group.sequences[0]] = device

    over_devices(groups, np.ones(3), jax.local_devices(), work)
    assert seen.keys() == set("01234567")
    assert set(seen.values()) == set(jax.local_devices())

    def fail(variables, group, device, check):
        if group.frames == 1:
            raise InputError("damaged")
        while True:
            check()

    with pytest.raises(InputError, match="damaged"):
        over_devices(groups, np.ones(3), jax.local_devices(), fail)


@pytest.mark.slow
def test_batches_on_devices_give_the_masks_of_one_sequence_after_the_other(tree, network, tmp_path):
    checkpoint, told = load_checkpoint(network), []
    one = tracking.track_split(tree, tuple(LENGTHS), checkpoint, tmp_path / "one", devices=jax.local_devices()[:1])
    before = compiled_steps()
    two = tracking.track_split(
        tree,
        tuple(LENGTHS),
        checkpoint,
        tmp_path / "two",
        batch=2,
        devices=jax.local_devices()[:2],
        notify=lambda name, report: told.append((name, report.frames)),
    )
    assert sorted(told) == sorted(LENGTHS.items())
    assert one.keys() == two.keys() == LENGTHS.keys()
    # Two batches of two; a program for each device that got one, and none as the shorter sequences end.
    assert 1 <= compiled_steps() - before <= 2
    assert_same_masks(tmp_path / "two", tmp_path / "one")


def test_mistakes(tree, network, tmp_path, capsys):
    arguments = ["--davis", str(tree.root), "--checkpoint", str(network), "--results", str(tmp_path / "results")]
    assert main([*arguments, "--batch", "2", "--online-steps", "1"]) == 2
    assert "leave out --batch or --online-steps" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--batch", "0"])
    assert "'0' is not a number: give 1 or more" in capsys.readouterr().err


def _in_two_processes(*arguments):
    """Exit code, output and errors of each."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "eval.davis", *map(str, arguments), "--distributed"]
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, f"{address},2,{index}"], **options) for index in range(2)]
    ended = [process.communicate(timeout=300) for process in processes]
    # The library that connects CPUs says so on the standard output.
    own = [re.sub(r"^\[Gloo\].*\n", "", output, flags=re.MULTILINE) for output, _ in ended]
    return [(p.returncode, output, errors) for p, output, (_, errors) in zip(processes, own, ended, strict=True)]


@pytest.mark.slow
def test_two_processes_share_the_sequences_and_the_first_one_shows_the_table(
    tree, network, tmp_path, capsys, monkeypatch
):
    arguments = ["--davis", tree.root, "--checkpoint", network, "--results"]
    with monkeypatch.context() as patch:
        only = jax.local_devices()[:1]
        patch.setattr(jax, "local_devices", lambda: only)
        assert main([*map(str, arguments), str(tmp_path / "one")]) == 0
    expected = capsys.readouterr().out
    assert [line.split()[0] for line in without_times(expected)[-5:]] == list(LENGTHS)
    arguments = ["--batch", "2", *arguments]
    (code, output, errors), (other_code, nothing, other_errors) = _in_two_processes(*arguments, tmp_path / "two")
    assert (code, other_code) == (0, 0), errors + other_errors
    assert without_times(output) == without_times(expected)
    timed = [line for line in output.splitlines() if re.fullmatch(r"(bee|dog) .* \d+\.\d", line)]
    assert len(timed) == 2, "times of both processes"
    assert nothing == ""
    told = [set(re.findall(r"^(\w+): \d frames", text, re.MULTILINE)) for text in (errors, other_errors)]
    assert told[0] | told[1] == LENGTHS.keys()
    assert not told[0] & told[1]
    assert all(told)
    assert_same_masks(tmp_path / "two", tmp_path / "one")

    # One process finds a damaged frame: both end, and say why.
    (tree.root / "JPEGImages" / "480p" / "eel" / "00001.jpg").write_bytes(b"no picture")
    ended = _in_two_processes(*arguments, tmp_path / "three")
    assert [code for code, *_ in ended] == [2, 2]
    lines = sorted(errors.splitlines()[-1] for _, _, errors in ended)
    assert any("cannot read the picture" in line for line in lines), lines
    assert any(re.search(r"process [01] of 2 failed", line) for line in lines), lines
