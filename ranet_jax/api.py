"""The functions of `import ranet_jax`: open a model, segment a video, score masks, keep a model."""

import os
from collections.abc import Mapping
from pathlib import Path

from ranet_jax.evaluation.davis import DavisScores, evaluate_folders
from ranet_jax.runtime.segment import Outputs, SegmentReport, Span, segment_video
from ranet_jax.weights import Checkpoint as Model
from ranet_jax.weights import load_checkpoint, save_checkpoint

__all__ = ["Model", "evaluate", "load", "save", "segment"]

PathLike = str | os.PathLike[str]


def load(name_or_path: PathLike = "lite") -> Model:
    """Opens a model.

    Args:
        name_or_path: "lite" or "mrnet-lite", which come with the package, or a checkpoint: a folder, or a file
            "NAME.safetensors".

    Raises:
        InputError: there is no such checkpoint, or it is damaged.

    Examples:
        >>> model = load("lite")
        >>> model.config.TITLE, model.tracker.aggregation
        ('RANet', 'hard')
    """
    return load_checkpoint(name_or_path)


def save(path: PathLike, model: Model) -> None:
    """Writes a model as a checkpoint, which `load` opens: a folder, or one file if `path` ends in ".safetensors".

    Raises:
        InputError: it cannot be written, or something else lies there.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/mine", load("lite"))
        ...     load(f"{folder}/mine").config == load("lite").config
        True
    """
    save_checkpoint(path, model.config, model.tracker, model.variables, card=model.card)


def segment(
    video: PathLike,
    masks: PathLike | Mapping[int, PathLike],
    out: PathLike,
    *,
    model: Model | PathLike = "lite",
    overlay: PathLike | None = None,
    backward: bool = False,
    overwrite: bool = False,
) -> SegmentReport:
    """Segments a video file or a folder of frames: what the command `ranet-jax segment` does.

    Args:
        video: the file or folder.
        masks: file of the first frame's mask, folder of masks named like frames, or files by number of the frame.
        out: folder for one palette PNG a frame.
        model: from `load`, or what it takes.
        overlay: video to draw the objects into (.mp4, .webm, .gif).
        backward: whether frames before the first mask are tracked back from it.
        overwrite: whether results that lie in `out` may go.

    Returns:
        How many frames there were, how long they took, and where objects are nowhere.

    Raises:
        InputError: an input is missing or does not fit, or an output would replace something.

    Examples:
        >>> import pathlib, tempfile, ranet_jax
        >>> demo = pathlib.Path(ranet_jax.__file__).parent / "demo"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     segment(demo / "bunny.mp4", demo / "bunny_mask.png", folder, overlay=f"{folder}/overlay.mp4").frames
        60
    """
    opened = model if isinstance(model, Model) else load(model)
    given = (
        [f"{number}={os.fspath(path)}" for number, path in masks.items()]
        if isinstance(masks, Mapping)
        else [os.fspath(masks)]
    )
    outputs = Outputs(Path(out), None if overlay is None else Path(overlay), overwrite=overwrite)
    make = lambda frame_size, objects: opened.tracker_for(frame_size)
    return segment_video(os.fspath(video), given, outputs, make, opened.variables, span=Span(backward=backward))


def evaluate(prediction: PathLike, truth: PathLike, *, void: bool = False) -> DavisScores:
    """Scores masks by the measures of DAVIS: J, F and their mean.

    Args:
        prediction: folder of masks, or of a folder for each video.
        truth: folder of annotations of the same names, of all frames or some.
        void: whether 255 in annotations counts for nothing, not as background.

    Raises:
        InputError: masks are missing, or do not fit.

    Examples:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from ranet_jax.io.masks import write_label_map
        >>> labels = np.zeros((20, 30), np.uint8)
        >>> labels[5:15, 5:20] = 1
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(4):
        ...         write_label_map(pathlib.Path(folder) / f"{i:05}.png", labels)
        ...     evaluate(folder, folder).global_scores()["J&F-Mean"]
        1.0
    """
    return evaluate_folders(Path(prediction), Path(truth), void=void)
