"""Which device is used, and one line where there is none."""

import jax
import jax.numpy as jnp
import pytest

from ranet_jax.devices import use_device
from ranet_jax.errors import InputError


@pytest.fixture(autouse=True)
def _as_before():
    platforms = jax.config.jax_platforms
    yield
    jax.config.update("jax_default_device", None)
    jax.config.update("jax_platforms", platforms)


def test_what_is_computed_is_on_the_device():
    assert use_device() == jax.devices()[0]
    assert use_device("cpu:2") == jax.devices()[2]
    assert jnp.zeros(2).devices() == jax.device_put(1.0).devices() == {jax.devices()[2]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vulkan", "give one of cpu, gpu, cuda, rocm, tpu, perhaps with a number, such as gpu:1"),
        ("cpu:one", "perhaps with a number"),
        ("cpu:", "perhaps with a number"),
        ("cpu:4", "--device cpu:4: there are 4, from cpu:0: give one of them"),
        ("tpu", "JAX can use no tpu device here \\(.*\\): give --device cpu, or set JAX_PLATFORMS=cpu"),
    ],
)
def test_devices_that_are_not_there(name, message):
    platforms = jax.config.jax_platforms
    with pytest.raises(InputError, match=message):
        use_device(name)
    assert jax.config.jax_platforms == platforms


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("Unable to initialize backend 'cuda': no GPU.\nmore"),
            "Unable to initialize backend 'cuda': no GPU",
        ),
        (AssertionError(), "its backend is not installed"),
    ],
)
def test_no_usable_backend_is_said(monkeypatch, error, reason):
    def fail(platform=None):
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(InputError) as caught:
        use_device()
    assert str(caught.value) == f"JAX can use no device here ({reason}): give --device cpu, or set JAX_PLATFORMS=cpu"
