"""k x k convolution with a gradient that is as fast inside a loop as outside.

On a CPU, XLA brings a convolution's operands into the order that its fast kernels want in a program's entry only. The
gradients that JAX derives are convolutions in another order: inside `lax.scan`, each of them took 60 times as long as
outside (5.2 s against 0.09 s for two frames of 64x112, 96 to 32 channels). There, both gradients are therefore written
as convolutions in the order that needs no change.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_NUMBERS = ("NHWC", "HWIO", "NHWC")
CHANNEL_STEP = 4
"""Input channels that XLA's convolutions read at once on a CPU (last seen needed with JAX 0.10.2)."""
SYMMETRIC_BLOCKS = 4
"""Of rows that a symmetric matrix of products is computed in: 5/8 of the work, in pieces that are still large."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"], stride: int, dilation: int
) -> Float[Array, "b hout wout d"]:
    """Convolution with symmetric padding `dilation * (k - 1) // 2`; reverse-mode gradients only.

    Args:
        x: the input.
        kernel: of odd size, in the dtype of x.
        stride: in both directions.
        dilation: of the kernel, in both directions.

    Returns:
        In the dtype of x.
    """
    return _forward_convolution(x, kernel, stride, dilation)


def _forward_convolution(x: Any, kernel: Any, stride: int, dilation: int) -> jax.Array:
    plain = lambda x, kernel: _convolution(x, kernel, stride, dilation)
    *_, c, d = kernel.shape
    single = d == 1 and stride == 1
    if not single and (c < CHANNEL_STEP or c % CHANNEL_STEP == 0):
        return plain(x, kernel)
    on_cpu = lambda x, kernel: _convolution_on_cpu(x, kernel, stride, dilation)
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=plain)


def _convolution_on_cpu(x: Any, kernel: Any, stride: int, dilation: int) -> jax.Array:
    if kernel.shape[-1] == 1 and stride == 1:
        return _single_output(x, kernel, dilation)
    if kernel.shape[2] >= CHANNEL_STEP:
        x, kernel = _filled(x, 3), _filled(kernel, 2)
    return _convolution(x, kernel, stride, dilation)


def _filled(x: Any, axis: int) -> jax.Array:
    """Zeros up to a multiple of `CHANNEL_STEP` channels: with 65, a convolution takes 1.2 times as long as with 68."""
    missing = -x.shape[axis] % CHANNEL_STEP
    return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])


def _convolution(x: Any, kernel: Any, stride: int, dilation: int) -> jax.Array:
    pad = dilation * (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_NUMBERS,
    )


def _single_output(x: Any, kernel: Any, dilation: int) -> jax.Array:
    """A convolution to one channel: one product for all taps, whose results are shifted and added up in float32.

    Kernels of convolutions compute 16 output channels at once on a CPU, of which one would be kept.
    """
    _, h, w, _ = x.shape
    pad = dilation * (kernel.shape[0] - 1) // 2
    taps = jnp.einsum("bhwc,ijc->bhwij", x, kernel[..., 0], preferred_element_type=jnp.float32)
    taps = jnp.pad(taps, ((0, 0), (pad, pad), (pad, pad), (0, 0), (0, 0)))
    total = jnp.zeros((), jnp.float32)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            total = total + taps[:, i * dilation : i * dilation + h, j * dilation : j * dilation + w, i, j]
    return total[..., None].astype(x.dtype)


def _forward(x: Any, kernel: Any, stride: int, dilation: int) -> tuple[jax.Array, tuple[Any, Any]]:
    return _forward_convolution(x, kernel, stride, dilation), (x, kernel)


def _backward(stride: int, dilation: int, inputs: tuple[Any, Any], gradient: Any) -> tuple[jax.Array, jax.Array]:
    def derived(x: Any, kernel: Any, gradient: Any) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, kernel: _convolution(x, kernel, stride, dilation), x, kernel)[1](gradient)

    def written(x: Any, kernel: Any, gradient: Any) -> tuple[jax.Array, jax.Array]:
        return _input_gradient(x, kernel, gradient, stride, dilation), _kernel_gradient(
            x, kernel, gradient, stride, dilation
        )

    return jax.lax.platform_dependent(*inputs, gradient, cpu=written, default=derived)


def _input_gradient(x: Any, kernel: Any, gradient: Any, stride: int, dilation: int) -> jax.Array:
    """The transposed convolution: of the gradient, spread out where there is a stride, with the mirrored kernel."""
    _, h, w, _ = x.shape
    if stride > 1:
        spread = lambda size, n: (0, size - (n - 1) * stride - 1, stride - 1)
        padding = ((0, 0, 0), spread(h, gradient.shape[1]), spread(w, gradient.shape[2]), (0, 0, 0))
        gradient = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), padding)
    return _convolution_on_cpu(gradient, jnp.swapaxes(kernel[::-1, ::-1], 2, 3), 1, dilation)


def _kernel_gradient(x: Any, kernel: Any, gradient: Any, stride: int, dilation: int) -> jax.Array:
    """The convolution of the input with the gradient: channels are its batch, and the batch its channels."""
    k = kernel.shape[0]
    pad = dilation * (k - 1) // 2
    correlated = jax.lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        window_strides=(dilation, dilation),
        padding=((pad, pad), (pad, pad)),
        rhs_dilation=(stride, stride),
        dimension_numbers=_NUMBERS,
    )
    # Where the stride left rows of the input out, there is room for taps that the kernel has not.
    return correlated[:, :k, :k].transpose(1, 2, 0, 3)


convolve.defvjp(_forward, _backward)


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


def residual_relu(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`relu(x + y)`, to the last bit, in a form that XLA computes once.

    XLA fuses operations into their readers, and copies those of one large operand into each: a ReLU, and with it the
    addition before it. In a chain of residual blocks every block would add up all blocks before it anew. What ends in
    an operation of two large operands is stored instead.
    """
    return jnp.maximum(x, -y) + y


def symmetric_product(
    weighted: Float[Array, "b views positions k"], x: Float[Array, "b views positions k"]
) -> Float[Array, "b k k"]:
    """Sum over positions and views of products of every two channels; one is x times a weight for each position.

    It is symmetric: on a CPU, only blocks of rows from the diagonal on are computed, and mirrored.
    """
    product = lambda a, b: jnp.einsum("bvpc,bvpd->bcd", a, b, precision="highest")

    def mirrored(weighted: jax.Array, x: jax.Array) -> jax.Array:
        k = x.shape[-1]
        bounds = [round(k * i / SYMMETRIC_BLOCKS) for i in range(SYMMETRIC_BLOCKS + 1)]
        rows = [
            jnp.pad(product(weighted[..., start:stop], x[..., start:]), ((0, 0), (0, 0), (start, 0)))
            for start, stop in itertools.pairwise(bounds)
        ]
        upper = jnp.triu(jnp.concatenate(rows, axis=1))
        return upper + jnp.swapaxes(jnp.triu(upper, 1), 1, 2)

    return jax.lax.platform_dependent(weighted, x, cpu=mirrored, default=product)
