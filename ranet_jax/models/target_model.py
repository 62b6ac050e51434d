"""A linear classifier of the object's features, fitted to the first frame in closed form; no part of the paper.

Similarity to single template positions cannot weigh channels against each other: what tells this object from this
background. A discriminative model of the target can, and as a ridge regression it needs neither training nor steps at
the start of a video. (Robinson et al., "Learning Fast and Robust Target Models for Video Object Segmentation", CVPR
2020, fit theirs by Gauss-Newton steps; Bertinetto et al., ICLR 2019, use ridge regression as the last layer of a
classifier.)
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ranet_jax.backbones import Pyramid
from ranet_jax.layers import adaptive_average_pool, upsample

RIDGE = 0.3
DEVIATION_FLOOR = 1e-3
SOLVER_TOLERANCE = 1e-6  # of the residual's norm, relative to the right side's
SOLVER_STEPS = 200
# A score's share in the logit: the decoder learns what the classifier gets wrong, instead of learning to ignore it.
TARGET_GAIN = 8.0
MAGNIFICATION = 4 / 3  # boxes of 1.6 extents still hold all of the object


class TargetModel(NamedTuple):
    """A linear score of every object: about 1 on it, 0 elsewhere.

    Attributes:
        weights: of the channels of c1, c2, c3, c4 and the matching feature, in this order.
        offset: of the sum.
    """

    weights: Float[Array, "b n c"]
    offset: Float[Array, "b n"]


def second_view(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The middle of an image or mask, mirrored and magnified.

    What weights fit one view by chance (places, borders, one size) does not fit both: on the frames of a video that
    are not the first, this view is worth more than any other change of the fit.
    """
    _, height, width, _ = x.shape
    scale = jnp.full((2,), MAGNIFICATION)
    translation = (1.0 - MAGNIFICATION) * jnp.array((height / 2, width / 2))
    return jax.image.scale_and_translate(x[:, :, ::-1], x.shape, (1, 2), scale, translation, "linear")


def fit_target_model(
    views: Sequence[tuple[Pyramid, Float[Array, "b h w c"]]], masks: Sequence[Float[Array, "b height width n"]]
) -> TargetModel:
    """Ridge regression of every object's mask at 1/8 from features, all views and both classes weighing the same.

    Channels are standardised over all views, so that one `RIDGE` suits them all. Nothing of it has a gradient.

    Args:
        views: pyramid and matching feature of the first frame, and of `second_view` of it.
        masks: the objects in each of them, in [0, 1]; an all-zero mask gets a score of 0 everywhere.

    Returns:
        The float32 model, the standardisation folded in.
    """
    grid = (views[0][0].c3.shape[1], views[0][0].c3.shape[2])
    joined = [[_resized(x.astype(jnp.float32), grid) for x in (*pyramid[:4], matching)] for pyramid, matching in views]
    x = jax.lax.stop_gradient(jnp.stack([jnp.concatenate(parts, axis=-1) for parts in joined], axis=1))
    b, count, h, w, c = x.shape
    x = x.reshape(b, count, h * w, c)
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    deviation = jnp.std(x, axis=(1, 2), keepdims=True) + DEVIATION_FLOOR
    x = jnp.concatenate([(x - mean) / deviation, jnp.ones((b, count, h * w, 1), jnp.float32)], axis=-1)
    target = jnp.stack([_cell_targets(m, grid).reshape(b, h * w, -1) for m in masks], axis=1)

    def fit(target: Float[Array, "b views positions"]) -> Float[Array, "b channels"]:
        inside = (target > 0.5).astype(jnp.float32)
        share = lambda members: members / jnp.maximum(2 * count * jnp.sum(members, axis=2, keepdims=True), 1.0)
        weighted = x * (share(inside) + share(1.0 - inside))[..., None]
        squares = jnp.einsum("bvpc,bvpd->bcd", weighted, x, precision="highest") + RIDGE * jnp.eye(c + 1)[None]
        products = jnp.einsum("bvpc,bvp->bc", weighted, target, precision="highest")
        return jax.vmap(_solve)(squares, products)

    # One object at a time: the weighted features of all together would be n times the frame's.
    solved = jnp.moveaxis(jax.lax.map(fit, jnp.moveaxis(target, -1, 0)), 0, 1)
    weights = solved[..., :c] / deviation[:, 0]
    return TargetModel(weights, solved[..., c] - jnp.sum(weights * mean[:, 0], axis=-1))


def _solve(matrix: Float[Array, "c c"], vector: Float[Array, "c"]) -> Float[Array, "c"]:
    """Solution of a symmetric positive definite system; `RIDGE` keeps it well conditioned.

    By conjugate gradients, which are products alone: JAX's factorisations wait for threads of the pool that runs them
    on a CPU (several devices of one process wait for each other forever), and tie an exported program to LAPACK's or
    cuSOLVER's calls.
    """
    product = functools.partial(jnp.matmul, matrix, precision="highest")
    return jax.scipy.sparse.linalg.cg(product, vector, tol=SOLVER_TOLERANCE, maxiter=SOLVER_STEPS)[0]


def target_scores(model: TargetModel, pyramid: Pyramid, matching: Float[Array, "b h w c"]) -> Float[Array, "b n h8 w8"]:
    """The model's scores on another frame at 1/8, float32.

    Each feature is weighed at its own resolution: resizing sums of channels is cheaper than resizing channels.
    """
    size = (pyramid.c3.shape[1], pyramid.c3.shape[2])
    total, first = model.offset[:, None, None], 0
    for x in (*pyramid[:4], matching):
        weights = model.weights[..., first : first + x.shape[-1]]
        first += x.shape[-1]
        total = total + _resized(jnp.einsum("bhwc,bnc->bhwn", x.astype(jnp.float32), weights), size)
    return jnp.moveaxis(total, -1, 1)


def _cell_targets(masks: Float[Array, "b height width n"], grid: tuple[int, int]) -> Float[Array, "b h w n"]:
    """What cells should score: their share of the mask; of an object too thin to fill one, relative to its fullest."""
    shares = adaptive_average_pool(masks, grid)
    return shares / jnp.maximum(jnp.max(shares, axis=(1, 2), keepdims=True), jnp.finfo(jnp.float32).tiny)


def _resized(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b hout wout c"]:
    """The feature at another power-of-two share of the frame."""
    if x.shape[1] < size[0]:
        return upsample(x, size[0] // x.shape[1])
    return x if x.shape[1] == size[0] else adaptive_average_pool(x, size)
