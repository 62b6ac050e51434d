"""Configurations of both networks: every value that decides parameters or the forward pass is a field."""

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


@dataclasses.dataclass(frozen=True)
class RANetConfig(NetworkConfig):
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
        target_model: True gives the decoder, beside the kept maps, the scores of a linear classifier fitted to the
            first frame, see `ranet_jax.models.target_model`; no part of the paper.
        target_update: True makes the tracker fit that model anew with every frame that it has segmented, and drop
            predictions that the first frame's model does not recognise.
        decoder: "pyramid" (released) or "lite".
        multiscale_dilations: of the pyramid decoder; (1, 3, 6) released, (1, 6, 9) in the supplementary file.
        crop: how the tracker cuts the network's input from a frame: "clip" (released: the box is clipped to the frame
            brought to `input_size`) or "pad" (the box keeps its shape, in the frame's own pixels; mean colour outside).
        crop_scale: how many times the object's extent a box is high and wide.
        parts: which parts of a prediction the tracker keeps: "all" (released) or "connected": those that hang together
            with the object's previous mask, see `ranet_jax.models.connected`.
        merging: "maximum" (released: p > 0.5 and the largest of all objects) or "softmax" (paper: over the objects'
            logits, the background's from the product of complements).
        dtype: compute dtype: "float32", "bfloat16", or "auto" (bfloat16 on GPU and TPU).
    """

    NETWORK: ClassVar[str] = "ranet"
    TITLE: ClassVar[str] = "RANet"
    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "backbone_norm": ("instance", "batch"),
        "matching_stride": (8, 16),
        "objects": ("single", "multi"),
        "ranking": ("ram", "none", "maximum"),
        "ranking_gradient": ("straight_through", "none"),
        "decoder": ("pyramid", "lite"),
        "crop": ("clip", "pad"),
        "parts": ("all", "connected"),
        "merging": ("maximum", "softmax"),
        "dtype": ("auto", "float32", "bfloat16"),
    }

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
    target_model: bool = False
    target_update: bool = False
    decoder: str = "pyramid"
    multiscale_dilations: tuple[int, int, int] = (1, 3, 6)
    crop: str = "clip"
    crop_scale: float = 1.5
    parts: str = "all"
    merging: str = "maximum"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: as for every network, or there is no target model to update.
        """
        super().__post_init__()
        if self.target_update and not self.target_model:
            raise InputError("config field target_update is True without a target_model: set both or neither")

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
            "target_model": True,
            "target_update": True,
            "crop_scale": 1.6,
            "parts": "connected",
        }
        return cls(**(values | changes))


@dataclasses.dataclass(frozen=True)
class MRNetConfig(NetworkConfig):
    """Everything that decides MRNet's parameters and its forward pass.

    The default is the paper's network (ACCV 2020), its open choices made as the fields say; `MRNetConfig.lite()` is the
    small one.

    Attributes:
        backbone: "resnet50", "resnet101", "resnet_micro" or "efficientnet_lite0".
        backbone_norm: "batch" (frozen statistics: batches are tiny) or "instance".
        input_size: height and width of the network's input, multiples of 32.
        mask_input: where the previous mask (of frame 0: its annotation) enters. "stem" (paper): a fourth channel of the
            image, so every object has its own pass of the encoder. "decoder": beside the features that the decoder
            reads, pooled to their size; the encoder then sees the image alone, once for all objects, and can be frozen.
        matching_stride: 32 (paper: F is c5) or 16 (F is c4 with c5 enlarged beside it): the grid on which frames are
            compared and the decoder starts.
        candidates: the paper's k: past frames that are compared beside frame 0, `interval` apart (Table 1: 4).
        interval: the paper's n: frames from one candidate to the next, the newest being `interval` old (Table 1: 5).
        mask_ranking: False leaves the Mask-Ranking Module out: the decoder gets neither S* nor M* (the baseline).
        similarity_map: False gives the decoder M* only.
        decoder_features: channels after the first convolution and after each refinement; every refinement halves the
            stride. The paper's three lead from 1/32 to 1/4.
        decoder_blocks: residual blocks of a refinement.
        merging: "softmax" (soft aggregation: odds normalised with the background's) or "maximum" (each by itself).
        parts: which parts of a prediction are remembered and given out: "all" (paper) or "connected": those that hang
            together with the object's previous mask, see `ranet_jax.models.connected`.
        dtype: compute dtype: "float32", "bfloat16", or "auto" (bfloat16 on GPU and TPU).
    """

    NETWORK: ClassVar[str] = "mrnet"
    TITLE: ClassVar[str] = "MRNet"
    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "backbone_norm": ("instance", "batch"),
        "mask_input": ("stem", "decoder"),
        "matching_stride": (16, 32),
        "merging": ("maximum", "softmax"),
        "parts": ("all", "connected"),
        "dtype": ("auto", "float32", "bfloat16"),
    }

    backbone: str = "resnet50"
    backbone_norm: str = "batch"
    input_size: tuple[int, int] = (480, 864)
    mask_input: str = "stem"
    matching_stride: int = 32
    candidates: int = 4
    interval: int = 5
    mask_ranking: bool = True
    similarity_map: bool = True
    decoder_features: tuple[int, ...] = (256, 256, 256, 256)
    decoder_blocks: int = 1
    merging: str = "softmax"
    parts: str = "all"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InputError: as for every network, or a count is not possible.
        """
        super().__post_init__()
        for name, least in (("candidates", 0), ("interval", 1), ("decoder_blocks", 1)):
            if getattr(self, name) < least:
                raise InputError(f"config field {name} is {getattr(self, name)}: it must be at least {least}")
        # A refinement halves the stride, and no feature is finer than 1/2.
        most = self.matching_stride.bit_length() - 1
        if not 1 <= len(self.decoder_features) <= most or min(self.decoder_features) < 1:
            raise InputError(
                f"config field decoder_features is {self.decoder_features}: give 1 to {most} positive channel counts"
            )

    @property
    def history(self) -> int:
        """How many past frames the ring buffer holds: the oldest candidate is the first that leaves it."""
        return self.candidates * self.interval if self.mask_ranking else 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns on which frames are compared."""
        return self.input_size[0] // self.matching_stride, self.input_size[1] // self.matching_stride

    @classmethod
    def lite(cls, **changes: Any) -> "MRNetConfig":
        """The small network for two CPU cores: EfficientNet-Lite0 on 256x448 frames, masks from the decoder on.

        At 1/16 of 256x448, frames are compared on the grid that the paper has at 1/32 of 480p.
        """
        values: dict[str, Any] = {
            "backbone": "efficientnet_lite0",
            "input_size": (256, 448),
            "mask_input": "decoder",
            "matching_stride": 16,
            "decoder_features": (96, 64, 32),
            "parts": "connected",
        }
        return cls(**(values | changes))
