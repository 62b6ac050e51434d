"""What tracking a video leaves behind from one frame to the next, for either network."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float32, Int32, UInt8

from ranet_jax.errors import InputError
from ranet_jax.tracker.step import Knowledge


class State(NamedTuple):
    """Everything a video's past leaves behind; its size never grows while frames are segmented.

    Attributes:
        knowledge: of references and recent frames, batch of one, objects padded to their bucket.
        previous: what the next frame gets as its previous masks, on the working frame: the object index of every pixel
            (int32; 0 background, i + 1 object i), or, where probabilities are fed back, those.
        box: of the next frame, on the working frame.
        ids: label id of each object; 0 for padding.
        ages: order in which the references were given, 0 for an empty place.
        presence: how much each object was itself in the last frame: mean likeness over its mask, 1 as in its
            references; without a target model, mean probability. 0 where it is nowhere.
    """

    knowledge: Knowledge
    previous: Int32[Array, "height width"] | Float32[Array, "height width n"]
    box: Float32[Array, "4"]
    ids: UInt8[Array, "n"]
    ages: Int32[Array, "r"]
    presence: Float32[Array, "n"]


def check_fresh(state: State) -> None:
    """Raises InputError where a state was donated already."""
    box = state.box
    if isinstance(box, jax.Array) and not isinstance(box, jax.core.Tracer) and box.is_deleted():
        raise InputError("this state was handed to step before, which took it over: use the state that came back")
