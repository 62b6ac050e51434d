"""RANet's configuration: every value that decides its parameters or its forward pass is a field."""

import dataclasses
from typing import Any, ClassVar

from ranet_jax.errors import InputError
from ranet_jax.nn.config import NetworkConfig


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
            first frame, see `ranet_jax.tracker.target`; no part of the paper.
        target_update: True makes the tracker fit that model anew with every frame that it has segmented, and drop
            predictions that the first frame's model does not recognise.
        decoder: "pyramid" (released) or "lite".
        multiscale_dilations: of the pyramid decoder; (1, 3, 6) released, (1, 6, 9) in the supplementary file.
        crop: how the tracker cuts the network's input from a frame: "clip" (released: the box is clipped to the frame
            brought to `input_size`) or "pad" (the box keeps its shape, in the frame's own pixels; mean colour outside).
        crop_scale: how many times the object's extent a box is high and wide.
        parts: which parts of a prediction the tracker keeps: "all" (released) or "connected": those that hang together
            with the object's previous mask, see `ranet_jax.tracker.presence`.
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
