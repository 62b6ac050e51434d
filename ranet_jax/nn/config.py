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
        merging: how objects become labels.
        dtype: compute dtype.
    """

    NETWORK: ClassVar[str]
    TITLE: ClassVar[str]
    CHOICES: ClassVar[dict[str, tuple[Any, ...]]]
    backbone: str
    backbone_norm: str
    input_size: tuple[int, int]
    merging: str
    dtype: str

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is not of its field's type or not among those it takes, or the input size
                is not a multiple of 32.
        """
        for field in _fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            if not isinstance(value, (int, float) if kind is float else kind):
                raise InputError(f"config field {field.name} is {value!r}: it must be of type {kind.__name__}")
            choices = self.CHOICES.get(field.name, (value,))
            if value not in choices:
                listed = ", ".join(repr(choice) for choice in choices)
                raise InputError(f"config field {field.name} is {value!r}: choose one of {listed}")
        if any(size % 32 or size <= 0 for size in self.input_size):
            height, width = self.input_size
            raise InputError(f"config field input_size is {height}x{width}: both must be multiples of 32")

    @classmethod
    def from_dict(cls: type[Config], values: dict[str, Any]) -> Config:
        """Rebuilds a configuration from JSON values (lists become tuples).

        Raises:
            InputError: a field is unknown or has a wrong value.
        """
        known = {field.name for field in _fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            listed = ", ".join(sorted(known))
            raise InputError(f"{cls.TITLE}'s config has no field {', '.join(unknown)}: it has {listed}")
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Field values as JSON can hold them; `from_dict` is the inverse."""
        return {field.name: getattr(self, field.name) for field in _fields(self)}


def _fields(config: Any) -> tuple[Any, ...]:
    return dataclasses.fields(config)
