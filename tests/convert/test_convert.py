"""Conversion both ways, and one error that names everything wrong with a state dict."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ranet_jax.backbones import backbone, normalise
from ranet_jax.convert import backbone_from_torch, ranet_from_torch, ranet_to_torch
from ranet_jax.convert.torch_backbones import efficientnet_entries, resnet_entries
from ranet_jax.convert.torch_ranet import unused_entries
from ranet_jax.errors import InputError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def stored():
    """A released state dict's names and shapes, cheaply filled: every entry its own constant, one corner marked."""
    shapes = json.loads((GOLDEN / "ranet_state_dict.json").read_text())
    filled = {}
    for i, (name, shape) in enumerate(shapes.items()):
        filled[name] = np.full(shape, i, np.float32)
        filled[name].reshape(-1)[-1] = -i
    return filled


def test_released_entries_survive_the_round_trip(stored):
    variables = ranet_from_torch(stored)
    back = ranet_to_torch(variables)
    assert back.keys() == stored.keys()
    unused = unused_entries(stored)
    assert len(unused) == 12
    assert {name.split(".")[0] for name in unused} == {"p_1b", "res_1b", "p_2b", "rank_A"}
    for name, value in stored.items():
        assert back[name].shape == value.shape
        np.testing.assert_array_equal(back[name], 0 if name in unused else value)


def test_unused_entries_may_be_absent(stored):
    used = {name: value for name, value in stored.items() if name not in unused_entries(stored)}
    assert len(used) == 384
    ranet_from_torch(used)


def test_everything_wrong_is_named_in_one_error(stored):
    broken = dict(stored)
    del broken["L3.2.bias"]
    broken["L9.weight"] = np.zeros(3, np.float32)
    broken["R3.5.bias"] = np.zeros(2, np.float32)
    with pytest.raises(InputError) as caught:
        ranet_from_torch(broken)
    message = str(caught.value)
    assert "missing: L3.2.bias" in message
    assert "unexpected: L9.weight" in message
    assert "misshapen: R3.5.bias (2,) instead of (1,)" in message
    assert "\n" not in message


def torchvision_like(sizes, rng):
    """A ResNet state dict in torchvision's naming, classifier and counters included."""
    module = backbone("resnet50", norm="batch")
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    stored = {}
    for name, path, layout in resnet_entries(sizes, prefix="", path=(), statistics=True):
        leaf = shapes
        for key in path:
            leaf = leaf[key]
        shape = leaf.shape if layout == "vector" else (leaf.shape[3], leaf.shape[2], *leaf.shape[:2])
        value = rng.normal(size=shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))
        stored[name] = (1 + 0.1 * np.abs(value) if layout == "vector" else value).astype(np.float32)
    for bn in [name.removesuffix(".running_mean") for name in stored if name.endswith("running_mean")]:
        stored[f"{bn}.num_batches_tracked"] = np.array(3)
    return stored | {"fc.weight": np.zeros((1000, 2048)), "fc.bias": np.zeros(1000)}


def test_torchvision_batch_norm_becomes_instance_norm_or_stays_frozen(rng):
    stored = torchvision_like((3, 4, 6, 3), rng)
    instance = backbone_from_torch(stored, "resnet50")
    assert set(instance) == {"params"}
    np.testing.assert_array_equal(instance["params"]["stage2_block1"]["norm3"]["scale"], stored["layer2.1.bn3.weight"])
    batch = backbone_from_torch(stored, "resnet50", norm="batch")
    statistics = batch["batch_stats"]["stage4_block0"]["shortcut_norm"]
    np.testing.assert_array_equal(statistics["variance"], stored["layer4.0.downsample.1.running_var"])
    with pytest.raises(InputError, match=r"unexpected: layer3\.6"):
        backbone_from_torch(stored | {"layer3.6.conv1.weight": np.zeros((256, 1024, 1, 1))}, "resnet50")


def residual_block(x, stored, prefix, stride):
    """A bottleneck as torchvision defines it, in NumPy: the reference for layout, padding and norm.

    Args:
        x: (1, channels, height, width).
        stored: the state dict.
        prefix: of the block's names.
        stride: of its second convolution and its shortcut.
    """

    def convolve(x, name, stride=1, padding=0):
        kernel = stored[f"{prefix}.{name}.weight"]
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        return np.einsum("bcijhw,ochw->boij", windows, kernel, optimize=True)

    def norm(x, name):
        scale, bias, mean, variance = (
            stored[f"{prefix}.{name}.{entry}"][:, None, None]
            for entry in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias

    y = np.maximum(norm(convolve(x, "conv1"), "bn1"), 0)
    y = np.maximum(norm(convolve(y, "conv2", stride, 1), "bn2"), 0)
    y = norm(convolve(y, "conv3"), "bn3")
    return np.maximum(y + norm(convolve(x, "downsample.0", stride), "downsample.1"), 0)


def test_frozen_batch_norm_resnet_block_equals_its_definition(rng):
    from ranet_jax.backbones.resnet import ResidualBlock

    stored = torchvision_like((3, 4, 6, 3), rng)
    variables = backbone_from_torch(stored, "resnet50", norm="batch")
    own = jax.device_put({collection: values["stage2_block0"] for collection, values in variables.items()})
    x = rng.normal(size=(1, 256, 8, 10)).astype(np.float32)
    expected = residual_block(x, stored, "layer2.0", 2)
    block = ResidualBlock(128, 2, True, "batch", jnp.float32)
    found = np.asarray(block.apply(own, jnp.asarray(x.transpose(0, 2, 3, 1))))
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-4)


def test_efficientnet_table_covers_the_published_file():
    """Of its 296 entries, those of 48 convolutions and norms are read: all but counters and classifier."""
    names = {entry.name for entry in efficientnet_entries()}
    assert len(names) == 48 + 48 * 4
    assert {"_conv_stem.weight", "_blocks.15._project_conv.weight", "_blocks.0._bn2.running_var"} <= names


def test_normalisations():
    image = jnp.full((1, 2, 2, 3), 255, jnp.uint8)
    np.testing.assert_allclose(normalise(image, "efficientnet_lite0"), 1.0)
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(normalise(image, "resnet101")[0, 0, 0], expected, rtol=1e-5)


def test_backbones_without_published_weights_are_refused():
    with pytest.raises(InputError, match="no ImageNet weights are known"):
        backbone_from_torch({}, "resnet_micro")
    with pytest.raises(InputError, match="no backbone is called 'vgg'"):
        backbone_from_torch({}, "vgg")
