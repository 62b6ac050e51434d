"""One step of propagation in the network's own geometry: what tracking jits and training scans over."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ranet_jax.errors import InputError
from ranet_jax.networks import network
from ranet_jax.nn import by_object, upsample
from ranet_jax.nn.config import NetworkConfig
from ranet_jax.tracker import presence
from ranet_jax.tracker.aggregation import combined
from ranet_jax.tracker.config import TrackerConfig
from ranet_jax.tracker.contract import Network
from ranet_jax.tracker.target import (
    TargetMemory,
    empty_target,
    learn_recent,
    learn_reference,
    likeness,
    second_view,
    target_scores,
)


class Knowledge(NamedTuple):
    """What a video's past leaves behind, but for its last masks; the size never grows.

    Attributes:
        memory: the network's.
        target: the target model's, or None.
    """

    memory: Any
    target: TargetMemory | None

    @property
    def valid(self) -> Bool[Array, "b n"]:
        """Which objects there are; the others are padding, or have not been given yet."""
        return jnp.any(self.memory.known, axis=1)


class Prediction(NamedTuple):
    """A segmented frame.

    Attributes:
        logits: of every object among the others, before `presence` clears anything.
        probability: in [0, 1], cleared; 0 for objects that do not exist.
        seen: the encoded frame.
        likeness: of every cell to each object, or None without a target model.
        found: by name, what the network found on the way.
    """

    logits: Float[Array, "b height width n"]
    probability: Float[Array, "b height width n"]
    seen: Any
    likeness: Float[Array, "b h8 w8 n"] | None
    found: dict[str, Any]


def bound(config: NetworkConfig, variables: Any) -> Network:
    """The network of a configuration with its weights: what is asked of it is computed by Flax's `apply`."""
    return _Bound(functools.partial(network(config).apply, variables))


@dataclasses.dataclass(frozen=True)
class _Bound:
    """See `Network`."""

    apply: Callable[..., Any]

    def encode(self, *arguments: Any) -> Any:
        return self.apply(*arguments, method="encode")

    def empty(self, *arguments: Any) -> Any:
        return self.apply(*arguments, method="empty")

    def write_recent(self, *arguments: Any) -> Any:
        return self.apply(*arguments, method="write_recent")

    def write_reference(self, *arguments: Any) -> Any:
        return self.apply(*arguments, method="write_reference")

    def read(self, *arguments: Any) -> Any:
        return self.apply(*arguments, method="read")


def check_hints(config: NetworkConfig, tracker: TrackerConfig) -> None:
    """Checks that a tracker gives a network what it reads.

    Raises:
        InputError: the network reads a target model's scores that the tracker has not, or has no use for.
    """
    given = 0 if tracker.target is None else 1
    if config.hints > given:
        raise InputError(
            f"the network reads {config.hints} hint(s) for each object and the tracker gives {given}:"
            " set tracker.target, which gives one"
        )


def begin(
    net: Network,
    tracker: TrackerConfig,
    seen: Any,
    objects: int,
    *,
    references: int = 1,
    frames: int | None = None,
) -> Knowledge:
    """Knowledge of nothing.

    Args:
        net: the network.
        tracker: how it tracks.
        seen: any encoded frame, for its shapes.
        objects: how many there is room for.
        references: how many there is room for.
        frames: that follow the first at most; None for any number.

    Raises:
        InputError: there is to be a target model, and the network has no features of the image alone.
    """
    target = None
    if tracker.target is not None:
        if not seen.maps:
            raise InputError(
                "a target model needs features of the image alone, and this network's see masks: leave out"
                " tracker.target, or set the model's mask_input to 'decoder'"
            )
        target = empty_target(seen.maps, objects)
    return Knowledge(net.empty(seen, objects, references, frames), target)


def learn_given(
    net: Network,
    tracker: TrackerConfig,
    knowledge: Knowledge,
    seen: Any,
    second: Any,
    masks: Float[Array, "b height width n"],
    known: Bool[Array, "b n"],
    slot: Int[Array, ""] | int,
) -> Knowledge:
    """Knowledge with one more frame, which is a reference.

    Args:
        net: the network.
        tracker: how it tracks.
        knowledge: so far.
        seen: the frame, encoded with its own masks.
        second: `second_view` of it, encoded alike; None without a target model.
        masks: all objects in it, in [0, 1], disjoint.
        known: whose masks are given; the others are the tracker's own.
        slot: where it goes among the references.
    """
    memory = net.write_recent(knowledge.memory, seen, masks)
    memory = net.write_reference(memory, seen, masks, known, slot)
    target = knowledge.target
    if tracker.target is not None:
        assert target is not None, "the tracker's configuration is not the one its state began with"
        assert second is not None, "a target model learns from two views"
        both = masks, second_view(masks, tracker.target.magnification)
        target = learn_reference(tracker.target, target, (seen.maps, second.maps), both, known)
    return Knowledge(memory, target)


def predict(
    net: Network,
    config: NetworkConfig,
    tracker: TrackerConfig,
    knowledge: Knowledge,
    seen: Any,
    previous: Float[Array, "b height width n"],
) -> Prediction:
    """Segments a frame.

    Args:
        net: the network.
        config: its configuration.
        tracker: how it tracks.
        knowledge: of the frames before.
        seen: the frame, encoded with `previous`.
        previous: masks of the frame before, in [0, 1].
    """
    scores, hints = None, None
    if tracker.target is not None:
        assert knowledge.target is not None, "the tracker's configuration is not the one its state began with"
        scores = target_scores(knowledge.target, seen.maps)
        hints = scores[..., None] if config.hints else None
    logits, found = net.read(knowledge.memory, seen, previous, hints)
    if scores is not None and tracker.target is not None:
        b, n, h, w = scores.shape
        enlarged = upsample(scores.reshape(b * n, h, w, 1), previous.shape[1] // h)
        offset = tracker.target.gain * (enlarged.reshape(b, n, *enlarged.shape[1:3]) - 0.5)
        logits = by_object(lambda logit: logit + offset, logits)
    valid = knowledge.valid
    logits = combined(logits, valid, tracker.aggregation)
    exists = valid[:, :, None, None].astype(jnp.float32)
    probability = by_object(lambda logit: jax.nn.sigmoid(logit) * exists, logits)
    alike = None
    if tracker.target is not None:
        assert knowledge.target is not None
        alike = likeness(knowledge.target, seen.maps)
    if tracker.presence is not None:
        judge = functools.partial(presence.decide, tracker.presence)
        if knowledge.target is None:
            probability = jax.vmap(lambda p, before: judge(p, before, None))(probability, previous)
        else:
            probability = jax.vmap(judge)(probability, previous, alike, knowledge.target.usual)
    return Prediction(logits, probability, seen, alike, found)


def learn_predicted(net: Network, tracker: TrackerConfig, knowledge: Knowledge, prediction: Prediction) -> Knowledge:
    """Knowledge with one more frame, which was segmented."""
    seen, probability = prediction.seen, prediction.probability
    target = knowledge.target
    if tracker.target is not None and tracker.target.update:
        assert target is not None, "the tracker's configuration is not the one its state began with"
        # A pixel is the most probable object's alone.
        most = lambda p: jnp.where(p == jnp.max(p, axis=1, keepdims=True), p, 0.0)
        target = learn_recent(tracker.target, target, seen.maps, by_object(most, probability))
    return Knowledge(net.write_recent(knowledge.memory, seen, probability), target)
