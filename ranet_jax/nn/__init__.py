"""The pieces both networks are made of. Every function takes and returns NHWC arrays."""

from ranet_jax.nn.convolution import Bottleneck, Convolution, HeadConvolution
from ranet_jax.nn.cpu import convolve, depthwise_convolution, residual_relu, symmetric_product
from ranet_jax.nn.norm import INSTANCE_NORM_EPSILON, FrozenBatchNorm, InstanceNorm, instance_norm, l2_normalise
from ranet_jax.nn.objects import by_object, foreground_present, join_objects, split_objects
from ranet_jax.nn.parameters import compute_dtype, parameter
from ranet_jax.nn.pooling import adaptive_average_pool, adaptive_max_pool, max_pool_2x2, window_sum
from ranet_jax.nn.resize import upsample

__all__ = [
    "INSTANCE_NORM_EPSILON",
    "Bottleneck",
    "Convolution",
    "FrozenBatchNorm",
    "HeadConvolution",
    "InstanceNorm",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "by_object",
    "compute_dtype",
    "convolve",
    "depthwise_convolution",
    "foreground_present",
    "instance_norm",
    "join_objects",
    "l2_normalise",
    "max_pool_2x2",
    "parameter",
    "residual_relu",
    "split_objects",
    "symmetric_product",
    "upsample",
    "window_sum",
]
