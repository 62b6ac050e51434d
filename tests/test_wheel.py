"""The wheel alone, outside a checkout: trains by a user's own recipe, scores, and measures its speed."""

import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder
from PIL import Image

from ranet_jax.io.masks import write_label_map
from ranet_jax.training.options import recipe_names

ROOT = pathlib.Path(__file__).parents[1]
SIZE = (48, 80)
RECIPE = """
from ranet_jax.data.config import SampleConfig
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import TrackerConfig
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.recipe import recipe
from ranet_jax.training.rollout import Objective


def get_config():
    model = RANetConfig.lite()
    return recipe(
        model,
        TrackerConfig.lite(),
        SampleConfig(size=model.input_size),
        {"cows": part("videos", "cows", "video_pair"), "stills": part("photographs", "stills", "static_pair")},
        optimizer=OptimizerConfig(learning_rate=1e-3),
        loop=LoopConfig(steps=1000),
        batch_size=4,
        objective=Objective.pairs(),
    )
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    return pathlib.Path(built)


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Runs `ranet-jax` from a folder that is no checkout, and gives what it printed."""
    installed, elsewhere = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(wheel)], check=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    options = {"cwd": elsewhere, "env": environment, "capture_output": True, "text": True}
    where = [sys.executable, "-c", "import ranet_jax; print(ranet_jax.__file__)"]
    found = subprocess.run(where, **options).stdout
    assert pathlib.Path(found.strip()).is_relative_to(installed), found

    def command(*arguments, code=0):
        done = subprocess.run([sys.executable, "-m", "ranet_jax.cli", *map(str, arguments)], **options, timeout=600)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    command.folder = elsewhere
    return command


def write_video(folder, name, length):
    """A folder like DAVIS's, one object that moves."""
    rng = np.random.default_rng(0)
    for i in range(length):
        labels = np.zeros(SIZE, np.uint8)
        labels[10:30, 10 + 4 * i : 40 + 4 * i] = 1
        frame = folder / "JPEGImages" / "480p" / name / f"{i:05d}.jpg"
        frame.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(frame)
        write_label_map(folder / "Annotations" / "480p" / name / f"{i:05d}.png", labels)
    lists = folder / "ImageSets" / "2016"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "val.txt").write_text(f"{name}\n")


@pytest.mark.slow
def test_the_wheel_has_the_recipes_and_the_data_files_and_nothing_of_the_checkout(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"ranet_jax/recipes/{name}.py" for name in recipe_names()} <= set(names)
    assert "ranet_jax/checkpoints/lite/config.json" in names
    assert "ranet_jax/demo/bunny.mp4" in names
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"ranet_jax"}


@pytest.mark.slow
def test_a_user_s_own_recipe_is_trained_scored_and_measured_outside_a_checkout(run):
    folder = run.folder
    write_video(folder / "data" / "cows", "cow", 4)
    labels = np.zeros(SIZE, np.uint8)
    labels[10:40, 20:60] = 3
    (folder / "data" / "stills").mkdir()
    Image.fromarray(np.stack([labels * 60] * 3, axis=-1)).save(folder / "data" / "stills" / "one.jpg")
    write_label_map(folder / "data" / "stills" / "one.png", labels)
    (folder / "mine.py").write_text(RECIPE)
    said = run("train", "mine.py", "--workdir", "run", "--smoke", "--config.loop.steps=4", "--config.loop.log_every=1")
    lines = said.splitlines()
    assert lines[:3] == [
        "smoke: 64x96, resnet_micro, 4 steps; what was given stays",
        "data: cows: videos cows, 4 annotated frames of 1 videos, video_pair, weight 1",
        "data: stills: photographs stills, 1 images, static_pair, weight 1",
    ]
    assert lines[3].startswith("devices: 1 x cpu (cpu), ")
    assert lines[4].startswith("network: RANet, resnet_micro, 64x96, ")
    assert lines[4].endswith(" M parameters")
    assert lines[5] == "compiling the training step"
    assert "done: 4 steps; the weights are in run/inference" in lines
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 4

    more = ("--davis", "data/cows", "--results", "results")
    assert "J&F-Mean" in run("evaluate", "--track", *more, "--checkpoint", "run/inference")
    assert len(list((folder / "results" / "cow").glob("*.png"))) == 4
    assert "cow" in run("evaluate", *more)
    assert "--checkpoint say how to track: add --track" in run("evaluate", *more, "--checkpoint", "x", code=2)
    said = run("benchmark", "--checkpoint", "run/inference", "--size", "48x80", "--objects", "1,2", "--repeats", "2")
    assert said.startswith("run/inference: frames 48x80, network input 64x96, cpu, median of 2 steps")


@pytest.mark.slow
def test_what_is_wrong_is_one_line(run):
    for arguments, message in [
        (("train", "nothing", "--workdir", "x"), "nothing: no such recipe; give a .py file, or one of mrnet_ablations"),
        (("train", "ranet_davis16", "--workdir", "x", "--smoke"), "data/DAVIS is no DAVIS folder"),
        (("train", "ranet_davis16", "--workdir", "x", "--config.loop.step=3"), "the config has no field loop.step"),
        (("info", "--config.loop.steps=3"), "unrecognized arguments: --config.loop.steps=3"),
    ]:
        said = run(*arguments, code=2)
        assert message in said
        assert said.count("\n") == 1
