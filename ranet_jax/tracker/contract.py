"""What a network is to the tracker: one protocol for both."""

from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Int


class Frame(Protocol):
    """An encoded frame."""

    @property
    def maps(self) -> tuple[jax.Array, ...]:
        """Features of the image alone, at 1/2, 1/4, 1/8, ..., which a target model is fitted to; () if it cannot be."""


class Memory(Protocol):
    """What a network keeps of references and recent frames: arrays of fixed size."""

    @property
    def known(self) -> Bool[Array, "b r n"]:
        """Whose mask each reference gives; an object exists if any does."""

    def with_references_of(self, other: Any) -> Any:
        """This memory with another's references, of the same frames: their gradient, where this one has none."""


@runtime_checkable
class Network(Protocol):
    """A network's methods, weights bound (`ranet_jax.tracker.step.bound`).

    Letters: b batch, n objects (padded), r references; height, width are the network's input.
    """

    def encode(self, image: Float[Array, "b height width 3"], previous: Float[Array, "b height width n"]) -> Any:
        """A normalised frame's features, shared by all objects where the network allows.

        `previous` are the masks of the frame before, or a reference's own.
        """

    def empty(self, seen: Any, objects: int, references: int, frames: int | None) -> Any:
        """Memory of nothing, with room for so many; `frames` that follow the first at most, None for any number."""

    def write_recent(self, memory: Any, seen: Any, masks: Float[Array, "b height width n"]) -> Any:
        """Memory with the next frame and its masks."""

    def write_reference(
        self,
        memory: Any,
        seen: Any,
        masks: Float[Array, "b height width n"],
        known: Bool[Array, "b n"],
        slot: Int[Array, ""] | int,
    ) -> Any:
        """Memory with the newest frame as a reference in a slot; `known`: whose masks are given."""

    def read(
        self,
        memory: Any,
        seen: Any,
        previous: Float[Array, "b height width n"],
        hints: Float[Array, "b n h8 w8 hints"] | None,
    ) -> tuple[Float[Array, "b height width n"], dict[str, Any]]:
        """Float32 logits of every object by itself, and by name what was found on the way."""
