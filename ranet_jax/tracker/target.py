"""A linear classifier of the object, fitted in closed form to the reference frames and to what was segmented since.

No part of the paper. Similarity to single template positions cannot weigh channels against each other: what tells this
object from this background. A discriminative model of the target can, and as a ridge regression it needs neither
training nor steps at the start of a video, and of past frames no more than their normal equations. (Robinson et al.,
"Learning Fast and Robust Target Models for Video Object Segmentation", CVPR 2020, fit theirs by Gauss-Newton steps to
the first frame and a memory of predictions; Bertinetto et al., ICLR 2019, use ridge regression as the last layer of a
classifier.)
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ranet_jax.nn import adaptive_average_pool, upsample
from ranet_jax.nn.config import check_values

Maps = tuple[Float[Array, "..."], ...]
"""Feature maps of a frame (b, h, w, c), fine to coarse: at 1/2, 1/4, 1/8, ...; the third is at 1/8. One map or two will
do: the model then lives on the grid of the last, whatever that is."""


@dataclasses.dataclass(frozen=True)
class Target:
    """How the target model is fitted and used.

    Attributes:
        update: whether it goes on learning from every frame that was segmented.
        gain: a score's share in the logit: the network learns what the classifier gets wrong, instead of learning to
            ignore it.
        ridge: penalty on the weights of standardised channels.
        rivals: share of the weight of all that is not an object that goes to the other objects' pixels; the rest goes
            to all pixels outside of it alike.
        magnification: of the second view of a reference frame; boxes of 1.6 extents then still hold all of the object.
        deviation_floor: added to every channel's deviation.
        memory_rate: a new frame's share of the frames since the references.
        memory_share: theirs, of the fit.
        usual_rate: a new frame's share of the likeness that an object usually has.
        least_cells: of 1/8 that an object must fill to be learned from.
        solver_tolerance: of the residual's norm, relative to the right side's.
        solver_steps: of conjugate gradients, at most.
    """

    update: bool = True
    gain: float = 8.0
    ridge: float = 0.3
    rivals: float = 0.0
    magnification: float = 4 / 3
    deviation_floor: float = 1e-3
    memory_rate: float = 0.1
    memory_share: float = 0.5
    usual_rate: float = 0.1
    least_cells: int = 12
    solver_tolerance: float = 1e-6
    solver_steps: int = 200

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is not of its field's type.
        """
        check_values(self, "tracker field target.")


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
        mean: of every channel in the first reference's views; later frames are standardised by it, too.
        deviation: likewise.
        given: average over each object's references.
        count: how many these are.
        recent: running average over the frames since; the object's first reference's own to begin with.
        solution: of both, for standardised channels.
        given_solution: of the references alone, likewise.
        expected: mean score of `given_solution` on the references' own masks.
        usual: running average of an object's mean score in later frames, as a share of `expected`.
    """

    mean: Float[Array, "b c"]
    deviation: Float[Array, "b c"]
    given: NormalEquations
    count: Float[Array, "b n"]  # type: ignore[assignment]  # a tuple has a method of that name
    recent: NormalEquations
    solution: Float[Array, "b n k"]
    given_solution: Float[Array, "b n k"]
    expected: Float[Array, "b n"]
    usual: Float[Array, "b n"]

    @property
    def model(self) -> TargetModel:
        """The classifier, the standardisation folded in."""
        weights = self.solution[..., :-1] / self.deviation[:, None]
        return TargetModel(weights, self.solution[..., -1] - jnp.sum(weights * self.mean[:, None], axis=-1))


def second_view(x: Float[Array, "b h w c"], magnification: float) -> Float[Array, "b h w c"]:
    """The middle of an image or mask, mirrored and magnified.

    What weights fit one view by chance (places, borders, one size) does not fit both: on the frames of a video that
    are not the first, this view is worth more than any other change of the fit.
    """
    _, height, width, _ = x.shape
    scale = jnp.full((2,), magnification)
    translation = (1.0 - magnification) * jnp.array((height / 2, width / 2))
    return jax.image.scale_and_translate(x[:, :, ::-1], x.shape, (1, 2), scale, translation, "linear")


def empty_target(maps: Maps, objects: int) -> TargetMemory:
    """What a target model is that knows nothing: it scores 0 everywhere.

    Args:
        maps: of any frame, for their shapes.
        objects: how many there is room for.
    """
    b, c = maps[0].shape[0], sum(x.shape[-1] for x in maps)
    k = c + 1
    equations = NormalEquations(jnp.zeros((b, objects, k, k)), jnp.zeros((b, objects, k)))
    zeros, solution = jnp.zeros((b, objects)), jnp.zeros((b, objects, k))
    mean, deviation = jnp.zeros((b, c)), jnp.ones((b, c))
    return TargetMemory(mean, deviation, equations, zeros, equations, solution, solution, zeros, zeros)


def learn_reference(
    config: Target,
    memory: TargetMemory,
    views: Sequence[Maps],
    masks: Sequence[Float[Array, "b height width n"]],
    known: Bool[Array, "b n"],
) -> TargetMemory:
    """The fit with a reference frame in it: ridge regression of masks at 1/8 from features.

    All views and both classes weigh the same. Channels are standardised over the views of the first reference, so that
    one penalty suits them all. Nothing of it has a gradient.

    Args:
        config: how it is fitted.
        memory: so far.
        views: feature maps of the frame, and of `second_view` of it.
        masks: the objects in each of them, in [0, 1].
        known: whose masks are given: only they learn, and of objects that are known already those of `least_cells`.

    Returns:
        The float32 fit; its `model` is what scores frames.
    """
    grid = _grid(views[0])
    x = jax.lax.stop_gradient(jnp.stack([_joined(view) for view in views], axis=1))
    # What is left of an object that goes says less of it than what is known already.
    known = known & ((_cells(_mask_shares(masks[0], grid)) >= config.least_cells) | (memory.count == 0))
    first = ~jnp.any(memory.count > 0, axis=1)[:, None]
    mean = jnp.where(first, jnp.mean(x, axis=(1, 2)), memory.mean)
    deviation = jnp.where(first, jnp.std(x, axis=(1, 2)) + config.deviation_floor, memory.deviation)
    x = _standardised(x, mean[:, None], deviation[:, None])
    target = jnp.stack([_positions(_cell_targets(m, grid)) for m in masks], axis=1)
    rival = jnp.sum(target, axis=-1, keepdims=True) - target

    def fit(one: Any) -> tuple[NormalEquations, NormalEquations, Any, Any]:
        target, rival, known, given, count, recent = one
        new = _normal_equations(config, x, target, rival, jnp.ones_like(target))
        chosen = lambda a, b: jnp.where(jnp.reshape(known, (-1,) + (1,) * (a.ndim - 1)), a, b)
        count = count + known.astype(jnp.float32)
        average = jax.tree.map(lambda a, b: chosen(b + (a - b) / _like(jnp.maximum(count, 1.0), b), b), new, given)
        recent = jax.tree.map(lambda a, b: chosen(jnp.where(_like(count > 1, b), b, a), b), new, recent)
        alone = _solve(config, average, jnp.zeros_like(average.products))
        both = jax.tree.map(functools.partial(_mixed, config.memory_share), average, recent)
        return average, recent, alone, _solve(config, both, alone)

    # One object at a time: the weighted features of all together would be n times the frame's.
    of_objects = (
        *_leading(-1, (target, rival)),
        *_leading(1, (known, memory.given, memory.count, memory.recent)),
    )
    fitted = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), jax.lax.map(fit, of_objects))
    given, recent, alone, solution = fitted
    count = memory.count + known.astype(jnp.float32)
    found, _ = _mean_score(alone, x[:, 0], masks[0], grid)
    expected = jnp.where(known, memory.expected + (found - memory.expected) / jnp.maximum(count, 1.0), memory.expected)
    usual = jnp.where(known, 1.0, memory.usual)
    return TargetMemory(mean, deviation, given, count, recent, solution, alone, expected, usual)


def learn_recent(
    config: Target, memory: TargetMemory, maps: Maps, probability: Float[Array, "b height width n"]
) -> TargetMemory:
    """The fit with one more frame in it, labelled by the tracker's own prediction.

    The references, whose masks are known to be right, keep their share for ever. Pixels that the network is unsure of
    weigh little, (2p - 1)^2, and an object of fewer than `least_cells` is not learned from: what is left of one that
    goes is rather wrong than right, and half of the fit would rest on it. Views of the object and background that the
    references lack are worth more on held-out videos than predictions that are wrong cost (docs/log/). Nothing of it
    has a gradient.

    Args:
        config: how it is fitted.
        memory: so far.
        maps: of the new frame.
        probability: of every object in it, in [0, 1], zero where another one is more probable.
    """
    grid = _grid(maps)
    maps, probability = jax.lax.stop_gradient((maps, probability))
    x = _later_view(memory, maps)
    found, cells = _mean_score(memory.given_solution, x[:, 0], probability, grid)
    seen = cells >= config.least_cells
    usual = memory.usual + config.usual_rate * (found / _positive(memory.expected) - memory.usual)
    target = _positions(_cell_targets(probability, grid))
    rival = jnp.sum(target, axis=-1, keepdims=True) - target
    certainty = _positions(adaptive_average_pool(jnp.square(2.0 * probability - 1.0), grid))

    def update(one: Any) -> tuple[NormalEquations, Float[Array, "b k"]]:
        target, rival, certainty, seen, given, recent, solution = one
        new = _normal_equations(config, x, target[:, None], rival[:, None], certainty[:, None])
        rate = jnp.where(seen, config.memory_rate, 0.0)
        recent = jax.tree.map(functools.partial(_mixed, rate), recent, new)
        both = jax.tree.map(functools.partial(_mixed, config.memory_share), given, recent)
        return recent, _solve(config, both, solution)

    of_objects = (
        *_leading(-1, (target, rival, certainty, seen)),
        *_leading(1, (memory.given, memory.recent, memory.solution)),
    )
    recent, solution = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), jax.lax.map(update, of_objects))
    return memory._replace(recent=recent, solution=solution, usual=jnp.where(seen, usual, memory.usual))


def likeness(memory: TargetMemory, maps: Maps) -> Float[Array, "b h8 w8 n"]:
    """How much every cell of a later frame looks like each object, to the model of the references alone.

    That model has learned from no error. 1 is what it gives the object in its references in the mean, 0 what is
    expected of all else.
    """
    grid = _grid(maps)
    scores = _scores(memory.given_solution, _later_view(memory, maps)[:, 0])
    return (scores / _positive(memory.expected)[:, None]).reshape(scores.shape[0], *grid, -1)


def target_scores(memory: TargetMemory, maps: Maps) -> Float[Array, "b n h8 w8"]:
    """The model's scores on another frame at 1/8, float32.

    Each feature is weighed at its own resolution: resizing sums of channels is cheaper than resizing channels.
    """
    size, model = _grid(maps), memory.model
    total, first = model.offset[:, None, None], 0
    for x in maps:
        weights = model.weights[..., first : first + x.shape[-1]]
        first += x.shape[-1]
        total = total + _resized(jnp.einsum("bhwc,bnc->bhwn", x.astype(jnp.float32), weights), size)
    return jnp.moveaxis(total, -1, 1)


def _positive(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, jnp.finfo(jnp.float32).tiny)


def _grid(maps: Maps) -> tuple[int, int]:
    """Rows and columns at 1/8: the third map's, or the last one's of fewer."""
    return maps[:3][-1].shape[1], maps[:3][-1].shape[2]


def _leading(axis: int, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), tree)


def _like(x: Float[Array, "b"] | Bool[Array, "b"], other: jax.Array) -> jax.Array:
    return jnp.reshape(x, (-1,) + (1,) * (other.ndim - 1))


def _mixed(share: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    return a + jnp.reshape(jnp.asarray(share), (-1,) + (1,) * (a.ndim - 1)) * (b - a)


def _joined(maps: Maps) -> Float[Array, "b positions channels"]:
    """All channels at 1/8, float32."""
    resized = [_resized(x.astype(jnp.float32), _grid(maps)) for x in maps]
    return _positions(jnp.concatenate(resized, axis=-1))


def _later_view(memory: TargetMemory, maps: Maps) -> Float[Array, "b 1 positions k"]:
    """A frame after the first reference, as one view."""
    return _standardised(_joined(maps)[:, None], memory.mean[:, None], memory.deviation[:, None])


def _positions(x: Float[Array, "b h w c"]) -> Float[Array, "b positions c"]:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _mean_score(
    solution: Float[Array, "b n k"],
    x: Float[Array, "b positions k"],
    masks: Float[Array, "b height width n"],
    grid: tuple[int, int],
) -> tuple[Float[Array, "b n"], Float[Array, "b n"]]:
    """Mean score of standardised channels over every mask, 0 without one; and how many cells it fills."""
    share = _mask_shares(masks, grid)
    total = jnp.maximum(jnp.sum(share, axis=1), jnp.finfo(jnp.float32).tiny)
    return jnp.sum(share * _scores(solution, x), axis=1) / total, _cells(share)


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
    config: Target,
    x: Float[Array, "b views positions k"],
    target: Float[Array, "b views positions"],
    rival: Float[Array, "b views positions"],
    certainty: Float[Array, "b views positions"],
) -> NormalEquations:
    """Of one object (no axis n), inside and outside of it weighing one half each in every view."""
    inside = (target > 0.5).astype(jnp.float32)
    tiny = jnp.finfo(jnp.float32).tiny
    share = lambda members: members / jnp.maximum(2 * x.shape[1] * jnp.sum(members, axis=2, keepdims=True), tiny)
    weight = share(certainty * inside) + share(certainty * (1.0 - inside))
    if config.rivals:
        others = certainty * (1.0 - inside) * (rival > 0.5).astype(jnp.float32)
        part = config.rivals * (jnp.sum(others, axis=2, keepdims=True) > 0).astype(jnp.float32)
        weight = share(certainty * inside) + part * share(others) + (1.0 - part) * share(certainty * (1.0 - inside))
    weighted = x * weight[..., None]
    return NormalEquations(
        jnp.einsum("bvpc,bvpd->bcd", weighted, x, precision="highest"),
        jnp.einsum("bvpc,bvp->bc", weighted, target, precision="highest"),
    )


def _solve(config: Target, equations: NormalEquations, start: Float[Array, "b k"]) -> Float[Array, "b k"]:
    """Solution with the penalty `ridge`, which keeps the system well conditioned, from a first guess.

    By conjugate gradients, which are products alone: JAX's factorisations wait for threads of the pool that runs them
    on a CPU (several devices of one process wait for each other forever), and tie an exported program to LAPACK's or
    cuSOLVER's calls.
    """

    def solve(squares: Float[Array, "k k"], products: Float[Array, "k"], start: Float[Array, "k"]) -> jax.Array:
        product = lambda x: jnp.matmul(squares, x, precision="highest") + config.ridge * x
        tolerance, steps = config.solver_tolerance, config.solver_steps
        return jax.scipy.sparse.linalg.cg(product, products, start, tol=tolerance, maxiter=steps)[0]

    return jax.vmap(solve)(*equations, start)


def _cell_targets(masks: Float[Array, "b height width n"], grid: tuple[int, int]) -> Float[Array, "b h w n"]:
    """What cells should score: their share of the mask; of an object too thin to fill one, relative to its fullest."""
    shares = adaptive_average_pool(masks, grid)
    return shares / jnp.maximum(jnp.max(shares, axis=(1, 2), keepdims=True), jnp.finfo(jnp.float32).tiny)


def _resized(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b hout wout c"]:
    """The feature at another power-of-two share of the frame."""
    if x.shape[1] < size[0]:
        return upsample(x, size[0] // x.shape[1])
    return x if x.shape[1] == size[0] else adaptive_average_pool(x, size)
