"""Scores as text for people and as files: the official evaluation's CSV, and any table as CSV and Markdown."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

from ranet_jax.evaluation.davis import GLOBAL_MEASURES, DavisScores
from ranet_jax.io.atomic import atomic_file


def format_tables(scores: DavisScores, milliseconds: Mapping[str, float] | None = None) -> str:
    """Two aligned tables: the seven numbers of the data set, and J&F, J and F of every sequence, in percent.

    Args:
        scores: What to show.
        milliseconds: Time a frame took, per sequence, in ms: one more column, "-" where a sequence has none.
            The data set's is the mean over the sequences given.

    Returns:
        The tables, without a newline at the end.
    """
    timed = milliseconds is not None
    times = milliseconds or {}
    own_times = [times[name] for name in scores.sequences if name in times]
    mean_time = sum(own_times) / len(own_times) if own_times else None
    time_header = ["ms/frame"] if timed else []

    overall = [_percent(value) for value in scores.global_scores().values()]
    rows = [[*GLOBAL_MEASURES, *time_header], overall + ([_time(mean_time)] if timed else [])]
    sequence_rows = [["sequence", "J&F", "J", "F", *time_header]]
    for name in scores.sequences:
        means = scores.of_sequence(name).global_scores()
        cells = [name, *(_percent(means[measure]) for measure in ("J&F-Mean", "J-Mean", "F-Mean"))]
        sequence_rows.append(cells + ([_time(times.get(name))] if timed else []))

    title = f"percent, mean over {len(scores.objects)} object(s) of {len(scores.sequences)} sequence(s)"
    return "\n".join([title, *_align(rows), "", *_align(sequence_rows)])


def write_csv(scores: DavisScores, folder: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes `global_results-<split>.csv` and `per-sequence_results-<split>.csv`, replacing older ones.

    The columns are the official ones, the values fractions with six decimals. A row of the second file is an
    object, named `<sequence>_<number>`, numbered from 1 within its sequence. Either both files are written or
    none; nothing ever reads them back.

    Args:
        scores: What to write.
        folder: Where; created if need be.
        split: The split's name, part of the files' names.

    Returns:
        The paths of the two files.

    Raises:
        InputError: A file cannot be written.
    """
    overall = scores.global_scores()
    global_rows = [list(overall), [f"{value:.6f}" for value in overall.values()]]
    object_rows = [["Sequence", "J-Mean", "F-Mean"]]
    for name in scores.sequences:
        for number, entry in enumerate(scores.of_sequence(name).objects, start=1):
            object_rows.append([f"{name}_{number}", f"{entry.region.mean:.6f}", f"{entry.boundary.mean:.6f}"])

    global_path = folder / f"global_results-{split}.csv"
    object_path = folder / f"per-sequence_results-{split}.csv"
    with atomic_file(global_path) as global_file, atomic_file(object_path) as object_file:
        global_file.write_text(_as_csv(global_rows), encoding="utf-8")
        object_file.write_text(_as_csv(object_rows), encoding="utf-8")
    return global_path, object_path


def write_rows(
    header: Sequence[str], rows: Sequence[Sequence[str]], stem: pathlib.Path, *, settings: str
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a table as `<stem>.csv` and `<stem>.md`, replacing older ones; either both files or none.

    Args:
        header: Names of the columns; the first is of names, the others are of numbers.
        rows: Cells, as many in each as there are columns.
        stem: Path without its suffix; the folder is created if need be.
        settings: How the numbers came about: a line above the Markdown table. CSV files have no place for it.

    Returns:
        The paths of the two files.

    Raises:
        InputError: A file cannot be written.
    """
    line = lambda cells: f"| {' | '.join(cells)} |"
    rule = line(["---", *["---:"] * (len(header) - 1)])
    csv_path, markdown_path = (stem.with_name(stem.name + suffix) for suffix in (".csv", ".md"))
    with atomic_file(csv_path) as csv_file, atomic_file(markdown_path) as markdown_file:
        csv_file.write_text(_as_csv([header, *rows]), encoding="utf-8")
        text = "\n".join([settings, "", line(header), rule, *map(line, rows)])
        markdown_file.write_text(text + "\n", encoding="utf-8")
    return csv_path, markdown_path


def _as_csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _time(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f}"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two blanks apart: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_name = [rows[0][index] == "sequence" for index in range(len(widths))]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if name else cell.rjust(width)
            for cell, width, name in zip(row, widths, is_name, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return lines
