"""What the benchmark says of training: what it measures exists, and adds up. No test asserts a speed."""

import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from eval.benchmarks import __main__ as benchmark
from eval.benchmarks import scaling
from eval.benchmarks import training as training_report
from eval.benchmarks.input_side import LoopTiming
from eval.benchmarks.operations import matrix_operations
from eval.benchmarks.scaling import Scaling, Setting
from eval.benchmarks.training_memory import BatchFit, device_memory, fit_batch_size
from eval.benchmarks.training_speed import StepReport, measure_training_step
from eval.benchmarks.training_split import StepSplit, measure_split
from eval.benchmarks.training_step import expected_state, noise, noise_clips
from ranet_jax.training.options import load_config
from ranet_jax.training.recipe import open_step


def _micro() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(load_config("ranet_lite_davis16"))
    config.model.input_size = config.data.sample.size = (64, 96)
    config.model.backbone, config.model.template_grid, config.model.kept_maps = "resnet_micro", (4, 6), 16
    return config


def test_operations_of_products_convolutions_and_loops():
    square, image = jnp.zeros((10, 10)), jnp.zeros((1, 8, 8, 3))
    assert matrix_operations(jax.jit(lambda a: a @ a), square) == 2000
    assert matrix_operations(lambda a: jax.lax.scan(lambda c, _: (c @ c, None), a, None, length=7)[0], square) == 14000
    kernel = jnp.zeros((3, 3, 3, 5))
    layout = ("NHWC", "HWIO", "NHWC")
    convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=layout)
    once = 2 * 4 * 4 * 5 * 27
    assert matrix_operations(convolve, image, kernel) == once
    gradient = jax.grad(lambda x, k: jnp.sum(convolve(x, k)), argnums=(0, 1))
    # Loss, and its gradient by each argument, in which only zeros were put between values.
    assert matrix_operations(gradient, image, kernel) == 3 * once


@pytest.mark.slow
def test_the_operations_of_a_clip_grow_with_its_frames():
    config = ml_collections.ConfigDict(load_config("mrnet_lite_davis16"))
    config.model.backbone, config.model.decoder_features = "resnet_micro", (8, 8, 8)
    config.model.input_size = config.data.sample.size = (64, 96)
    counts = []
    for config.data.sample.clip_length in (4, 12):
        opened = open_step(config, remat=False)
        state, batch = expected_state(opened), noise(opened, 1)
        assert batch["images"].shape == (1, config.data.sample.clip_length, 64, 96, 3)
        counts.append(matrix_operations(opened.function.loss, state.params, state.batch_stats, batch))
    # The oldest candidates of late frames are what grows besides.
    assert 2 * counts[0] < counts[1] < 4 * counts[0]


@pytest.mark.parametrize(
    ("base", "slope", "budget", "largest"), [(100, 10, 175, 7), (100, 10, 100, 0), (100, 10, 110, 1), (0, 1, 37, 37)]
)
def test_the_largest_batch_is_found_in_few_trials(base, slope, budget, largest):
    found = fit_batch_size(lambda size: base + slope * size, budget)
    assert (found.largest, found.budget) == (largest, budget)
    assert len(found.sizes) <= 3
    assert all(taken == base + slope * size for size, taken in found.sizes.items())


@pytest.mark.parametrize("budget", [50, 900, 1234, 10**9])
def test_the_largest_batch_is_the_one_that_fits_where_memory_is_no_line(budget):
    taken = lambda size: 40 + 3 * size + size**2 // 1000 + 16 * (size % 4 == 3)
    found = fit_batch_size(taken, budget)
    assert taken(found.largest) <= budget
    assert found.largest in found.sizes
    assert len(found.sizes) < 12


def test_memory_that_does_not_grow_ends_the_search():
    assert fit_batch_size(lambda size: 5, 10).largest == 4096
    assert device_memory() > 2**20


def test_a_settings_processes_are_added_up(monkeypatch, tmp_path):
    asked = []

    class Process:
        returncode = 0

        def __init__(self, command, **_):
            asked.append(json.loads(command[-1]))

        def communicate(self):
            index = asked[-1]["index"]
            return f"a line\n{json.dumps({'input_rate': 10.0, 'step': 1.0 + index, 'waiting': 0.5})}\n", ""

        def kill(self):
            pass

        wait = kill

    monkeypatch.setattr(scaling.subprocess, "Popen", Process)
    (tmp_path / "ImageSets/2016").mkdir(parents=True)
    (tmp_path / "ImageSets/2016/train.txt").write_text("walk\n")
    found = scaling.measure_scaling(tmp_path, Setting(2, 1, 1), batch_size=8, seconds=1.0, steps=3)
    assert found == Scaling(Setting(2, 1, 1), 20.0, 2.0, 0.5)
    assert [task["index"] for task in asked] == [0, 1]
    assert asked[0]["address"] == asked[1]["address"] != ""
    Process.returncode = 1
    with pytest.raises(RuntimeError, match=r"Setting\(processes=1, .* failed"):
        scaling.measure_scaling(tmp_path, Setting(1, 4, 2), batch_size=8, seconds=1.0, steps=3)


def test_every_table_has_its_rows(capsys, monkeypatch, tmp_path):
    timing = LoopTiming(1.25, 0.125)
    split = StepSplit((64, 96), 12, "float32", 2, 4, 0.5, 0.25, 0.5, 0.01, 0.02, 0.8, timing, 1e9, 1e10)
    assert split.parts == pytest.approx(0.78)
    assert split.utilisation == pytest.approx(1e9 / 0.8 / 1e10)
    monkeypatch.setattr(training_report, "measure_split", lambda *_: split)
    monkeypatch.setattr(training_report, "measure_batch_sizes", lambda *_: BatchFit({1: 2**30, 2: 2**31}, 1, 2**30))
    monkeypatch.setattr(training_report, "measure_training_step", lambda *_: StepReport(0.5, 1e9, 1e10, 2**30, None))
    monkeypatch.setattr(training_report, "measure_scaling", lambda _, s, **__: Scaling(s, 40.0, 0.2, 0.1))
    flags = ("--batch-sizes", "--memory", "1", "--train", "--objects", "1,3", "--batch", "2")
    assert benchmark.main(["--split", str(tmp_path), "--scaling", str(tmp_path), *flags]) == 0
    out = capsys.readouterr().out
    assert "2 samples of 12 frames on each of 4" in out
    assert " 98%" in out
    assert out.count("the largest that fits") == 2
    steps = [line.split() for line in out.splitlines() if line.endswith(" -")]
    assert steps[1] == ["ranet_lite_davis16", "2", "3", "0.50", "4", "1", "20%", "1.00", "-"]
    assert [line[0] for line in steps] == ["ranet_lite_davis16"] * 2 + ["mrnet_lite_davis16"] * 2
    assert len(out.splitlines()[-5:]) == len(scaling.SETTINGS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-sizes", "--memory", "0"), "give GiB above 0"),
        (("--batch-sizes", "--recipes", "none.py"), "none.py: no such recipe"),
        (("--scaling", "nowhere"), "nowhere is no DAVIS folder"),
        (("--split", "nowhere", "--recipes", "ranet_lite_davis16"), "nowhere"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    assert benchmark.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_step_is_split(shared):
    found = measure_split(_micro(), shared("data/DAVIS"), 1, repeats=1, seconds=0.1)
    assert (found.devices, found.batch_size, found.frames) == (4, 1, 2)
    assert found.operations > 1e6
    assert min(found.input, found.forward, found.optimizer, found.all_reduce, found.whole, found.loop.seconds) > 0


@pytest.mark.slow
def test_two_processes_share_the_input(shared):
    found = scaling.measure_scaling(shared("data/DAVIS"), Setting(2, 1, 1), batch_size=2, seconds=0.1, steps=2)
    assert 0 <= found.waiting < found.step
    assert found.input_rate > 0


def test_noise_is_a_valid_batch():
    batch = noise_clips(2, 4, 3, (64, 96))
    assert batch["images"].shape == (2, 4, 64, 96, 3)
    assert batch["labels"].shape == (2, 4, 64, 96)
    assert batch["valid"].shape == (2, 3)
    assert batch["valid"].all()
    for clip in batch["labels"]:
        for labels in clip:
            assert set(np.unique(labels)) == {0, 1, 2, 3}


@pytest.mark.slow
def test_a_training_step_is_measured_for_any_number_of_objects():
    one, two = (measure_training_step(_micro(), 2, objects, repeats=2) for objects in (1, 2))
    assert one.seconds > 0
    assert 1e6 < one.operations < two.operations < 2 * one.operations
    assert one.compiled_bytes > sum(x.nbytes for x in noise_clips(2, 2, 1, (64, 96)).values())
