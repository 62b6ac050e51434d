"""What is known of every frame of a project, kept as a file of lines that only grows while work goes on.

A line is written after the mask it speaks of, so that a process that is killed leaves at most a last line cut short,
which is left out when the file is read. Opening a project for writing rewrites the file with one line a frame.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ranet_jax.io.atomic import atomic_file


@dataclasses.dataclass
class FrameRecord:
    """What is known of one frame.

    Attributes:
        direction: "forward" or "backward" as it was tracked; "" where it was not.
        stale: tracked, and a mask that it depends on was changed since.
        absent: ids that the user said are not in this frame.
        areas: pixels of every object, by id.
        scores: how sure the tracker was of every object's pixels, 0 to 1, by id.
    """

    direction: str = ""
    stale: bool = False
    absent: list[int] = dataclasses.field(default_factory=list)
    areas: dict[int, int] = dataclasses.field(default_factory=dict)
    scores: dict[int, float] = dataclasses.field(default_factory=dict)


class Journal:
    """The records of all frames, and the file they come from."""

    def __init__(self, path: Path, frames: int):
        """Reads the file; without one, nothing is known of any frame."""
        self.records = [FrameRecord() for _ in range(frames)]
        self._path = path
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                self._apply(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, IndexError):
                continue  # damaged, or cut short by the end of the process that wrote it

    def update(self, index: int, **values: Any) -> None:
        """Changes fields of a frame's record, on disk and here."""
        self._append({"frame": index, **values})

    def mark_stale(self, indices: Iterable[int]) -> None:
        """Marks frames as stale; those that are already are left out."""
        fresh = [index for index in indices if not self.records[index].stale]
        if fresh:
            self._append({"stale": fresh})

    def compact(self) -> None:
        """Rewrites the file with one line a frame."""
        lines = []
        for index, record in enumerate(self.records):
            if record != FrameRecord():
                lines.append(json.dumps({"frame": index, **dataclasses.asdict(record)}))
        with atomic_file(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        if "stale" in entry and "frame" not in entry:
            for index in entry["stale"]:
                self.records[index].stale = True
            return
        if entry["frame"] < 0:
            raise IndexError("frames are counted from 0")
        record = self.records[entry["frame"]]
        values: dict[str, Any] = {}
        values |= {field: entry[field] for field in ("direction", "stale", "absent") if field in entry}
        if "areas" in entry:
            values["areas"] = {int(key): int(value) for key, value in entry["areas"].items()}
        if "scores" in entry:
            values["scores"] = {int(key): float(value) for key, value in entry["scores"].items()}
        if values.get("direction", "") not in ("", "forward", "backward"):
            raise ValueError("a direction is forward or backward")
        values["stale"] = bool(values.get("stale", record.stale))
        values["absent"] = [int(value) for value in values.get("absent", record.absent)]
        for field, value in values.items():  # all of a line, or nothing of it
            setattr(record, field, value)
