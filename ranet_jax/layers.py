"""The pieces both networks are made of: norms, convolutions, both bilinear conventions, pooling, l2 normalisation.

Every function takes and returns NHWC arrays. Statistics and norms are computed in float32 whatever the compute dtype,
and come back in the dtype of their input.
"""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ranet_jax.convolution import convolve

INSTANCE_NORM_EPSILON = 1e-5
L2_EPSILON = 1e-12
AGGREGATION_FLOOR = 1e-7
AGGREGATION_LIMIT = 1e4


def compute_dtype(name: str) -> jnp.dtype:
    """The dtype activations are computed in.

    Args:
        name: "float32", "bfloat16", or "auto": bfloat16 on an accelerator, float32 on a CPU.

    Returns:
        The dtype; "auto" is resolved against JAX's default backend, so once per process.
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)


def instance_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each image's channels brought to mean 0 and variance 1 over space (biased variance, epsilon 1e-5)."""
    x32 = x.astype(jnp.float32)
    mean, variance = _moments(x32)
    return ((x32 - mean) * jax.lax.rsqrt(variance + INSTANCE_NORM_EPSILON)).astype(x.dtype)


def _moments(x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b 1 1 c"], Float[Array, "b 1 1 c"]]:
    """Mean and biased variance of every channel over space, the deviations taken from the mean (two passes).

    Where the rows can be halved, each half is summed by itself: on a CPU, XLA gives one sum to one core.
    """
    b, h, w, c = x.shape
    halves = x.reshape(b, 2, h // 2, w, c) if h % 2 == 0 else x[:, None]
    average = lambda values: jnp.sum(jnp.sum(values, axis=(2, 3)), axis=1).reshape(b, 1, 1, c) / (h * w)
    mean = average(halves)
    return mean, average(jnp.square(halves - mean[:, None]))


def parameter(module: nn.Module, name: str, initializer: Any, shape: tuple[int, ...]) -> jax.Array:
    """A float32 parameter of a module: Flax's `param`, but quick to trace where the parameter exists.

    Flax finds the shape that a parameter should have by tracing its initializer: a third of the time of tracing a step,
    and so of a command's start when its program is compiled already.

    Raises:
        flax.errors.ScopeParamShapeError: the stored parameter has another shape.
    """
    if not module.has_variable("params", name):
        return module.param(name, initializer, shape, jnp.float32)
    stored: jax.Array = module.get_variable("params", name)
    if stored.shape != shape:
        raise flax.errors.ScopeParamShapeError(name, "/".join(module.path), stored.shape, shape)
    return stored


class InstanceNorm(nn.Module):
    """Instance norm with a learned float32 `scale` and `bias` per channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises every image of the batch by itself."""
        c = x.shape[-1]
        scale = parameter(self, "scale", nn.initializers.ones, (c,))
        bias = parameter(self, "bias", nn.initializers.zeros, (c,))
        x32 = x.astype(jnp.float32)
        mean, variance = _moments(x32)
        # Scale and offset are joined first: one multiply-add per element of the feature map.
        multiplier = jax.lax.rsqrt(variance + INSTANCE_NORM_EPSILON) * scale[None, None, None]
        return (x32 * multiplier + (bias[None, None, None] - mean * multiplier)).astype(x.dtype)


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics never change: `mean` and `variance` live in the collection `batch_stats`."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the stored statistics with the learned scale and bias."""
        c = x.shape[-1]
        scale = parameter(self, "scale", nn.initializers.ones, (c,))
        bias = parameter(self, "bias", nn.initializers.zeros, (c,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,), jnp.float32).value
        variance = self.variable("batch_stats", "variance", jnp.ones, (c,), jnp.float32).value
        multiplier = jax.lax.rsqrt(variance + self.epsilon) * scale
        offset = bias - mean * multiplier
        return x * multiplier.astype(x.dtype)[None, None, None] + offset.astype(x.dtype)[None, None, None]


class Convolution(nn.Module):
    """k x k convolution with explicit symmetric padding `dilation * (k - 1) // 2`, also where the stride is 2.

    A convolution over `concat[shared, x]` can be given its two inputs apart: `shared` then has batch b, x has batch
    b * n, and the shared half is computed once for all n objects of an image. The parameters are those of the
    convolution over the concatenation.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.he_normal()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], shared: Float[Array, "s h w d"] | None = None
    ) -> Float[Array, "b hout wout features"]:
        """Convolves x, or concat[shared, x] along channels."""
        if shared is not None and shared.shape[0] == x.shape[0]:
            # Nothing is shared where an image has one object: one convolution is faster than two and a sum.
            x, shared = jnp.concatenate([shared.astype(self.dtype), x.astype(self.dtype)], axis=-1), None
        shared_channels = 0 if shared is None else shared.shape[-1]
        shape = (self.kernel_size, self.kernel_size, shared_channels + x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape).astype(self.dtype)
        y = self._convolve(x, kernel[:, :, shared_channels:])
        if shared is not None:
            common = self._convolve(shared, kernel[:, :, :shared_channels])
            y = y + jnp.repeat(common, x.shape[0] // shared.shape[0], axis=0)
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype)[None, None, None]
        return y

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.kernel_size == 1:
            # A matrix product is up to twice as fast as XLA's convolution on a CPU, and as fast elsewhere.
            strided = x[:, :: self.stride, :: self.stride].astype(self.dtype)
            return jnp.einsum("bhwc,cd->bhwd", strided, kernel[0, 0])
        return convolve(x.astype(self.dtype), kernel, self.stride, self.dilation)


class HeadConvolution(nn.Module):
    """Instance norm without parameters, ReLU, k x k convolution with bias: the network's `head(k, out)`."""

    features: int
    kernel_size: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], shared: Float[Array, "s h w d"] | None = None
    ) -> Float[Array, "b h w features"]:
        """Instance norm works per channel, so x and `shared` (see `Convolution`) are normalised apart."""
        activate = lambda z: nn.relu(instance_norm(z.astype(self.dtype)))
        convolution = Convolution(self.features, self.kernel_size, dtype=self.dtype, name="convolution")
        return convolution(activate(x), None if shared is None else activate(shared))


def residual_relu(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`relu(x + y)`, to the last bit, in a form that XLA computes once.

    XLA fuses operations into their readers, and copies those of one large operand into each: a ReLU, and with it the
    addition before it. In a chain of residual blocks every block would add up all blocks before it anew. What ends in
    an operation of two large operands is stored instead.
    """
    return jnp.maximum(x, -y) + y


class Bottleneck(nn.Module):
    """1x1, 3x3 (dilated), 1x1 convolutions with parameter-free instance norm, added to the input, ReLU; no biases."""

    planes: int
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """`bottleneck(c, planes, dilation)`; c is the input's channel count."""
        x = x.astype(self.dtype)
        conv = lambda features, size, dilation, name: Convolution(
            features, size, dilation=dilation, use_bias=False, dtype=self.dtype, name=name
        )
        y = nn.relu(instance_norm(conv(self.planes, 1, 1, "convolution1")(x)))
        y = nn.relu(instance_norm(conv(self.planes, 3, self.dilation, "convolution2")(y)))
        y = instance_norm(conv(x.shape[-1], 1, 1, "convolution3")(y))
        return residual_relu(x, y)


@functools.partial(jax.jit, static_argnames="stride")
def depthwise_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c"], stride: int
) -> Float[Array, "b hout wout c"]:
    """Depthwise k x k convolution with TensorFlow's "SAME" padding.

    XLA's grouped convolution is many times slower on a CPU than k * k shifted multiply-adds, and faster on
    accelerators; which one runs is decided here, when the program is lowered for its platform, and nowhere else.
    Compiled for itself only so that equal blocks are traced once: it is 30 operations, and 16 of the encoder's.

    Args:
        x: the input.
        kernel: one k x k filter for each channel.
        stride: 1 or 2.

    Returns:
        The filtered input, ceil(h / stride) by ceil(w / stride).
    """
    k, _, c = kernel.shape
    b, h, w, _ = x.shape
    out_h, out_w = -(-h // stride), -(-w // stride)
    total_h, total_w = max((out_h - 1) * stride + k - h, 0), max((out_w - 1) * stride + k - w, 0)
    padding = ((total_h // 2, total_h - total_h // 2), (total_w // 2, total_w - total_w // 2))

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        rows, columns = (out_h - 1) * stride + 1, (out_w - 1) * stride + 1
        total = jnp.zeros((), x.dtype)
        for i in range(k):
            for j in range(k):
                window = jax.lax.slice(padded, (0, i, j, 0), (b, i + rows, j + columns, c), (1, stride, stride, 1))
                total = total + window * kernel[i, j][None, None, None]
        return total

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel[:, :, None],
            (stride, stride),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=c,
        )

    return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


def l2_normalise(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`x / max(||x||_2, 1e-12)` over channels; the result is float32."""
    x32 = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(x32), axis=-1, keepdims=True)
    # The square root has no gradient at 0: the floor goes inside, where it bounds the same quotient.
    return x32 * jax.lax.rsqrt(jnp.maximum(square, L2_EPSILON**2))


def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b hout wout c"]:
    """2x2 max-pooling with stride 2; an odd last row or column is dropped."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return jnp.max(x.reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def _cells(size: int, cells: int) -> list[tuple[int, int]]:
    """First and one-past-last input index of each output cell of an adaptive pooling."""
    return [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]


def window_sum(x: Float[Array, "*b h w c"], size: int) -> Float[Array, "*b h w c"]:
    """Sum over the square of `size` (odd) rows and columns around every position; outside there is nothing."""
    leading = (1,) * (x.ndim - 3)
    for window in ((size, 1, 1), (1, size, 1)):
        x = jax.lax.reduce_window(x, jnp.zeros((), x.dtype), jax.lax.add, (*leading, *window), (1,) * x.ndim, "SAME")
    return x


def adaptive_average_pool(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Float[Array, "b hout wout c"]:
    """Average over cells: output i covers inputs `floor(i*n/m) .. ceil((i+1)*n/m)`; the result is float32."""

    def weights(size: int, cells: int) -> np.ndarray:
        matrix = np.zeros((cells, size), np.float32)
        for row, (start, stop) in zip(matrix, _cells(size, cells), strict=True):
            row[start:stop] = 1.0 / (stop - start)
        return matrix

    _, h, w, _ = x.shape
    x32 = x.astype(jnp.float32)
    rows = jnp.einsum("ih,bhwc->biwc", weights(h, shape[0]), x32, precision="highest")
    return jnp.einsum("jw,biwc->bijc", weights(w, shape[1]), rows, precision="highest")


def adaptive_max_pool(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Float[Array, "b hout wout c"]:
    """Maximum over the cells of `adaptive_average_pool`; 2x2 max-pooling where the size is exactly halved."""
    _, h, w, _ = x.shape
    if (h, w) == (2 * shape[0], 2 * shape[1]):
        return max_pool_2x2(x)
    x = jnp.stack([jnp.max(x[:, start:stop], axis=1) for start, stop in _cells(h, shape[0])], axis=1)
    return jnp.stack([jnp.max(x[:, :, start:stop], axis=2) for start, stop in _cells(w, shape[1])], axis=2)


def upsample(x: Float[Array, "b h w c"], factor: int, *, align_corners: bool = False) -> Float[Array, "b hout wout c"]:
    """Bilinear enlargement by a whole factor.

    Output `factor * i + p` lies within one input pixel of input i, so each of the `factor` phases is a weighted sum of
    the input and its two shifted copies: no gather, and XLA fuses it into one pass.

    Args:
        x: the input.
        factor: how many times larger, at least 1.
        align_corners: True puts the centres of the corner pixels on each other ("corner"); False uses half-pixel
            centres with the edge clamped ("half").

    Returns:
        The enlarged array, in the dtype of x.
    """
    if factor == 1:
        return x
    for axis in (1, 2):
        x = _upsample_axis(x, axis, factor, align_corners)
    return x


def _upsample_axis(x: jax.Array, axis: int, factor: int, align_corners: bool) -> jax.Array:
    n = x.shape[axis]
    position, phase = np.meshgrid(np.arange(n), np.arange(factor), indexing="ij")
    if align_corners:
        offset = (factor * position + phase) * (n - 1) / (factor * n - 1) - position
    else:
        offset = (phase + 0.5) / factor - 0.5
    before, after = np.maximum(-offset, 0), np.maximum(offset, 0)
    broadcast = [1] * (x.ndim + 1)
    broadcast[axis], broadcast[axis + 1] = n, factor
    weight = lambda values: jnp.asarray(values.reshape(broadcast), x.dtype)
    index = lambda start, stop: (slice(None),) * axis + (slice(start, stop),)
    previous = jnp.concatenate([x[index(0, 1)], x[index(0, n - 1)]], axis)
    following = jnp.concatenate([x[index(1, n)], x[index(n - 1, n)]], axis)
    here, previous, following = (jnp.expand_dims(z, axis + 1) for z in (x, previous, following))
    total = here * weight(1 - before - after) + previous * weight(before) + following * weight(after)
    shape = list(x.shape)
    shape[axis] = n * factor
    return total.reshape(shape)


def select_maps(
    maps: Float[Array, "b h w t"], order: Int[Array, "b n k"], weight: Float[Array, "b n k"]
) -> Float[Array, "b n h w k"]:
    """Picks k of t maps for each of n objects and scales each by a weight.

    A gather: on a CPU several times faster than the product with a weighted one-hot matrix, which gives exactly the
    same, and in its gradient too (docs/performance.md).

    Args:
        maps: t maps of an image.
        order: which of them, in [0, t).
        weight: one factor for each pick.

    Returns:
        The picked maps, float32.
    """
    picked = jax.vmap(lambda own, places: jnp.take(own, places, axis=-1))(maps.astype(jnp.float32), order)
    return jnp.moveaxis(picked, 3, 1) * weight[:, :, None, None]


def foreground_present(masks: Float[Array, "b h w n"]) -> Bool[Array, "b n"]:
    """Whether a mask has any foreground at all; a padded object has none."""
    return jnp.max(masks, axis=(1, 2)) > 0


def split_objects(x: Array, batch: int) -> Array:
    """(b * n, ...) to (b, n, ...)."""
    return x.reshape(batch, -1, *x.shape[1:])


def join_objects(x: Array) -> Array:
    """(b, n, ...) to (b * n, ...)."""
    return x.reshape(-1, *x.shape[2:])


def aggregate(logits: Float[Array, "*b n"], valid: Bool[Array, "*v n"]) -> Float[Array, "*b n"]:
    """Soft aggregation: the odds of every object and of the background, normalised to sum to one.

    The background's probability is the product of the objects' complements. Odds p / (1 - p) are the exponentials of
    logits, so what is normalised is their softmax.

    Args:
        logits: of every object by itself; any number of leading axes.
        valid: which objects exist; the axes before n are leading axes of `logits`, as many as there are.

    Returns:
        Float32 logits of every object against all else; those of objects that do not exist are far below zero.
    """
    leading = (1,) * (logits.ndim - valid.ndim)
    exists = valid.reshape(*valid.shape[:-1], *leading, valid.shape[-1])
    logits = jnp.where(exists, logits.astype(jnp.float32), -AGGREGATION_LIMIT)
    # Bounded away from 0, where the background is certain, as its own logit would be infinite.
    complement = lambda log_p: jnp.log(-jnp.expm1(jnp.minimum(log_p, -AGGREGATION_FLOOR)))
    absent = jnp.sum(jnp.where(exists, jax.nn.log_sigmoid(-logits), 0.0), axis=-1, keepdims=True)
    background = jnp.maximum(absent - complement(absent), -AGGREGATION_LIMIT)
    log_p = jax.nn.log_softmax(jnp.concatenate([background, logits], axis=-1), axis=-1)[..., 1:]
    return log_p - complement(log_p)
