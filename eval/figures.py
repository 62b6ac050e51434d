"""What all programs that draw share: Matplotlib, imported when something is drawn, and whole files."""

import pathlib
from collections.abc import Callable
from typing import Any

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file

FORMATS = (".png", ".svg")


def require_format(target: pathlib.Path) -> None:
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
    require_format(target)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("Matplotlib draws pictures and is not installed: pip install -e '.[train]'") from error
    figure = Figure(figsize=size, layout="constrained", dpi=100)
    fill(figure)
    # Without a date and with names that are not random the same figure makes the same file.
    with matplotlib.rc_context({"svg.hashsalt": "ranet-jax"}), atomic_file(target) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if target.suffix == ".svg" else None)
