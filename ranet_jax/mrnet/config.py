"""MRNet's configuration: every value that decides its parameters or its forward pass is a field."""

import dataclasses
from typing import Any, ClassVar

from ranet_jax.errors import InputError
from ranet_jax.nn.config import NetworkConfig


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
        present: probability that some pixel must have for an object to be in a frame that is remembered.
        hints: further maps of every object that the decoder reads; 0 in the paper. The tracker says what they are.
        dtype: compute dtype: "float32", "bfloat16", or "auto" (bfloat16 on GPU and TPU).
    """

    NETWORK: ClassVar[str] = "mrnet"
    TITLE: ClassVar[str] = "MRNet"
    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "backbone_norm": ("instance", "batch"),
        "mask_input": ("stem", "decoder"),
        "matching_stride": (16, 32),
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
    present: float = 0.5
    hints: int = 0
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
    def encodes_image_alone(self) -> bool:
        """Whether the encoder sees no masks, so that all objects share a frame's features."""
        return self.mask_input == "decoder"

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
        }
        return cls(**(values | changes))
