"""The tracker's configuration: what stands beside a network's in a checkpoint, and serves any network."""

import dataclasses
from typing import Any, ClassVar

from ranet_jax.errors import InputError
from ranet_jax.nn.config import from_values
from ranet_jax.tracker.presence import Presence
from ranet_jax.tracker.target import Target
from ranet_jax.tracker.window import WINDOWS, AspectBox, ReleasedBox, WholeFrame, Window


@dataclasses.dataclass(frozen=True)
class TrackerConfig:
    """How a network is made to track; the default is that of RANet's release.

    Attributes:
        window: what of a frame the network sees: `WholeFrame`, `ReleasedBox` or `AspectBox`.
        target: a linear classifier of every object beside the network, or None.
        presence: which parts of a prediction are believed, or None: all.
        aggregation: how objects become labels. "hard" (RANet's release): p > 0.5, and the largest of all objects.
            "soft" (both papers): odds of objects and background, normalised to sum to one; the largest.
        feedback: what the next frame gets as its previous masks: "labels", decided, or "probabilities".
    """

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "aggregation": ("hard", "soft"),
        "feedback": ("labels", "probabilities"),
    }

    window: Window = dataclasses.field(default_factory=ReleasedBox)
    target: Target | None = None
    presence: Presence | None = None
    aggregation: str = "hard"
    feedback: str = "labels"

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is none of those its field takes.
        """
        for name, choices in self.CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                listed = ", ".join(repr(choice) for choice in choices)
                raise InputError(f"tracker field {name} is {value!r}: choose one of {listed}")

    @classmethod
    def lite(cls) -> "TrackerConfig":
        """That of the small RANet, for video as people have it."""
        return cls(window=AspectBox(), target=Target(), presence=Presence())

    @classmethod
    def mrnet(cls) -> "TrackerConfig":
        """MRNet's, as its paper has it: whole frames, soft aggregation, probabilities fed back."""
        return cls(window=WholeFrame(), aggregation="soft", feedback="probabilities")

    def for_training(self, *, presence: bool, update: bool) -> "TrackerConfig":
        """The same on samples, which are cut by their window already.

        Args:
            presence: whether predictions are judged before the next frame gets them.
            update: whether the target model learns from predictions.
        """
        target = None if self.target is None else dataclasses.replace(self.target, update=self.target.update and update)
        return dataclasses.replace(
            self, window=WholeFrame(), target=target, presence=self.presence if presence else None
        )

    def to_dict(self) -> dict[str, Any]:
        """Field values as JSON can hold them; `from_dict` is the inverse."""
        parts = {name: getattr(self, name) for name in ("target", "presence")}
        return {
            "window": {"kind": type(self.window).__name__} | dataclasses.asdict(self.window),
            **{name: None if part is None else dataclasses.asdict(part) for name, part in parts.items()},
            "aggregation": self.aggregation,
            "feedback": self.feedback,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrackerConfig":
        """Rebuilds a configuration from JSON values.

        Raises:
            InputError: a field is unknown or has a wrong value.
        """
        values = dict(values)
        if "window" in values:
            window = dict(values["window"])
            kind = window.pop("kind", None)
            if kind not in WINDOWS:
                raise InputError(f"tracker field window.kind is {kind!r}: choose one of {', '.join(WINDOWS)}")
            values["window"] = from_values(WINDOWS[kind], window, "tracker.window")
        for name, part in (("target", Target), ("presence", Presence)):
            if values.get(name) is not None:
                values[name] = from_values(part, dict(values[name]), f"tracker.{name}")
        return from_values(cls, values, "tracker")
