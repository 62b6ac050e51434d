"""Training curves: every run a column, its loss and its IoU on training samples by step, from `metrics.jsonl`.

Matplotlib is imported when something is drawn.
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file

FORMATS = (".png", ".svg")
"""Suffixes of the pictures that can be written."""
MEASURES = {"loss": "loss", "iou": "IoU"}
"""What is drawn, by its name in `metrics.jsonl`, and what it is called."""


def read_metrics(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of every report, for each of `MEASURES`.

    Args:
        folder: of a run: `metrics.jsonl` has one JSON object a line; those of evaluations are passed over.

    Raises:
        InputError: the file is missing, or damaged, or holds no report.
    """
    path = folder / "metrics.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        values = {name: [(int(line["step"]), float(line[name])) for line in lines if name in line] for name in MEASURES}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder of a training run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({type(error).__name__}); give the folder of a training run") from error
    for name, points in values.items():
        if not points:
            raise InputError(f"{path}: reports no {name} yet")
    return values


def draw_curves(runs: Mapping[str, pathlib.Path], target: pathlib.Path) -> None:
    """Draws the curves of runs into a picture.

    Args:
        runs: folder of every run by the name it is shown under.
        target: a .png or .svg file; it appears whole, or replaces an older one.

    Raises:
        InputError: a run cannot be read, the picture cannot be written, or Matplotlib is not installed.
    """
    _require_format(target)
    measured = {name: read_metrics(folder) for name, folder in runs.items()}
    save_figure(target, (4.0 * len(measured), 4.5), lambda figure: _fill(figure, measured))


def _fill(figure: Any, measured: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> None:
    axes = figure.subplots(len(MEASURES), len(measured), sharex="col", squeeze=False)
    for column, (name, values) in enumerate(measured.items()):
        for row, (measure, label) in enumerate(MEASURES.items()):
            panel = axes[row][column]
            panel.plot(*zip(*values[measure], strict=True), color=f"C{row}")
            panel.set_ylim(bottom=0.0, top=1.0 if measure == "iou" else None)
            panel.grid(alpha=0.3)
            panel.set_ylabel(label)
        axes[0][column].set_title(name)
        axes[-1][column].set_xlabel("step")


def _require_format(target: pathlib.Path) -> None:
    """Raises InputError unless the file's suffix is one of `FORMATS`: before anything is computed for it."""
    if target.suffix not in FORMATS:
        raise InputError(f"{target}: no such kind of picture here; choose {' or '.join(FORMATS)}")


def save_figure(target: pathlib.Path, size: tuple[float, float], fill: Callable[[Any], None]) -> None:
    """Writes a picture.

    Args:
        target: a .png or .svg file; it appears whole, or replaces an older one.
        size: width and height in inches, of 100 pixels each.
        fill: draws into a Matplotlib figure.

    Raises:
        InputError: the picture is of another kind or cannot be written, or Matplotlib is not installed.
    """
    _require_format(target)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("Matplotlib draws pictures and is not installed: pip install 'ranet-jax[train]'") from error
    figure = Figure(figsize=size, layout="constrained", dpi=100)
    fill(figure)
    # Without a date and with names that are not random the same figure makes the same file.
    with matplotlib.rc_context({"svg.hashsalt": "ranet-jax"}), atomic_file(target) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if target.suffix == ".svg" else None)
