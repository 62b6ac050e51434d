"""What both networks' configurations are made by: frozen fields, checked values, a way to JSON and back."""

import dataclasses
from typing import Any, ClassVar, TypeVar

from ranet_jax.errors import InputError

Config = TypeVar("Config", bound="NetworkConfig")


class NetworkConfig:
    """What a frozen dataclass becomes a network's configuration by: checked values, and a way to JSON and back.

    Attributes:
        NETWORK: the name that a checkpoint's config.json tells the network by.
        TITLE: the name that messages call it by.
        CHOICES: the values that a field takes, where they are few.
        backbone: a key of `ranet_jax.backbones.BACKBONES`.
        backbone_norm: "instance" or "batch".
        input_size: height and width of the network's input.
        hints: further maps of every object that the decoder reads.
        dtype: compute dtype.
    """

    NETWORK: ClassVar[str]
    TITLE: ClassVar[str]
    CHOICES: ClassVar[dict[str, tuple[Any, ...]]]
    backbone: str
    backbone_norm: str
    input_size: tuple[int, int]
    hints: int
    dtype: str

    @property
    def encodes_image_alone(self) -> bool:
        """Whether the encoder sees no masks, so that all objects share a frame's features."""
        return True

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is not of its field's type or not among those it takes, or the input size
                is not a multiple of 32.
        """
        check_values(self, "config field ", self.CHOICES)
        if self.hints < 0:
            raise InputError(f"config field hints is {self.hints}: it must be 0 or more")
        if any(size % 32 or size <= 0 for size in self.input_size):
            height, width = self.input_size
            raise InputError(f"config field input_size is {height}x{width}: both must be multiples of 32")

    @classmethod
    def from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
        """Rebuilds a configuration from JSON values (lists become tuples).

        Raises:
            InputError: a field is unknown or has a wrong value.
        """
        return from_values(cls, values, f"{cls.TITLE}'s config")

    def to_dict(self) -> dict[str, Any]:
        """Field values as JSON can hold them; `from_dict` is the inverse."""
        return {field.name: getattr(self, field.name) for field in _fields(self)}


def check_values(config: Any, prefix: str, choices: dict[str, tuple[Any, ...]] | None = None) -> None:
    """Checks a frozen dataclass's values against the types of their defaults.

    Args:
        config: the dataclass.
        prefix: what comes before a field's name in messages.
        choices: the values that a field takes, where they are few.

    Raises:
        InputError: a value is not of its field's type or not among those it takes.
    """
    for field in _fields(config):
        value, kind = getattr(config, field.name), type(field.default)
        if not isinstance(value, (int, float) if kind is float else kind):
            raise InputError(f"{prefix}{field.name} is {value!r}: it must be of type {kind.__name__}")
        allowed = (choices or {}).get(field.name, (value,))
        if value not in allowed:
            listed = ", ".join(repr(choice) for choice in allowed)
            raise InputError(f"{prefix}{field.name} is {value!r}: choose one of {listed}")


def from_values(cls: type[Any], values: dict[str, Any], title: str) -> Any:
    """A frozen dataclass from JSON values (lists become tuples).

    Args:
        cls: the dataclass.
        values: by field.
        title: what messages call it.

    Raises:
        InputError: a field is unknown, or `cls` refuses a value.
    """
    known = {field.name for field in _fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{title} has no field {', '.join(unknown)}: it has {', '.join(sorted(known))}")
    return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _fields(config: Any) -> tuple[Any, ...]:
    return dataclasses.fields(config)
