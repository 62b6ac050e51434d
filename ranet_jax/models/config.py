"""RANet's configuration: the default is the network its authors released, every other value is a field."""

import dataclasses
from typing import Any

from ranet_jax.errors import InputError

CHOICES: dict[str, tuple[Any, ...]] = {
    "backbone_norm": ("instance", "batch"),
    "matching_stride": (8, 16),
    "objects": ("single", "multi"),
    "ranking": ("ram", "none", "maximum"),
    "ranking_gradient": ("straight_through", "none"),
    "decoder": ("pyramid", "lite"),
    "crop": ("clip", "pad"),
    "merging": ("maximum", "softmax"),
    "dtype": ("auto", "float32", "bfloat16"),
}


@dataclasses.dataclass(frozen=True)
class RANetConfig:
    """Everything that decides RANet's parameters and its forward pass.

    The default is the released single-object network (spec: ICCV 2019 paper and the behaviour of the released
    inference); `RANetConfig(objects="multi")` is the released multi-object one and `RANetConfig.lite()` the small one.

    Attributes:
        backbone: "resnet101", "resnet50", "resnet_micro" or "efficientnet_lite0".
        backbone_norm: "instance" (learned scale and bias) or "batch" (frozen statistics).
        input_size: height and width of the network's input, multiples of 32.
        template_grid: rows and columns the template is pooled to; fixes the ranking network's parameters.
        matching_stride: 16 (released) or 8.
        matching_head_features: channels of the heads on c3, c4 and c5.
        matching_features: channels of the matching feature.
        matching_kernel_size: 3 (released); the paper says 1.
        objects: "single": each object against a hard background rule; "multi": soft masks, every other label is
            background (spec section 4).
        correlation: False concatenates the two frames' features instead (Table 5, -CL).
        ranking: "ram", or Table 4's "none" (all maps in template order) and "maximum" (one map a branch).
        kept_maps: maps kept for each branch.
        ranking_features: channels of the ranking network.
        ranking_planes: planes of its bottleneck; 0 leaves the bottleneck out.
        ranking_gradient: "straight_through" multiplies kept maps by `1 + R - stop_gradient(R)`, so that scores learn;
            "none" leaves the ranking network without a gradient, as the released forward pass does.
        previous_mask: False gives the decoder zeros instead of the previous mask (Table 5, -PM).
        decoder: "pyramid" (released) or "lite".
        multiscale_dilations: of the pyramid decoder; (1, 3, 6) released, (1, 6, 9) in the supplementary file.
        crop: how the tracker cuts the network's input from a frame: "clip" (released: the box is clipped to the frame
            brought to `input_size`) or "pad" (the box keeps its shape, in the frame's own pixels; mean colour outside).
        crop_scale: how many times the object's extent a box is high and wide.
        merging: "maximum" (released: p > 0.5 and the largest of all objects) or "softmax" (paper: over the objects'
            logits, the background's from the product of complements).
        dtype: compute dtype: "float32", "bfloat16", or "auto" (bfloat16 on GPU and TPU).
    """

    backbone: str = "resnet101"
    backbone_norm: str = "instance"
    input_size: tuple[int, int] = (480, 864)
    template_grid: tuple[int, int] = (15, 27)
    matching_stride: int = 16
    matching_head_features: tuple[int, int, int] = (128, 256, 512)
    matching_features: int = 512
    matching_kernel_size: int = 3
    objects: str = "single"
    correlation: bool = True
    ranking: str = "ram"
    kept_maps: int = 256
    ranking_features: int = 128
    ranking_planes: int = 32
    ranking_gradient: str = "straight_through"
    previous_mask: bool = True
    decoder: str = "pyramid"
    multiscale_dilations: tuple[int, int, int] = (1, 3, 6)
    crop: str = "clip"
    crop_scale: float = 1.5
    merging: str = "maximum"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: a value is not of its field's type or not among those it takes, or the input size
                is not a multiple of 32.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            if not isinstance(value, (int, float) if kind is float else kind):
                raise InputError(f"config field {field.name} is {value!r}: it must be of type {kind.__name__}")
            choices = CHOICES.get(field.name, (value,))
            if value not in choices:
                listed = ", ".join(repr(choice) for choice in choices)
                raise InputError(f"config field {field.name} is {value!r}: choose one of {listed}")
        if any(size % 32 or size <= 0 for size in self.input_size):
            height, width = self.input_size
            raise InputError(f"config field input_size is {height}x{width}: both must be multiples of 32")

    @classmethod
    def lite(cls, **changes: Any) -> "RANetConfig":
        """The small network for two CPU cores: EfficientNet-Lite0, matching at 1/8, narrow decoder, 256x448 crops."""
        values: dict[str, Any] = {
            "backbone": "efficientnet_lite0",
            "backbone_norm": "batch",
            "input_size": (256, 448),
            "template_grid": (16, 28),
            "matching_stride": 8,
            "matching_head_features": (64, 128, 128),
            "matching_features": 128,
            "objects": "multi",
            "kept_maps": 128,
            "ranking_features": 64,
            "ranking_planes": 0,
            "decoder": "lite",
            "crop": "pad",
            "crop_scale": 1.6,
        }
        return cls(**(values | changes))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RANetConfig":
        """Rebuilds a configuration from JSON values (lists become tuples).

        Raises:
            InputError: a field is unknown or has a wrong value.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"RANet's config has no field {', '.join(unknown)}: it has {', '.join(sorted(known))}")
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Field values as JSON can hold them; `from_dict` is the inverse."""
        return dataclasses.asdict(self)
