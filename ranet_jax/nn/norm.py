"""Norms; statistics are computed in float32 whatever the compute dtype, and come back in the dtype of their input."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.nn.parameters import parameter

INSTANCE_NORM_EPSILON = 1e-5
L2_EPSILON = 1e-12


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


def l2_normalise(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`x / max(||x||_2, 1e-12)` over channels; the result is float32."""
    x32 = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(x32), axis=-1, keepdims=True)
    # The square root has no gradient at 0: the floor goes inside, where it bounds the same quotient.
    return x32 * jax.lax.rsqrt(jnp.maximum(square, L2_EPSILON**2))
