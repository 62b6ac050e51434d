"""A linear classifier of the object, fitted in closed form to the first frame and to what was segmented since.

No part of the paper. Similarity to single template positions cannot weigh channels against each other: what tells this
object from this background. A discriminative model of the target can, and as a ridge regression it needs neither
training nor steps at the start of a video, and of past frames no more than their normal equations. (Robinson et al.,
"Learning Fast and Robust Target Models for Video Object Segmentation", CVPR 2020, fit theirs by Gauss-Newton steps to
the first frame and a memory of predictions; Bertinetto et al., ICLR 2019, use ridge regression as the last layer of a
classifier.)
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ranet_jax.backbones import Pyramid
from ranet_jax.nn import adaptive_average_pool, upsample, window_sum

RIDGE = 0.3
DEVIATION_FLOOR = 1e-3
SOLVER_TOLERANCE = 1e-6  # of the residual's norm, relative to the right side's
SOLVER_STEPS = 200
# A score's share in the logit: the decoder learns what the classifier gets wrong, instead of learning to ignore it.
TARGET_GAIN = 8.0
MAGNIFICATION = 4 / 3  # boxes of 1.6 extents still hold all of the object
MEMORY_RATE = 0.1  # a new frame's share of the frames since the first
MEMORY_SHARE = 0.5  # theirs, of the fit
LEAST_CELLS = 12  # of 1/8 that an object must fill to be learned from
AGREEMENT = 0.5  # least mean score of the first frame's model on a prediction, as a share of that on the first mask
FAMILIAR = 0.9  # likewise, on the predicted cells around one that looks like the object
FAMILIAR_CELLS = 5  # of 1/8 along the side of the square around it


class TargetModel(NamedTuple):
    """A linear score of every object: about 1 on it, 0 elsewhere.

    Attributes:
        weights: of the channels of c1, c2, c3, c4 and the matching feature, in this order.
        offset: of the sum.
    """

    weights: Float[Array, "b n c"]
    offset: Float[Array, "b n"]


class NormalEquations(NamedTuple):
    """What least squares keeps of any number of frames: its size does not grow with them.

    Attributes:
        squares: weighted sum of the products of every two of the k standardised channels, the last of which is 1.
        products: weighted sum of their products with the target.
    """

    squares: Float[Array, "b n k k"]
    products: Float[Array, "b n k"]


class TargetMemory(NamedTuple):
    """Everything that the target model is fitted to.

    Attributes:
        mean: of every channel in the first frame's views; later frames are standardised by it, too.
        deviation: likewise.
        first: of the first frame's views.
        recent: running average over the frames since; the first frame's own to begin with.
        solution: of both, for standardised channels.
        first_solution: of the first frame alone, likewise.
        agreement: mean score of `first_solution` on the first frame's own masks.
    """

    mean: Float[Array, "b c"]
    deviation: Float[Array, "b c"]
    first: NormalEquations
    recent: NormalEquations
    solution: Float[Array, "b n k"]
    first_solution: Float[Array, "b n k"]
    agreement: Float[Array, "b n"]

    @property
    def model(self) -> TargetModel:
        """The classifier, the standardisation folded in."""
        weights = self.solution[..., :-1] / self.deviation[:, None]
        return TargetModel(weights, self.solution[..., -1] - jnp.sum(weights * self.mean[:, None], axis=-1))


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
) -> TargetMemory:
    """Ridge regression of every object's mask at 1/8 from features, all views and both classes weighing the same.

    Channels are standardised over all views, so that one `RIDGE` suits them all. Nothing of it has a gradient.

    Args:
        views: pyramid and matching feature of the first frame, and of `second_view` of it.
        masks: the objects in each of them, in [0, 1]; an all-zero mask gets a score of 0 everywhere.

    Returns:
        The float32 fit; its `model` is what scores frames.
    """
    grid = (views[0][0].c3.shape[1], views[0][0].c3.shape[2])
    x = jax.lax.stop_gradient(jnp.stack([_joined(*view) for view in views], axis=1))
    mean = jnp.mean(x, axis=(1, 2))
    deviation = jnp.std(x, axis=(1, 2)) + DEVIATION_FLOOR
    x = _standardised(x, mean[:, None], deviation[:, None])
    target = jnp.stack([_positions(_cell_targets(m, grid)) for m in masks], axis=1)

    def fit(target: Float[Array, "b views positions"]) -> tuple[NormalEquations, Float[Array, "b k"]]:
        equations = _normal_equations(x, target, jnp.ones_like(target))
        return equations, _solve(equations, jnp.zeros_like(equations.products))

    # One object at a time: the weighted features of all together would be n times the frame's.
    fitted = jax.lax.map(fit, jnp.moveaxis(target, -1, 0))
    equations, solution = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), fitted)
    agreement, _ = _agreement(solution, x[:, 0], masks[0], grid)
    return TargetMemory(mean, deviation, equations, equations, solution, solution, agreement)


def update_target_model(
    memory: TargetMemory,
    pyramid: Pyramid,
    matching: Float[Array, "b h w c"],
    probability: Float[Array, "b height width n"],
) -> TargetMemory:
    """The fit with one more frame in it, labelled by the tracker's own prediction.

    The first frame, whose mask is known to be right, keeps its share for ever. Pixels that the network is unsure of
    weigh little, (2p - 1)^2, and an object of fewer than `LEAST_CELLS` is not learned from: what is left of one
    that goes is rather wrong than right, and half of the fit would rest on it. Views of the object and background
    that the first frame lacks are worth more on held-out videos than predictions that are wrong cost
    (docs/results.md).

    Args:
        memory: so far.
        pyramid: of the new frame.
        matching: its feature.
        probability: of every object in it, in [0, 1], zero where another one is more probable.
    """
    grid = (pyramid.c3.shape[1], pyramid.c3.shape[2])
    x = _later_view(memory, pyramid, matching)
    seen = _cells(_mask_shares(probability, grid)) >= LEAST_CELLS
    target = _positions(_cell_targets(probability, grid))
    certainty = _positions(adaptive_average_pool(jnp.square(2.0 * probability - 1.0), grid))

    def update(one: Any) -> tuple[NormalEquations, Float[Array, "b k"]]:
        target, certainty, seen, first, recent, solution = one
        new = _normal_equations(x, target[:, None], certainty[:, None])
        rate = jnp.where(seen, MEMORY_RATE, 0.0)
        mix = lambda share, a, b: a + jnp.reshape(share, (-1,) + (1,) * (a.ndim - 1)) * (b - a)
        recent = jax.tree.map(functools.partial(mix, rate), recent, new)
        both = jax.tree.map(functools.partial(mix, MEMORY_SHARE), first, recent)
        return recent, _solve(both, solution)

    leading = lambda axis, tree: jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), tree)
    known = leading(1, (memory.first, memory.recent, memory.solution))
    of_objects = (*leading(-1, (target, certainty, seen)), *known)
    recent, solution = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), jax.lax.map(update, of_objects))
    return memory._replace(recent=recent, solution=solution)


def recognised(
    memory: TargetMemory,
    pyramid: Pyramid,
    matching: Float[Array, "b h w c"],
    probability: Float[Array, "b height width n"],
    previous: Float[Array, "b height width n"],
) -> Bool[Array, "b n"]:
    """Whether what is taken for each object looks like it: to the model of the first frame, which no error has taught.

    While an object is hidden, the mask before leads the network to whatever hides it, and there it stays. On training
    videos that model mostly scores 0.5 to 0.9 on objects that are tracked rightly, and below 0.4 on what has taken
    their place (docs/results.md). An object of fewer than `LEAST_CELLS` passes, as so few cells prove nothing, unless
    there was none of it in the frame before: what is found anew has to look like it.

    Args:
        memory: so far.
        pyramid: of a later frame.
        matching: its feature.
        probability: of every object in it, in [0, 1].
        previous: masks of the frame before, in [0, 1]; above 0.5 is foreground.
    """
    grid = (pyramid.c3.shape[1], pyramid.c3.shape[2])
    x = _later_view(memory, pyramid, matching)
    agreement, cells = _agreement(memory.first_solution, x[:, 0], probability, grid)
    there = jnp.any(previous > 0.5, axis=(1, 2))
    return (agreement > AGREEMENT * memory.agreement) | (there & (cells < LEAST_CELLS))


def familiar_cells(
    memory: TargetMemory,
    pyramid: Pyramid,
    matching: Float[Array, "b h w c"],
    probability: Float[Array, "b height width n"],
) -> Bool[Array, "b h8 w8 n"]:
    """Which cells of 1/8 of each object's prediction, with those around them, look like it to the first frame's model.

    Args:
        memory: so far.
        pyramid: of a later frame.
        matching: its feature.
        probability: of every object in it, in [0, 1].
    """
    grid = (pyramid.c3.shape[1], pyramid.c3.shape[2])
    share = adaptive_average_pool((probability > 0.5).astype(jnp.float32), grid)
    x = _later_view(memory, pyramid, matching)
    scores = _scores(memory.first_solution, x[:, 0]).reshape(share.shape)
    total, covered = (window_sum(y, FAMILIAR_CELLS) for y in (scores * share, share))
    return (total > FAMILIAR * memory.agreement[:, None, None] * covered) & (share > 0.5)


def _joined(pyramid: Pyramid, matching: Float[Array, "b h w c"]) -> Float[Array, "b positions channels"]:
    """All channels at 1/8, float32."""
    grid = (pyramid.c3.shape[1], pyramid.c3.shape[2])
    resized = [_resized(x.astype(jnp.float32), grid) for x in (*pyramid[:4], matching)]
    return _positions(jnp.concatenate(resized, axis=-1))


def _later_view(
    memory: TargetMemory, pyramid: Pyramid, matching: Float[Array, "b h w c"]
) -> Float[Array, "b 1 positions k"]:
    """A frame after the first, as one view."""
    return _standardised(_joined(pyramid, matching)[:, None], memory.mean[:, None], memory.deviation[:, None])


def _positions(x: Float[Array, "b h w c"]) -> Float[Array, "b positions c"]:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _agreement(
    solution: Float[Array, "b n k"],
    x: Float[Array, "b positions k"],
    masks: Float[Array, "b height width n"],
    grid: tuple[int, int],
) -> tuple[Float[Array, "b n"], Float[Array, "b n"]]:
    """Mean score of standardised channels over every mask, 0 without one; and how many cells it fills."""
    share = _mask_shares(masks, grid)
    scores = _scores(solution, x)
    total = jnp.sum(share, axis=1)
    return jnp.sum(share * scores, axis=1) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny), _cells(share)


def _scores(solution: Float[Array, "b n k"], x: Float[Array, "b positions k"]) -> Float[Array, "b positions n"]:
    return jnp.einsum("bpk,bnk->bpn", x, solution, precision="highest")


def _mask_shares(masks: Float[Array, "b height width n"], grid: tuple[int, int]) -> Float[Array, "b positions n"]:
    return _positions(adaptive_average_pool((masks > 0.5).astype(jnp.float32), grid))


def _cells(share: Float[Array, "b positions n"]) -> Float[Array, "b n"]:
    return jnp.sum((share > 0.5).astype(jnp.float32), axis=1)


def _standardised(
    x: Float[Array, "b views positions c"], mean: Float[Array, "b 1 c"], deviation: Float[Array, "b 1 c"]
) -> Float[Array, "b views positions k"]:
    """With a channel of ones, which the offset is the weight of."""
    return jnp.concatenate([(x - mean[:, None]) / deviation[:, None], jnp.ones_like(x[..., :1])], axis=-1)


def _normal_equations(
    x: Float[Array, "b views positions c"],
    target: Float[Array, "b views positions"],
    certainty: Float[Array, "b views positions"],
) -> NormalEquations:
    """Of one object (no axis n), inside and outside of it weighing one half each in every view."""
    inside = (target > 0.5).astype(jnp.float32)
    tiny = jnp.finfo(jnp.float32).tiny
    share = lambda members: members / jnp.maximum(2 * x.shape[1] * jnp.sum(members, axis=2, keepdims=True), tiny)
    weighted = x * (share(certainty * inside) + share(certainty * (1.0 - inside)))[..., None]
    return NormalEquations(
        jnp.einsum("bvpc,bvpd->bcd", weighted, x, precision="highest"),
        jnp.einsum("bvpc,bvp->bc", weighted, target, precision="highest"),
    )


def _solve(equations: NormalEquations, start: Float[Array, "b c"]) -> Float[Array, "b c"]:
    """Solution with the penalty `RIDGE`, which keeps the system well conditioned, from a first guess.

    By conjugate gradients, which are products alone: JAX's factorisations wait for threads of the pool that runs them
    on a CPU (several devices of one process wait for each other forever), and tie an exported program to LAPACK's or
    cuSOLVER's calls.
    """

    def solve(squares: Float[Array, "c c"], products: Float[Array, "c"], start: Float[Array, "c"]) -> jax.Array:
        product = lambda x: jnp.matmul(squares, x, precision="highest") + RIDGE * x
        return jax.scipy.sparse.linalg.cg(product, products, start, tol=SOLVER_TOLERANCE, maxiter=SOLVER_STEPS)[0]

    return jax.vmap(solve)(*equations, start)


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
