"""Convolutions and the blocks they make, NHWC."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.nn.cpu import convolve, residual_relu
from ranet_jax.nn.norm import instance_norm
from ranet_jax.nn.parameters import parameter


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
