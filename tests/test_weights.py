"""Checkpoint folders: what is written comes back, and damage is named in one line."""

import dataclasses
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ranet_jax import weights
from ranet_jax.backbones.efficientnet import STAGES, InvertedResidual
from ranet_jax.errors import InputError
from ranet_jax.io.digests import digests
from ranet_jax.io.tensors import read_metadata, write_tensors
from ranet_jax.networks import MRNetConfig, RANetConfig
from ranet_jax.tracker import AspectBox, Presence, ReleasedBox, Target, Tracker, TrackerConfig, WholeFrame
from ranet_jax.upgrade import upgraded
from ranet_jax.weights import (
    DEFAULTS,
    EMBEDDED,
    embedded_names,
    initial_variables,
    load_checkpoint,
    open_checkpoint,
    read_card,
    save_checkpoint,
)

CONFIG = RANetConfig.lite(backbone="resnet_micro", input_size=(64, 96), template_grid=(4, 6), kept_maps=16)

HOW = TrackerConfig.lite()


@pytest.fixture(scope="module")
def variables():
    return initial_variables(CONFIG)


def test_what_is_saved_comes_back_with_its_config(tmp_path, variables):
    how = dataclasses.replace(HOW, window=AspectBox(scale=1.75), target=Target(rivals=0.5), presence=Presence(cell=8))
    save_checkpoint(tmp_path / "a" / "net", CONFIG, how, variables, card={"steps": 3})
    checkpoint = load_checkpoint(tmp_path / "a" / "net")
    assert checkpoint.config == CONFIG
    assert checkpoint.tracker == how
    assert checkpoint.tracker_for((48, 80)) == Tracker(CONFIG, how, (48, 80))
    assert json.loads((tmp_path / "a" / "net" / "config.json").read_text())["format"] == 3
    assert checkpoint.card == {"steps": 3}
    jax.tree.map(np.testing.assert_array_equal, checkpoint.variables, variables)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert str(tmp_path).encode() not in written, "a checkpoint should not tell where it was made"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["net"], "temporary files were left behind"


def test_bfloat16_halves_the_file_and_loads_as_float32(tmp_path, variables):
    save_checkpoint(tmp_path / "net", CONFIG, HOW, variables, dtype=ml_dtypes.bfloat16)
    loaded = load_checkpoint(tmp_path / "net").variables
    rounded = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), variables)
    jax.tree.map(np.testing.assert_array_equal, loaded, rounded)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}


def test_a_checkpoint_is_replaced_but_another_folder_is_not(tmp_path, variables):
    save_checkpoint(tmp_path / "net", CONFIG, HOW, variables, card={"version": 1})
    save_checkpoint(tmp_path / "net", CONFIG, HOW, variables, card={"version": 2})
    assert load_checkpoint(tmp_path / "net").card == {"version": 2}
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="exists and is not a checkpoint"):
        save_checkpoint(tmp_path / "photos", CONFIG, HOW, variables)


def test_a_checkpoint_can_be_one_file(tmp_path, variables):
    path = tmp_path / "net.safetensors"
    how = dataclasses.replace(HOW, window=AspectBox(scale=1.75))
    transposed = jax.tree.map(lambda x: np.asfortranarray(x), variables)
    save_checkpoint(path, CONFIG, how, transposed, card={"licence": "CC BY 4.0"})
    checkpoint = load_checkpoint(path)
    assert (checkpoint.config, checkpoint.tracker) == (CONFIG, how)
    assert read_card(path) == checkpoint.card == {"licence": "CC BY 4.0"}
    jax.tree.map(np.testing.assert_array_equal, checkpoint.variables, variables)
    metadata = read_metadata(path)
    assert json.loads(metadata["ranet_jax.config"])["kept_maps"] == 16
    assert json.loads(metadata["ranet_jax.tracker"]) == json.loads(json.dumps(how.to_dict()))
    whole = path.read_bytes()
    save_checkpoint(path, CONFIG, how, variables, card={"licence": "CC BY 4.0"})
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    with pytest.raises(InputError, match=r"net.safetensors: the checkpoint is damaged \(its arrays were changed\)"):
        load_checkpoint(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"net.safetensors: damaged, cut off"):
        load_checkpoint(path)
    write_tensors(path, {"a": np.zeros(3, np.float32)}, {"format": "pt"})
    with pytest.raises(InputError, match="without a configuration of ranet-jax"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="exists and is not a checkpoint, so it is kept"):
        save_checkpoint(path, CONFIG, how, variables)


@pytest.fixture
def saved(tmp_path, variables):
    save_checkpoint(tmp_path / "net", CONFIG, HOW, variables)
    return tmp_path / "net"


def test_a_truncated_checkpoint_is_named(saved):
    largest = max(saved.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged or cut off") as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


def test_missing_arrays_are_named(saved):
    shutil.rmtree(saved / "arrays")
    with pytest.raises(InputError, match="damaged or cut off"):
        load_checkpoint(saved)


def edit_config(folder, part="config", **changes):
    description = json.loads((folder / "config.json").read_text())
    description[part] |= changes
    del description["digest"]
    (folder / "config.json").write_text(json.dumps(description))


def test_a_config_that_was_changed_by_chance_is_not_believed(saved):
    """What else would tell 0.5 from 0.4: the arrays have digests, and a card no meaning here."""
    file = saved / "config.json"
    text = file.read_text()
    assert '"likeness": 0.5' in text
    file.write_text(text.replace('"likeness": 0.5', '"likeness": 0.4'))
    with pytest.raises(InputError, match=r'config\.json: damaged, or changed .* "digest" if the change is meant'):
        load_checkpoint(saved)
    with pytest.raises(InputError, match="damaged, or changed"):
        read_card(saved)
    edit_config(saved, "tracker", feedback="labels")
    assert load_checkpoint(saved).tracker.presence.likeness == 0.4, "without a digest it is meant"


def test_a_misspelt_config_field_is_named(saved):
    edit_config(saved, kept_map=3)
    with pytest.raises(InputError, match="no field kept_map:"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"targets": None}, "tracker has no field targets"),
        ({"target": {"rigde": 0.3}}, "tracker.target has no field rigde"),
        ({"window": {"kind": "Porthole"}}, "tracker field window.kind is 'Porthole': choose one of WholeFrame"),
        ({"feedback": "shouts"}, "tracker field feedback is 'shouts': choose one of 'labels', 'probabilities'"),
        ({"target": None}, "the network reads 1 hint.* set tracker.target"),
    ],
)
def test_a_tracker_that_is_none_or_does_not_fit_the_network_is_named(saved, changes, named):
    edit_config(saved, "tracker", **changes)
    with pytest.raises(InputError, match=named) as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


def test_an_unknown_format_is_named(saved):
    description = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(description | {"format": 4}))
    with pytest.raises(InputError, match="format 4 is not known here; update ranet-jax"):
        load_checkpoint(saved)


OLD_RANET = {
    **{name: value for name, value in RANetConfig().to_dict().items() if name not in ("hints", "score_scale")},
    **{"target_model": False, "target_update": False, "crop": "clip", "crop_scale": 1.5},
    **{"parts": "all", "merging": "maximum"},
}
OLD_MRNET = {
    **{name: value for name, value in MRNetConfig().to_dict().items() if name not in ("hints", "present")},
    **{"parts": "all", "merging": "softmax"},
}
LEARNING = {"target_model": True, "target_update": True}
OF_LITE = LEARNING | {"crop": "pad", "crop_scale": 1.6, "parts": "connected"}


@pytest.mark.parametrize(
    ("model", "changes", "tracker", "hints"),
    [
        # As `ranet-jax convert` wrote it.
        (None, {}, TrackerConfig(), 0),
        ("ranet", {}, TrackerConfig(), 0),
        ("ranet", OF_LITE, TrackerConfig.lite(), 1),
        ("ranet", {"target_model": True}, TrackerConfig(target=Target(update=False)), 1),
        ("ranet", {"crop_scale": 1.25, "merging": "softmax"}, TrackerConfig(ReleasedBox(1.25), aggregation="soft"), 0),
        ("ranet", {"crop": "pad"}, TrackerConfig(AspectBox(scale=1.5)), 0),
        ("mrnet", {}, TrackerConfig.mrnet(), 0),
        ("mrnet", {"parts": "connected"}, dataclasses.replace(TrackerConfig.mrnet(), presence=Presence()), 0),
        ("mrnet", {"merging": "maximum"}, TrackerConfig(WholeFrame(), feedback="probabilities"), 0),
    ],
)
def test_descriptions_of_format_1_become_what_they_meant(model, changes, tracker, hints):
    config = RANetConfig() if model in (None, "ranet") else MRNetConfig()
    old = {"format": 1, "model": model, "card": {"steps": 3}, "files": {"a": "b"}, "fits": "digest"}
    old["config"] = (OLD_MRNET if model == "mrnet" else OLD_RANET) | changes
    if model is None:
        del old["model"]
    before = json.dumps(old)
    new = upgraded(old)
    assert json.dumps(old) == before, "what is given stays as it is"
    assert (new["format"], new["model"], new["card"], new["files"]) == (2, config.NETWORK, old["card"], old["files"])
    assert TrackerConfig.from_dict(json.loads(json.dumps(new["tracker"]))) == tracker
    assert type(config).from_dict(new["config"]) == dataclasses.replace(config, hints=hints)
    assert new["fits"] is None, "the digest was of other fields"


def with_orbax_arrays(folder, variables, stored_format):
    """Makes a checkpoint one of an older format, whose arrays Orbax wrote, in half precision."""
    shutil.rmtree(folder / "arrays")
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((folder / "arrays").absolute(), jax.tree.map(lambda x: x.astype(np.float16), variables))
    description = json.loads((folder / "config.json").read_text())
    del description["digest"]
    changes = {"format": stored_format, "files": digests(folder / "arrays")}
    (folder / "config.json").write_text(json.dumps(description | changes))


def test_folders_of_older_formats_open(saved, variables):
    """Format 2, and 1 as it tracked; one whose config does not fit its arrays is still named."""
    with_orbax_arrays(saved, variables, 2)
    variables = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), variables)
    checkpoint = load_checkpoint(saved)
    assert (checkpoint.config, checkpoint.tracker) == (CONFIG, HOW)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.variables, variables)
    description = json.loads((saved / "config.json").read_text())
    values = {name: value for name, value in description["config"].items() if name not in ("hints", "score_scale")}
    old = {name: description[name] for name in ("card", "files")} | {"format": 1, "fits": "digest"}
    (saved / "config.json").write_text(json.dumps(old | {"config": OLD_RANET | values | OF_LITE}))
    checkpoint = load_checkpoint(saved)
    assert (checkpoint.config, checkpoint.tracker) == (CONFIG, HOW)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.variables, variables)
    without = {"target_model": False, "target_update": False}
    (saved / "config.json").write_text(json.dumps(old | {"config": OLD_RANET | values | OF_LITE | without}))
    with pytest.raises(InputError, match="does not fit the arrays"):
        load_checkpoint(saved)


def test_a_config_that_does_not_fit_the_arrays_is_named(saved):
    edit_config(saved, matching_features=7)
    with pytest.raises(InputError, match="does not fit the arrays"):
        load_checkpoint(saved)


def test_arrays_are_compared_with_the_config_once(saved, variables, monkeypatch):
    """Tracing a network to know its shapes is most of the time that opening a checkpoint takes."""
    monkeypatch.setattr(weights, "expected_variables", lambda config: pytest.fail("compared again"))
    assert load_checkpoint(saved).config == CONFIG
    monkeypatch.undo()
    parameters = {name: values for name, values in variables["params"].items() if name != "ranking"}
    save_checkpoint(saved, CONFIG, HOW, {**variables, "params": parameters})
    with pytest.raises(InputError, match=r"does not fit the arrays.*'ranking'"):
        load_checkpoint(saved)


def test_what_is_no_checkpoint_is_said(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent")
    with pytest.raises(InputError, match="not a checkpoint folder"):
        load_checkpoint(tmp_path)
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(InputError, match="ranet-jax convert"):
        load_checkpoint(tmp_path / "net.pth")


def test_config_survives_json():
    for config in (RANetConfig(), RANetConfig(objects="multi", dtype="float32"), RANetConfig.lite()):
        assert RANetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ranking": "rum"}, "ranking is 'rum'"),
        ({"input_size": (480, 854)}, "480x854"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"hints": -1}, "hints is -1"),
    ],
)
def test_wrong_config_values_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        dataclasses.replace(RANetConfig(), **changes)


def test_initial_variables_have_the_spread_of_the_modules_initializers(variables):
    """He et al.'s, for a full and for a depthwise kernel; norms start as the identity."""
    lite = initial_variables(RANetConfig.lite())
    head = lite["params"]["matching_head"]["head_all"]["convolution"]["kernel"]
    block = InvertedResidual(STAGES[5], 1, jnp.float32)
    drawn = block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 192)))["params"]
    own = lite["params"]["backbone"]["stage5_block1"]
    pairs = [
        (head, nn.initializers.he_normal()(jax.random.key(0), head.shape, jnp.float32)),
        (own["depthwise"], drawn["depthwise"]),
        (own["expand"]["kernel"], drawn["expand"]["kernel"]),
    ]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert float(np.std(ours)) == pytest.approx(float(np.std(theirs)), rel=0.05)
    norm = variables["params"]["backbone"]["stem_norm"]
    assert (norm["scale"] == 1).all()
    assert (norm["bias"] == 0).all()
    assert (variables["batch_stats"]["backbone"]["stem_norm"]["variance"] == 1).all()


def test_the_small_mrnet_comes_with_the_package():
    checkpoint = open_checkpoint(None, "mrnet")
    assert checkpoint.name == DEFAULTS["mrnet"]
    assert checkpoint.config == MRNetConfig.lite()
    assert checkpoint.tracker == dataclasses.replace(TrackerConfig.mrnet(), presence=Presence())


def test_the_default_comes_with_the_package_and_says_what_it_is():
    assert DEFAULTS["ranet"] in embedded_names()
    checkpoint = open_checkpoint(None, None)
    assert (checkpoint.config, checkpoint.tracker) == (RANetConfig.lite(), TrackerConfig.lite())
    assert {"data", "licence", "steps", "commit", "hardware", "results"} <= checkpoint.card.keys()
    assert "CC BY-NC 4.0" in checkpoint.card["licence"]
    size = sum(path.stat().st_size for path in (EMBEDDED / checkpoint.name).rglob("*") if path.is_file())
    assert size <= 25e6
