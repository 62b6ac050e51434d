"""Portable programs: the masks of the checkpoint, without Flax and the networks, and one line for every wrong input."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from jax import export as jax_export
from PIL import Image

from ranet_jax import cli
from ranet_jax.errors import InputError
from ranet_jax.io.masks import write_label_map
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.runtime.export import export_program
from ranet_jax.runtime.program import load_program
from ranet_jax.tracker import TrackerConfig
from ranet_jax.weights import Checkpoint, initial_variables, save_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
SIZE = (48, 80)
CONFIGS = {
    "ranet": RANetConfig.lite(
        backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16, matching_features=16
    ),
    "mrnet": MRNetConfig.lite(backbone="resnet_micro", input_size=(32, 64), decoder_features=(8, 8), interval=1),
}
TRACKERS = {"ranet": TrackerConfig.lite(), "mrnet": TrackerConfig.mrnet()}
CARD = {"licence": "CC0"}


def checkpoint_of(name):
    variables = initial_variables(CONFIGS[name], seed=1)
    return Checkpoint(f"some/folder/{name}", CONFIGS[name], TRACKERS[name], variables, CARD)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A program with room for two objects; most tests only open or damage it."""
    path = tmp_path_factory.mktemp("program") / "net.ranet"
    export_program(checkpoint_of("ranet"), path, SIZE, objects=2)
    return path


def clip(rng, ids, count):
    """Bright objects that stand still on dark noise: where frames share nothing, rounding decides the masks."""
    labels = np.zeros(SIZE, np.uint8)
    for i, value in enumerate(ids):
        labels[10 + 5 * i : 30 + 5 * i, 5 + 35 * i : 35 + 35 * i] = value
    scene = rng.integers(0, 100, (*SIZE, 3)) + 100 * (labels > 0)[..., None]
    return (scene + rng.integers(0, 20, (count, *SIZE, 3))).astype(np.uint8), labels


def track(tracker, variables, frames, labels):
    variables = jax.device_put(variables)
    state, found = tracker.init(variables, frames[0], labels), []
    for frame in frames[1:]:
        before, (state, label_map, probability) = state, tracker.step(variables, state, frame)
        found.append((np.asarray(label_map), np.asarray(probability)))
    # Small ones may be output alone, which no step reads: MRNet's chosen frames.
    donated = [leaf.is_deleted() for leaf in jax.tree.leaves(before) if leaf.ndim > 1]
    return *map(np.stack, zip(*found, strict=True)), donated


@pytest.mark.parametrize(("name", "ids"), [("ranet", (3, 200)), ("ranet", (7,)), ("mrnet", (3, 200))])
def test_a_program_gives_the_masks_of_the_checkpoint(name, ids, tmp_path, rng):
    checkpoint = checkpoint_of(name)
    export_program(checkpoint, tmp_path / "net.ranet", SIZE, objects=2)
    program = load_program(tmp_path / "net.ranet")
    frames, labels = clip(rng, ids, count=7)
    expected, probability, donated = track(checkpoint.tracker_for(SIZE), checkpoint.variables, frames, labels)
    found, found_probability, found_donated = track(
        program.tracker_for(SIZE, len(ids)), program.variables, frames, labels
    )
    # The same operations, fused in another way: the last bits may differ, so a label where two are as good as equal.
    # What a random network makes of that in later frames is not bounded.
    np.testing.assert_allclose(found_probability[0, ..., : len(ids)], probability[0], atol=5e-4)
    assert (found[:2] == expected[:2]).mean() > 0.999
    assert set(ids) <= set(np.unique(expected)), "or the comparison says little"
    assert donated
    assert all(donated)
    assert all(found_donated), "memory would grow"


def annotated(tracker, variables, frames, labels, given):
    """State before, and what comes out at and after, a second frame with masks."""
    variables = jax.device_put(variables)
    state = tracker.init(variables, frames[0], labels)
    state, *first = tracker.step(variables, state, frames[1])
    before = state
    state, *second = tracker.annotate(variables, state, frames[2], given)
    donated = [leaf.is_deleted() for leaf in jax.tree.leaves(before) if leaf.ndim > 1]
    state, *third = tracker.step(variables, state, frames[3])
    return state, [tuple(map(np.asarray, outputs)) for outputs in (first, second, third)], donated


@pytest.mark.parametrize("name", ["ranet", "mrnet"])
def test_a_program_s_annotate_is_the_tracker_s(name, tmp_path, rng):
    """A second object is brought by a later mask; the program has room for it, and for the second reference."""
    checkpoint = checkpoint_of(name)
    description = export_program(checkpoint, tmp_path / "net.ranet", SIZE, objects=2, references=2)
    assert description["references"] == 2
    program = load_program(tmp_path / "net.ranet")
    frames, both = clip(rng, (3, 200), count=4)
    labels, given = np.where(both == 3, 3, 0).astype(np.uint8), np.where(both == 200, 200, 0).astype(np.uint8)
    tracker, own = checkpoint.tracker_for(SIZE), checkpoint.variables
    expected_state, expected, _ = annotated(tracker, own, frames, labels, given)
    state, found, donated = annotated(program.tracker_for(SIZE, 2), program.variables, frames, labels, given)
    for (label_map, probability), (own_labels, own_probability) in zip(found, expected, strict=True):
        # Of one object there is one plane until the tracker makes room for the second.
        np.testing.assert_allclose(probability[..., : own_probability.shape[-1]], own_probability, atol=2e-3)
        assert (label_map == own_labels).mean() > 0.999
    np.testing.assert_array_equal(found[1][0][given > 0], 200)
    assert np.asarray(state["ids"]).tolist() == expected_state.ids.tolist() == [3, 200]
    assert np.asarray(state["ages"]).tolist() == expected_state.ages.tolist() == [1, 2]
    assert all(donated), "memory would grow"


def test_a_program_has_no_room_for_more_objects_than_it_was_exported_for(written, rng):
    program = load_program(written)
    frames, labels = clip(rng, (3, 200), count=2)
    tracker, variables = program.tracker, jax.device_put(program.variables)
    state = tracker.init(variables, frames[0], labels)
    with pytest.raises(InputError, match="3 objects and there is room for 2"):
        tracker.annotate(variables, state, frames[1], np.where(labels > 0, 7, 0).astype(np.uint8))
    with pytest.raises(InputError, match="the mask is 80x40 pixels and the video 80x48"):
        tracker.annotate(variables, state, frames[1], labels[:40])
    with pytest.raises(InputError, match="the mask is empty"):
        tracker.annotate(variables, state, frames[1], np.zeros_like(labels))


def test_what_the_file_says_and_holds(written, tmp_path):
    checkpoint, program = checkpoint_of("ranet"), load_program(written)
    described = program.description
    assert described["config"] == json.loads(json.dumps(CONFIGS["ranet"].to_dict() | {"dtype": "float32"}))
    assert (described["network"], described["checkpoint"], described["card"]) == ("ranet", "ranet", CARD)
    assert (described["frame_size"], described["objects"], described["references"]) == (list(SIZE), 2, 1)
    assert described["format"] == 2
    assert TrackerConfig.from_dict(described["tracker"]) == TRACKERS["ranet"]
    assert described["platforms"] == ["cpu", "cuda", "tpu"]
    assert described["jax"] == jax.__version__
    assert jax.tree.all(
        jax.tree.map(np.array_equal, jax.tree.leaves(checkpoint.variables), list(program.variables.values()))
    )
    half = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), checkpoint.variables)
    export_program(checkpoint._replace(variables=half), tmp_path / "half.ranet", SIZE, dtype="bfloat16")
    with zipfile.ZipFile(tmp_path / "half.ranet") as archive:
        weights = [np.load(archive.open(name)) for name in archive.namelist() if name.startswith("weights/")]
        step = archive.read("step.bin")
        functions = b"".join(archive.read(f"{name}.bin") for name in ("init", "step", "annotate"))
        assert b".py" not in functions, "no paths of this machine's files"
    assert {array.dtype for array in weights} == {np.dtype(np.float16)}
    np.testing.assert_array_equal(weights[5], jax.tree.leaves(half)[5])
    assert "bf16" in jax_export.deserialize(bytearray(step)).mlir_module()
    assert "bf16" not in jax_export.deserialize(bytearray(zipfile.ZipFile(written).read("step.bin"))).mlir_module()


def test_the_example_in_the_documentation_runs(written, monkeypatch, rng):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    frames, labels = clip(rng, (1,), count=3)
    names = {"frames": frames, "label_map": labels}
    monkeypatch.chdir(written.parent)
    exec(example, names)
    program = load_program(written)
    expected, *_ = track(program.tracker, program.variables, frames, labels)
    np.testing.assert_array_equal(names["label_map"], expected[-1])
    names["archive"].close()


@pytest.fixture
def video(tmp_path, rng):
    frames, labels = clip(rng, (1, 5), count=4)
    folder = tmp_path / "video"
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{i}.png")
    write_label_map(tmp_path / "mask.png", labels)
    return folder


def segment_command(video, *more):
    return ["segment", str(video), "--mask", str(video.parent / "mask.png"), *map(str, more)]


def test_the_command_runs_a_program_without_flax_and_the_networks(video, tmp_path, capsys):
    checkpoint, program = str(tmp_path / "net"), str(tmp_path / "net.ranet")
    variables = initial_variables(CONFIGS["ranet"], seed=1)
    save_checkpoint(checkpoint, CONFIGS["ranet"], TRACKERS["ranet"], variables, card=CARD)
    assert cli.main(["export", "--checkpoint", checkpoint, "--size", "48x80", "--objects", "2", program]) == 0
    shown = capsys.readouterr().out
    assert "RANet, 48x80, 2 objects, float32" in shown
    assert "CC0" in shown
    assert cli.main(segment_command(video, "--checkpoint", checkpoint, "--out", tmp_path / "expected")) == 0
    alone = (
        "import sys; sys.modules['flax'] = sys.modules['ranet_jax.networks'] = None  # importing either raises\n"
        "from ranet_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = segment_command(video, "--program", program, "--out", tmp_path / "found")
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", alone, *command], env=environment).returncode == 0
    read = lambda folder: {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
    assert read("found") == read("expected")
    assert len(read("found")) == 4


def expect_one_line(capsys, arguments, *words):
    assert cli.main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert shown.out == ""
    for word in words:
        assert word in line


def test_videos_and_options_a_program_is_not_for(video, written, tmp_path, capsys):
    command = segment_command(video, "--program", written, "--out", tmp_path / "out")
    for option, value in [("--checkpoint", "lite"), ("--model", "mrnet"), ("--online-steps", "3")]:
        expect_one_line(capsys, [*command, option, value], "--program", f"leave out {option}")
    write_label_map(tmp_path / "mask.png", np.repeat(np.arange(3, dtype=np.uint8) + 1, 16)[:, None].repeat(80, 1))
    expect_one_line(capsys, command, "room for 2 objects", "have 3", "--objects 3")
    for path in video.iterdir():
        Image.open(path).crop((0, 0, 70, 40)).save(path)
    write_label_map(tmp_path / "mask.png", np.ones((40, 70), np.uint8))
    expect_one_line(capsys, command, "48x80", "--size 40x70")
    assert not (tmp_path / "out").exists()
    tracker = load_program(written).tracker
    with pytest.raises(InputError, match="3 objects and there is room for 2"):
        tracker.init(
            {}, np.zeros((*SIZE, 3), np.uint8), np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % 4
        )


def test_a_platform_it_is_not_for(written, monkeypatch):
    monkeypatch.setattr(jax_export, "default_export_platform", lambda: "rocm")
    with pytest.raises(InputError, match=r"cpu, cuda, tpu and this machine computes on rocm"):
        load_program(written)


def changed(written, tmp_path, **members):
    """The program with members replaced, or left out where they are None."""
    path = tmp_path / "changed.ranet"
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = members.get(name.split(".")[0].split("/")[-1], source.read(name))
            if data is not None:
                target.writestr(name, data)
    return path


def test_files_that_are_no_whole_program(written, tmp_path):
    whole = written.read_bytes()
    path = tmp_path / "bad.ranet"
    with pytest.raises(InputError, match="no such program"):
        load_program(path)
    with pytest.raises(InputError, match="a folder"):
        load_program(tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for data in (b"", b"no zip", whole[: len(whole) // 2], whole[:-5], bytes(flipped)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"damaged"):
            load_program(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.txt", "sunny")
    with pytest.raises(InputError, match="not a program of ranet-jax"):
        load_program(path)
    described = json.loads(zipfile.ZipFile(written).read("program.json"))
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for members, message in [
        ({"program": "{"}, "damaged"),
        ({"program": json.dumps(described | {"format": 1})}, "format 1 is not known here; .* export it again"),
        ({"program": json.dumps(described | {"format": 3})}, "format 3 is not known"),
        ({"step": None}, "damaged"),
        ({"annotate": None}, "damaged"),
        ({"kernel": None}, "weights .*kernel do not fit"),
        ({"kernel": array.getvalue()}, "weights .*kernel do not fit"),
        ({"kernel": b"nothing"}, "damaged"),
        ({"step": b"\0" * 50}, rf"written by JAX {jax.__version__}, which JAX {jax.__version__} cannot read"),
        ({"init": zipfile.ZipFile(written).read("step.bin")}, "init takes other arguments"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            load_program(changed(written, tmp_path, **members))
        assert len(str(caught.value).splitlines()) == 1


def test_exports_that_cannot_be(tmp_path, written, capsys):
    checkpoint = checkpoint_of("ranet")
    with pytest.raises(InputError, match="17 objects"):
        export_program(checkpoint, tmp_path / "net.ranet", SIZE, objects=17)
    with pytest.raises(InputError, match="0x80"):
        export_program(checkpoint, tmp_path / "net.ranet", (0, 80))
    (tmp_path / "video.mp4").write_bytes(b"precious")
    with pytest.raises(InputError, match="not a program, so it is kept"):
        export_program(checkpoint, tmp_path / "video.mp4", SIZE)
    with pytest.raises(InputError, match="folder"):
        export_program(checkpoint, tmp_path, SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]
    for size in ("48", "48x", "axb", "-1x80"):
        with pytest.raises(SystemExit) as caught:
            cli.main(["export", "out", f"--size={size}"])
        assert caught.value.code == 2
        assert "HEIGHTxWIDTH" in capsys.readouterr().err
