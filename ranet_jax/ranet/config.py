"""RANet's configuration: every value that decides its parameters or its forward pass is a field."""

import dataclasses
from typing import Any, ClassVar

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
        score_scale: what the ranking network's term counts beside a map's maximum.
        background_threshold: share of a template position outside the object from which "single" takes it for
            background.
        ranking_features: channels of the ranking network.
        ranking_planes: planes of its bottleneck; 0 leaves the bottleneck out.
        ranking_gradient: "straight_through" multiplies kept maps by `1 + R - stop_gradient(R)`, so that scores learn;
            "none" leaves the ranking network without a gradient, as the released forward pass does.
        previous_mask: False gives the decoder zeros instead of the previous mask (Table 5, -PM).
        decoder: "pyramid" (released) or "lite".
        multiscale_dilations: of the pyramid decoder; (1, 3, 6) released, (1, 6, 9) in the supplementary file.
        hints: further maps of every object that the decoder reads; 0 in the paper. The tracker says what they are.
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
    score_scale: float = 0.2
    background_threshold: float = 0.9
    ranking_features: int = 128
    ranking_planes: int = 32
    ranking_gradient: str = "straight_through"
    previous_mask: bool = True
    decoder: str = "pyramid"
    multiscale_dilations: tuple[int, int, int] = (1, 3, 6)
    hints: int = 0
    dtype: str = "auto"

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
            "hints": 1,
        }
        return cls(**(values | changes))
