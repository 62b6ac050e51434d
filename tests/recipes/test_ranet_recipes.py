"""Every recipe fits the library: its fields build, and its training step can be traced at full size."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.data.builders import Ecssd, pack
from ranet_jax.data.config import SampleConfig
from ranet_jax.errors import InputError
from ranet_jax.networks import RANetConfig
from ranet_jax.tracker import AspectBox, TrackerConfig
from ranet_jax.training.licences import DAVIS_LICENCE
from ranet_jax.training.loop import LoopConfig
from ranet_jax.training.mixture import data_fields, open_mixture, part
from ranet_jax.training.optimizer import OptimizerConfig
from ranet_jax.training.options import build, given_fields, load_config, override
from ranet_jax.training.recipe import configs_of, open_step
from ranet_jax.training.run import Options, card_of, decisive, evaluate, train
from ranet_jax.training.step import initial_state, train_step
from ranet_jax.weights import initial_variables

PACKED = ("--config.data.parts.msra10k.kind=packed",)

ABLATIONS = ("full", "ranking-none", "ranking-maximum", "no-correlation", "no-previous-mask")
RECIPES = (
    "ranet_static",
    "ranet_static:multi",
    "ranet_davis16",
    "ranet_davis17",
    "ranet_lite_davis16",
    *(f"ranet_ablations:{name}:lite" for name in ABLATIONS),
    "ranet_lite_ablations:base",
    "ranet_lite_ablations:paste-objects",
    "ranet_lite_ablations:stills",
    "ranet_ablations:no-static-pretraining",
    "ranet_ablations:no-video-finetuning:static",
)


@pytest.mark.parametrize("name", RECIPES)
def test_fields_build(name):
    config = load_config(name)
    model, tracker, objective = configs_of(config)
    assert isinstance(model, RANetConfig)
    sample = build(SampleConfig, config.data.sample)
    assert sample.size == model.input_size
    assert "crop" not in config.data.sample, "the tracker's window says how samples are cut"
    assert build(LoopConfig, config.loop).steps > 0
    build(OptimizerConfig, config.optimizer)
    opened = open_step(config)
    assert (opened.frames, opened.objective) == (1 + sample.rollout, objective)
    assert opened.crop == ("box" if isinstance(tracker.window, AspectBox) else "frame")
    json.dumps(decisive(config))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_training_step_traces_at_full_size(name):
    config = load_config(name)
    opened = open_step(config)
    function = opened.function
    state = jax.eval_shape(lambda: initial_state(initial_variables(opened.model), function.optimizer))
    b, n, size = 2, config.data.sample.max_objects, tuple(config.data.sample.size)
    array = lambda *shape, dtype=jnp.uint8: jax.ShapeDtypeStruct((b, *shape), dtype)
    batch = {"images": array(opened.frames, *size, 3), "labels": array(opened.frames, *size)}
    batch |= {"previous_labels": array(*size), "valid": array(n, dtype=jnp.bool_)}
    new, metrics = jax.eval_shape(functools.partial(train_step, function=function), state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics["loss"].total.shape == ()


def test_unknown_ablations_are_named():
    for argument in ("fast", "full:big", "no-video-finetuning", "no-static-pretraining:static"):
        with pytest.raises(InputError, match=argument):
            load_config(f"ranet_ablations:{argument}")


def _train(name, data_root, workdir, *changes):
    config = override(load_config(name), [f"--config.data.root={data_root}", *changes])
    return train(Options(config, workdir, smoke=True, given=given_fields(changes)))


@pytest.mark.parametrize(
    ("name", "changes", "licence"),
    [
        ("ranet_davis17", (), DAVIS_LICENCE),
        ("ranet_static", (), None),
        ("ranet_static", ("--config.initial_checkpoint=lite",), DAVIS_LICENCE),
        ("ranet_lite_davis16", ("--config.initial_checkpoint=lite",), DAVIS_LICENCE),
        ("ranet_static", (*PACKED, "--config.data.parts.msra10k.folder=packed/davis2016/1.0.0"), DAVIS_LICENCE),
        ("ranet_static", (*PACKED, "--config.data.parts.msra10k.folder=packed/msra10k/1.0.0"), None),
        ("ranet_static", ("--config.data.parts.msra10k.folder=beside-DAVIS",), None),
    ],
)
def test_weights_of_davis_or_of_what_was_trained_on_it_bear_its_licence(name, changes, licence):
    assert card_of(override(load_config(name), changes)).get("licence") == licence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranet_static:multi", "ranet_davis17", "ranet_lite_davis16"])
def test_the_real_recipe_shrunk_runs_to_its_end_and_leaves_a_usable_network(name, data_root, tmp_path, capsys):
    from ranet_jax.weights import load_checkpoint

    assert _train(name, data_root, tmp_path / "run") == 0
    assert "done: 6 steps" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    checkpoint = load_checkpoint(tmp_path / "run" / "inference")
    assert checkpoint.config.input_size == (64, 96)
    assert checkpoint.card["steps"] == 6
    assert json.loads((tmp_path / "run" / "config.json").read_text())["loop"]["steps"] == 6


def test_the_weights_of_a_training_are_scored_as_a_tracker(data_root, tmp_path):
    config = override(load_config("ranet_lite_davis16"), [f"--config.data.root={data_root}"])
    model = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6))
    scores = evaluate(model, TrackerConfig.lite(), config, tmp_path, initial_variables(model), 3)
    assert scores.keys() == {"J&F-Mean", "J-Mean", "F-Mean"}
    assert all(0 <= value <= 100 for value in scores.values())
    np.testing.assert_allclose(scores["J&F-Mean"], (scores["J-Mean"] + scores["F-Mean"]) / 2)
    config.evaluation.sequences = ("walk",)
    with pytest.raises(InputError, match=r"split 'val' of .* has no sequence walk"):
        evaluate(model, TrackerConfig.lite(), config, tmp_path, {}, 3)


def test_a_packed_part_gives_the_samples_of_its_folder(data_root, tmp_path):
    packed = pack(Ecssd, data_root / "ECSSD", tmp_path)
    first = []
    for kind, folder in (("ecssd", data_root / "ECSSD"), ("packed", packed)):
        sample = SampleConfig(size=(64, 96))
        data = data_fields(sample, images=part(kind, str(folder), "static_pair"))
        first.append(next(iter(open_mixture(data, crop="frame", batch_size=2, seed=0).batches.dataset)))
    assert first[0].keys() == first[1].keys()
    for name in first[0].keys() - {"name"}:
        np.testing.assert_array_equal(first[0][name], first[1][name])
    data.parts.images.without = ("0001",)
    with pytest.raises(InputError, match="packed is read whole"):
        open_mixture(data, crop="frame", batch_size=2, seed=0)


def test_wrong_values_are_found_before_anything_is_computed(data_root, tmp_path):
    for change, message in [
        ("data.parts.davis.kind=video", "data kind 'video' is unknown"),
        ("data.parts.davis.sample=pair", "choose one of static_pair"),
        ("data.parts.davis.folder=Davis", "is no DAVIS folder"),
        ("data.parts.davis.without=('run',)", "'run' is not a sequence"),
    ]:
        with pytest.raises(InputError, match=message):
            _train("ranet_lite_davis16", data_root, tmp_path / "run", f"--config.{change}")
    without = [f"--config.data.parts.{name}.weight=0.0" for name in ("davis", "longboard")]
    with pytest.raises(InputError, match="no part has a weight"):
        _train("ranet_lite_davis16", data_root, tmp_path / "run", *without)
    assert not (tmp_path / "run").exists()
