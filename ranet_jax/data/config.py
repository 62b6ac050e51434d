"""Configuration of the training data: frozen, each field with the paper's value as its default."""

import dataclasses

from ranet_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class GeometryConfig:
    """Strengths of a random deformation; the default is the paper's.

    Attributes:
        control_shift: Largest shift of the spline's 16 control points, as a share of height and width.
        rotation: Largest rotation, degrees.
        scale: Smallest and largest magnification.
        translation: Largest shift of the whole, as a share of height and width; with `scale`, a random crop.
        flip: Probability of a horizontal flip.
    """

    control_shift: float = 0.15
    rotation: float = 30.0
    scale: tuple[float, float] = (0.75, 1.25)
    translation: float = 0.1
    flip: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale {self.scale}: give the smallest and the largest, both positive")
        if not 0 <= self.control_shift <= 0.16:
            raise InputError(f"control_shift {self.control_shift}: above 0.16 control points may swap places")


@dataclasses.dataclass(frozen=True)
class ColourConfig:
    """Strengths of a random change of colour.

    Attributes:
        brightness: Factors are drawn from 1 - brightness to 1 + brightness.
        contrast: Likewise, about the image's mean luminance.
        saturation: Likewise, about every pixel's luminance.
        hue: Largest rotation about the gray axis, as a share of the full circle.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02


@dataclasses.dataclass(frozen=True)
class PerturbationConfig:
    """How a mask is made to look like an earlier, imperfect prediction (as in MaskTrack).

    Attributes:
        geometry: Deformation of every object; shares are of its box with a third of its size on every side.
        grow: Probability of eroding or dilating the object.
        radius: By how much at most, as a share of the square root of its area.
        empty: Probability of losing the object.
        rectangle: Probability of a rectangle being cut out of the object or added to it.
        ghost: Probability of a second, smaller copy of the object anywhere else: what a tracker that has taken
            a look-alike for the object hands on.
    """

    geometry: GeometryConfig = GeometryConfig(0.05, 5.0, (0.95, 1.05), 0.05, 0.0)
    grow: float = 0.35
    radius: float = 0.1
    empty: float = 0.1
    rectangle: float = 0.15
    ghost: float = 0.0


@dataclasses.dataclass(frozen=True)
class BoxConfig:
    """Crop around the object, as the small network's tracker does it, at random.

    Attributes:
        scale: Smallest and largest size of the box, in extents of the object; the tracker's own lies between.
        jitter: Largest shift of its centre, as a share of the extent.
    """

    scale: tuple[float, float] = (1.3, 2.0)
    jitter: float = 0.1


@dataclasses.dataclass(frozen=True)
class PasteConfig:
    """How often, and how, an object of another video or image is pasted into a sample.

    Attributes:
        probability: Of pasting any.
        count: How many are pasted then at most; each is drawn for itself.
        twin: Probability of its being one of the sample's own objects once more, so that nothing but where it is
            tells the two apart.
        as_object: Probability of its being one more object to segment, where there is room for one; otherwise
            it is background, to be told from the object.
        behind: Probability of its lying behind the sample's own objects; otherwise it covers them.
        extent: Smallest and largest longer side, as a share of the output's height.
        motion: What it moves, on top of how it moves in its own video, from each frame of a group to the next.
    """

    probability: float = 0.0
    count: int = 1
    twin: float = 0.0
    as_object: float = 0.5
    behind: float = 0.5
    extent: tuple[float, float] = (0.25, 0.75)
    motion: GeometryConfig | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"paste.count is {self.count}: it must be at least 1")


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How a sample is made; the default is the paper's recipe for the released network.

    Attributes:
        size: Height and width of every image.
        crop: "frame": the whole frame, centred, black around it. "box": a box around the object, as the small
            network's tracker cuts it: the template's around its own mask, the current frame's around the
            previous mask, mean colour outside the frame.
        max_objects: Objects of a sample at most; of more, some are chosen at random.
        geometry: Deformation of the template and, drawn anew, of the current frame; mirrored both or neither.
        colour: Change of colour that all images of a sample share.
        colour_each: Change of colour that every image has of its own.
        perturbation: Of the previous mask; None leaves it exact.
        box: Range of the boxes of crop "box".
        paste: Objects pasted from elsewhere in the source.
        previous_gap: The previous mask of a video pair is of a frame at most this many annotated frames away.
        rollout: 2 adds the frame after the current one as a pair's third, in the same crop.
        rollout_gap: How many annotated frames after the current one it is at most.
        motion: Of a static pair, what that frame has moved since the current one.
        clip_length: Frames of a clip.
        clip_gap: Annotated frames from one frame of a clip to the next.
        minimum_pixels: A template shows an object if it has that many pixels.
        attempts: A sample whose template came out without an object is drawn again so many times.
    """

    size: tuple[int, int] = (480, 864)
    crop: str = "frame"
    max_objects: int = 1
    geometry: GeometryConfig = GeometryConfig()
    colour: ColourConfig = ColourConfig()
    colour_each: ColourConfig = ColourConfig(0.05, 0.05, 0.05, 0.005)
    perturbation: PerturbationConfig | None = PerturbationConfig()
    box: BoxConfig = BoxConfig()
    paste: PasteConfig = PasteConfig()
    previous_gap: int = 5
    rollout: int = 1
    rollout_gap: int = 1
    motion: GeometryConfig = GeometryConfig(0.02, 3.0, (0.97, 1.03), 0.02, 0.0)
    clip_length: int = 12
    clip_gap: int = 1
    minimum_pixels: int = 16
    attempts: int = 8

    def __post_init__(self) -> None:
        if self.crop not in ("frame", "box"):
            raise InputError(f"crop {self.crop!r} is unknown: choose 'frame' or 'box'")
        if self.rollout not in (1, 2):
            raise InputError(f"rollout {self.rollout} is not possible: choose 1 or 2")
        for field in ("max_objects", "previous_gap", "rollout_gap", "clip_length", "clip_gap", "attempts"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} is {getattr(self, field)}: it must be at least 1")
        if not 1 <= self.max_objects <= 254:
            raise InputError(f"max_objects is {self.max_objects}: a label map holds at most 254")
