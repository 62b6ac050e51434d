"""Draws training curves: `python -m eval.curves lite=runs/lite resnet101=runs/resnet101 --out curves.svg`.

Every run is a column: its loss and its IoU on training samples, by step, from the run's `metrics.jsonl`.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from eval.figures import require_format, save_figure
from ranet_jax.cli import Parser, run
from ranet_jax.errors import InputError

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
    require_format(target)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.curves", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="a run's folder, and what to call it")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the picture to write, .png or .svg")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _draw(options), debug=options.debug)


def _draw(options: argparse.Namespace) -> None:
    runs = {}
    for entry in options.runs:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise InputError(f"{entry}: give NAME=FOLDER, such as lite=runs/lite")
        runs[name] = pathlib.Path(folder)
    draw_curves(runs, options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(main())
