"""The Mask-Ranking Module (ACCV 2020, section 3.2): which past frame's mask helps most with the current frame.

The paper's k is how many past frames are candidates beside frame 0, and its n how many frames lie between them: frame
t is compared with frame 0 and with t - n, t - 2n, ... t - k n, each as soon as it lies after frame 0 (Table 1: k = 4,
n = 5). The last k n frames are kept in a ring buffer, frame s in slot s modulo k n, so frame t - k n is still there
when frame t is compared, and gives its slot to frame t afterwards.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from ranet_jax.nn import l2_normalise


class Selected(NamedTuple):
    """The candidate chosen for every object, and what it was chosen by; candidates are references, then oldest first.

    Attributes:
        similarity: S of the chosen candidate, in [-1, 1] times its mask, float32.
        mask: M of the chosen candidate, in [0, 1], float32.
        frame: number of the chosen frame.
        score: V of every candidate, float32; 0 for one without foreground.
        eligible: which candidates could be chosen.
    """

    similarity: Float[Array, "b n h w"]
    mask: Float[Array, "b n h w"]
    frame: Int32[Array, "b n"]
    score: Float[Array, "b n s"]
    eligible: Bool[Array, "b n s"]


def candidate_frames(
    time: Int32[Array, ""], candidates: int, interval: int
) -> tuple[Int32[Array, "s"], Bool[Array, "s"]]:
    """Table 1: the past frames that frame `time` is compared with.

    Args:
        time: number of the current frame, at least 1; traced, so that one program serves every frame.
        candidates: the paper's k.
        interval: the paper's n.

    Returns:
        Frame numbers, frame 0 first and then from the oldest to the newest, and which of them there are: frame 0
        always, another as soon as it lies after frame 0.

    Examples:
        >>> frames, exists = candidate_frames(jnp.asarray(12, jnp.int32), 4, 5)
        >>> frames.tolist(), exists.tolist()
        ([0, -8, -3, 2, 7], [True, False, False, True, True])
    """
    ages = jnp.arange(candidates, 0, -1, dtype=jnp.int32) * interval
    past = time - ages
    return jnp.concatenate([jnp.zeros(1, jnp.int32), past]), jnp.concatenate([jnp.ones(1, bool), past > 0])


def similarity_map(
    past: Float[Array, "b m h w c"], current: Float[Array, "b m h w c"], mask: Float[Array, "b n h w"]
) -> Float[Array, "b n h w"]:
    """S = M cos(F^s, F^t) at every position: 0 in the background (Eq. 1 and 2).

    Args:
        past: F^s; m is n, or 1 where all objects share a frame's features.
        current: F^t.
        mask: M^s, in [0, 1].

    Returns:
        float32, in [-1, 1].
    """
    b, m, h, w, c = past.shape
    unit = lambda x: l2_normalise(x.reshape(b * m, h, w, c))
    cosine = jnp.sum(unit(past) * unit(current), axis=-1).reshape(b, m, h, w)
    return mask.astype(jnp.float32) * cosine


def foreground_average(
    similarity: Float[Array, "b n h w"], mask: Float[Array, "b n h w"]
) -> tuple[Float[Array, "b n"], Bool[Array, "b n"]]:
    """V, the average of S over the foreground (Eq. 3), and whether there is any; V is 0 where there is none.

    An average, not a sum: a mask that has grown too large does not win by its size.
    """
    area = jnp.sum(mask.astype(jnp.float32), axis=(2, 3))
    present = area > 0
    return jnp.sum(similarity, axis=(2, 3)) / jnp.where(present, area, 1.0), present


def choose(
    similarities: Float[Array, "b n s h w"],
    masks: Float[Array, "b n s h w"],
    frames: Int32[Array, "s"],
    exists: Bool[Array, "b n s"],
) -> Selected:
    """The candidate with the largest V for every object (Eq. 4); the first of equals, which is the oldest.

    Args:
        similarities: S of every candidate.
        masks: their masks; a candidate without foreground shows nothing and is not chosen, but for a first one.
        frames: their numbers, references first (the paper has one, frame 0).
        exists: which of them there are for each object: a reference gives the masks of some.

    Returns:
        The choice; the first that exists where nothing else can be chosen. Gradients reach the chosen maps, not the
        choice.
    """
    b, n, s, h, w = masks.shape
    flat = lambda x: x.reshape(b, n * s, h, w)
    score, present = (x.reshape(b, n, s) for x in foreground_average(flat(similarities), flat(masks)))
    first = jnp.arange(s)[None, None] == jnp.argmax(exists, axis=-1)[..., None]
    eligible = (exists & present) | first
    index = jnp.argmax(jnp.where(eligible, jax.lax.stop_gradient(score), -jnp.inf), axis=-1)
    # A product with a one-hot vector rather than a gather: its gradient is a product too.
    one_hot = jax.nn.one_hot(index, s, dtype=jnp.float32)
    take = lambda maps: jnp.einsum("bns,bnshw->bnhw", one_hot, maps.astype(jnp.float32), precision="highest")
    return Selected(take(similarities), take(masks), frames[index], score, eligible)


def average_over_objects(maps: Float[Array, "b n h w"], valid: Bool[Array, "b n"]) -> Float[Array, "b n h w"]:
    """The mean of the objects' selected similarity maps, which every object's decoder reads (Eq. 5)."""
    weight = valid.astype(maps.dtype)[..., None, None]
    count = jnp.maximum(jnp.sum(weight, axis=1, keepdims=True), 1.0)
    return jnp.broadcast_to(jnp.sum(maps * weight, axis=1, keepdims=True) / count, maps.shape)
