"""The recipes' training steps are programs for accelerators, too, as far as that shows without one."""

import functools
import re

import jax
import pytest

from eval.benchmarks.training_step import expected_state, noise
from ranet_jax.training.options import load_config
from ranet_jax.training.recipe import open_step
from ranet_jax.training.step import train_step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranet_davis16", "ranet_lite_davis16", "mrnet_davis16", "mrnet_lite_davis16"])
def test_a_training_step_lowers_at_full_size(name):
    config = load_config(name)
    config.model.dtype = "bfloat16"
    opened = open_step(config)
    step = jax.jit(functools.partial(train_step, function=opened.function))
    traced = step.trace(expected_state(opened), noise(opened, 2))
    text = traced.lower(lowering_platforms=("cuda", "tpu")).as_text()
    results = re.findall(r"stablehlo\.convolution\(.*-> tensor<(?:\d+x)*(\w+)>", text)
    assert set(results) == {"bf16"}, "a convolution that is not in the compute dtype"
    assert "custom_call" not in text, "a kernel that one platform alone has"
    assert "f64" not in text
