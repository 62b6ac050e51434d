"""Layers against hand-computed values and against plain definitions of the same thing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranet_jax.nn import (
    Bottleneck,
    Convolution,
    HeadConvolution,
    adaptive_average_pool,
    adaptive_max_pool,
    compute_dtype,
    depthwise_convolution,
    instance_norm,
    l2_normalise,
    max_pool_2x2,
    symmetric_product,
    upsample,
    window_sum,
)
from ranet_jax.ranet.ranking import select_maps


def array(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def reference_upsample(x, factor, align_corners):
    """Bilinear enlargement pixel by pixel, from the conventions' definitions."""
    b, h, w, c = x.shape
    out = np.zeros((b, h * factor, w * factor, c))

    def source(i, n):
        half_pixel = min(max((i + 0.5) / factor - 0.5, 0), n - 1)
        position = i * (n - 1) / (n * factor - 1) if align_corners else half_pixel
        low = int(position)
        return low, min(low + 1, n - 1), position - low

    for i in range(h * factor):
        for j in range(w * factor):
            (r0, r1, fr), (c0, c1, fc) = source(i, h), source(j, w)
            top = x[:, r0, c0] * (1 - fc) + x[:, r0, c1] * fc
            bottom = x[:, r1, c0] * (1 - fc) + x[:, r1, c1] * fc
            out[:, i, j] = top * (1 - fr) + bottom * fr
    return out


@pytest.mark.parametrize("shape", [(5, 7, 2), (2, 4, 3, 1)])
def test_window_sums_are_of_what_is_inside(rng, shape):
    x = rng.normal(size=shape).astype(np.float32)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    h, w, _ = shape[-3:]
    expected = sum(padded[..., i : i + h, j : j + w, :] for i in range(3) for j in range(3))
    np.testing.assert_allclose(window_sum(jnp.asarray(x), 3), expected, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(3, 5), (1, 4)])
def test_upsample_follows_its_convention(rng, size, factor, align_corners):
    x = array(rng, 2, *size, 3)
    expected = reference_upsample(np.asarray(x, np.float64), factor, align_corners)
    np.testing.assert_allclose(upsample(x, factor, align_corners=align_corners), expected, atol=1e-5)
    single = upsample(x[..., :1], factor, align_corners=align_corners)
    np.testing.assert_allclose(single, expected[..., :1], atol=1e-5)


def test_upsample_by_one_is_the_identity(rng):
    x = array(rng, 1, 3, 4, 2)
    assert upsample(x, 1) is x


@given(st.integers(1, 17), st.integers(1, 17))
@settings(max_examples=20, deadline=None)
def test_adaptive_pooling_covers_floor_to_ceil(size, cells):
    x = np.random.default_rng(size * 31 + cells).normal(size=(1, size, 3, 2)).astype(np.float32)
    spans = [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
    average = np.stack([x[:, start:stop].mean(1) for start, stop in spans], axis=1)
    maximum = np.stack([x[:, start:stop].max(1) for start, stop in spans], axis=1)
    # Few channels and many are not pooled in the same way.
    for times in (1, 8):
        pooled = adaptive_average_pool(jnp.tile(jnp.asarray(x), times), (cells, 3))
        np.testing.assert_allclose(pooled, np.tile(average, times), atol=1e-5)
    np.testing.assert_array_equal(adaptive_max_pool(jnp.asarray(x), (cells, 3)), maximum)


def test_max_pool_halves_and_drops_an_odd_row(rng):
    x = array(rng, 1, 5, 4, 2)
    expected = np.asarray(x)[:, :4].reshape(1, 2, 2, 2, 2, 2).max((2, 4))
    np.testing.assert_array_equal(max_pool_2x2(x), expected)


def test_instance_norm_has_mean_0_and_biased_variance_1(rng):
    x = 3 * array(rng, 2, 6, 7, 4) + 5
    y = np.asarray(instance_norm(x))
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((1, 2)), 1, atol=1e-4)
    assert instance_norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_instance_norm_of_a_constant_channel_is_zero():
    np.testing.assert_array_equal(instance_norm(jnp.full((1, 3, 3, 1), 7.0)), 0)


def test_l2_normalise_is_float32_and_finite_at_zero():
    x = jnp.asarray([[[[3.0, 4.0]], [[0.0, 0.0]]]])
    np.testing.assert_allclose(l2_normalise(x)[0, :, 0], [[0.6, 0.8], [0, 0]], atol=1e-6)
    assert l2_normalise(x.astype(jnp.bfloat16)).dtype == jnp.float32
    gradient = jax.grad(lambda x: jnp.sum(l2_normalise(x)))(x)
    assert np.isfinite(np.asarray(gradient)).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
def test_depthwise_shifts_equal_the_grouped_convolution(rng, size, kernel_size, stride):
    x, kernel = array(rng, 2, *size, 6), array(rng, kernel_size, kernel_size, 6)
    expected = jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=6,
    )
    np.testing.assert_allclose(depthwise_convolution(x, kernel, stride), expected, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_convolution_of_shared_and_own_inputs_is_that_of_their_concatenation(rng, kernel_size):
    """Two images, three objects each."""
    shared, own = array(rng, 2, 4, 5, 3), array(rng, 6, 4, 5, 2)
    together = jnp.concatenate([jnp.repeat(shared, 3, axis=0), own], axis=-1)
    for module in (Convolution(7, kernel_size), HeadConvolution(7, kernel_size)):
        variables = module.init(jax.random.key(0), together)
        np.testing.assert_allclose(module.apply(variables, own, shared), module.apply(variables, together), atol=1e-5)


def test_convolution_pads_symmetrically_where_the_stride_is_2():
    """TensorFlow's "SAME" would pad an even input below and to the right only."""
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    module = Convolution(1, 3, stride=2, use_bias=False)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    y = module.apply({"params": {"kernel": kernel}}, x)
    assert y.shape == (1, 2, 2, 1)
    assert float(y[0, 0, 0, 0]) == 4.0


def test_bottleneck_keeps_channels_and_computes_in_its_dtype(rng):
    x = array(rng, 1, 6, 6, 8)
    module = Bottleneck(4, dilation=2, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), x)
    y = module.apply(variables, x)
    assert y.shape == x.shape
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_select_maps_is_a_weighted_gather(rng):
    maps, weight = array(rng, 2, 3, 4, 10), array(rng, 2, 3, 5)
    order = jnp.asarray(rng.integers(0, 10, (2, 3, 5)), jnp.int32)
    picked = np.stack([np.stack([np.asarray(maps)[b][..., order[b, n]] for n in range(3)]) for b in range(2)])
    np.testing.assert_array_equal(select_maps(maps, order, weight), picked * np.asarray(weight)[:, :, None, None])


def test_compute_dtype():
    assert compute_dtype("auto") == jnp.float32, "this test runs on a CPU"
    assert compute_dtype("bfloat16") == jnp.bfloat16


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_convolution_to_one_channel_is_the_first_of_one_to_two(rng, kernel_size, dilation):
    from ranet_jax.nn.cpu import convolve

    x, kernel = array(rng, 2, 9, 7, 6), array(rng, kernel_size, kernel_size, 6, 2)
    together = convolve(x, kernel, 1, dilation)
    np.testing.assert_allclose(convolve(x, kernel[..., :1], 1, dilation), together[..., :1], atol=1e-5)
    assert convolve(x.astype(jnp.bfloat16), kernel[..., :1].astype(jnp.bfloat16), 1, dilation).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "features"),
    [(3, 1, 1, 4), (3, 2, 1, 4), (3, 1, 3, 4), (7, 2, 1, 4), (3, 1, 2, 1)],
)
def test_a_convolution_s_written_gradient_is_the_derived_one(rng, kernel_size, stride, dilation, features):
    """On even and odd sizes: a stride then leaves rows of the input out."""
    from ranet_jax.nn.cpu import _convolution, convolve

    kernel = jnp.asarray(rng.normal(size=(kernel_size, kernel_size, 3, features)), jnp.float32)
    for size in ((12, 14), (11, 13)):
        x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
        gradient = lambda f, x=x: jax.jit(
            jax.grad(lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel, stride, dilation))), (0, 1))
        )(x, kernel)
        for written, derived in zip(gradient(convolve), gradient(_convolution), strict=True):
            np.testing.assert_allclose(written, derived, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_an_odd_number_of_channels_is_the_direct_one(rng, stride):
    from ranet_jax.nn.cpu import _convolution, convolve

    x, kernel = array(rng, 2, 5, 6, 7), array(rng, 3, 3, 7, 2)
    np.testing.assert_allclose(convolve(x, kernel, stride, 1), _convolution(x, kernel, stride, 1), atol=1e-5)


def test_a_symmetric_product_is_all_of_it(rng):
    x, weight = array(rng, 2, 3, 20, 13), array(rng, 2, 3, 20, 1)
    expected = np.einsum("bvpc,bvpd->bcd", *(np.asarray(a, np.float64) for a in (x * weight, x)))
    np.testing.assert_allclose(symmetric_product(x * weight, x), expected, atol=1e-4)


def test_efficientnet_s_stem_pads_as_tensorflow_does(rng):
    from ranet_jax.backbones.efficientnet import stem_convolution

    x, kernel = array(rng, 2, 6, 10, 3), array(rng, 3, 3, 3, 4)
    numbers = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)
    np.testing.assert_allclose(stem_convolution(x, kernel, jnp.float32), expected, atol=1e-5)
