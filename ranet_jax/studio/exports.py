"""Results to take away, written into the project's folder `exports` and downloaded from there."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.exports import CocoWriter
from ranet_jax.io.frames import Frame
from ranet_jax.io.masks import encode_label_map
from ranet_jax.io.overlay import OverlayWriter, draw_overlay
from ranet_jax.studio.project import Project

GIF_LONGEST = 480
GIF_FRAMES_PER_SECOND = 12.5
OWN_FILES = ("project.json", "frames.jsonl")
OWN_FOLDERS = ("given", "masks", "media")

Report = Callable[[int, int], object]


def export(project: Project, kind: str, start: int, end: int, report: Report = lambda done, total: None) -> Path:
    """Writes one export.

    Args:
        project: what to export.
        kind: a key of `KINDS`.
        start: first frame.
        end: last one, inclusive.
        report: called with frames done and their number.

    Returns:
        The file.

    Raises:
        InputError: there is no such kind, nothing to export, or the file cannot be written.
    """
    if kind not in KINDS:
        raise InputError(f"there is no export {kind!r}: choose one of {', '.join(KINDS)}")
    if start > end:
        raise InputError("the span ends before it starts: choose another")
    name, write = KINDS[kind]
    if kind != "project" and not any(project.has_labels(index) for index in range(start, end + 1)):
        raise InputError("no frame of the span has a mask yet: mark an object and track it first")
    path = project.folder / "exports" / name
    write(project, path, range(start, end + 1), report)
    return path


def exported_file(project: Project, name: str) -> Path:
    """An export that was written.

    Raises:
        InputError: there is none of that name.
    """
    if name not in {file for file, _ in KINDS.values()}:
        raise InputError("there is no such export")
    path = project.folder / "exports" / name
    if not path.is_file():
        raise InputError("this was not exported yet: export it first")
    return path


def _masks(project: Project, path: Path, span: range, report: Report) -> None:
    """Palette PNGs, as `ranet-jax segment` writes them, of the frames that have a mask."""
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for done, index in enumerate(span, start=1):
            if project.has_labels(index):
                archive.writestr(f"{project.frames.names[index]}.png", encode_label_map(project.labels(index)))
            report(done, len(span))


def _video(project: Project, path: Path, span: range, report: Report) -> None:
    """The frames with the objects drawn in, as the suffix says: H.264 in .mp4, or VP9 in .webm."""
    frames = project.frames
    with OverlayWriter(path, frames.size, frames.frames_per_second) as writer:
        for done, (frame, drawn) in enumerate(_drawn(project, span), start=1):
            writer.write(drawn, frame.seconds)
            report(done, len(span))


def _gif(project: Project, path: Path, span: range, report: Report) -> None:
    """The same as a GIF: smaller, and with no more frames than a GIF shows well."""
    frames = project.frames
    step = max(1, round(frames.frames_per_second / GIF_FRAMES_PER_SECOND))
    scale = min(1.0, GIF_LONGEST / max(frames.size))
    height, width = (max(1, round(side * scale)) for side in frames.size)
    with OverlayWriter(path, (height, width), frames.frames_per_second / step) as writer:
        for done, (frame, drawn) in enumerate(_drawn(project, span), start=1):
            if (done - 1) % step == 0:
                small = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
                writer.write(np.asarray(small, np.uint8), frame.seconds)
            report(done, len(span))


def _coco(project: Project, path: Path, span: range, report: Report) -> None:
    height, width = project.frames.size
    blank = np.zeros((height, width, 3), np.uint8)
    with CocoWriter(path) as write:
        for done, index in enumerate(span, start=1):
            write(Frame(project.frames.names[index], blank), project.labels(index))
            report(done, len(span))


def _project(project: Project, path: Path, span: range, report: Report) -> None:
    """The folder, without what can be made again."""
    files = [project.folder / name for name in OWN_FILES]
    for folder in OWN_FOLDERS:
        files += sorted(file for file in (project.folder / folder).glob("*") if not file.name.startswith("."))
    files = [file for file in files if file.is_file()]
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for done, file in enumerate(files, start=1):
            archive.write(file, file.relative_to(project.folder.parent))
            report(done, len(files))


def _drawn(project: Project, span: range) -> Iterator[tuple[Frame, np.ndarray]]:
    """Frames with the objects that are not hidden, in the colours of the page."""
    palette = np.zeros((256, 3), np.uint8)
    visible = np.zeros(256, np.uint8)
    for entry in project.objects:
        if not entry.hidden:
            palette[entry.id] = tuple(bytes.fromhex(entry.colour[1:]))
            visible[entry.id] = entry.id
    for index, frame in zip(span, project.frames.run(span.start, span.stop), strict=True):
        yield frame, draw_overlay(frame.image, visible[project.labels(index)], palette=palette)


KINDS: dict[str, tuple[str, Callable[[Project, Path, range, Report], None]]] = {
    "masks": ("masks.zip", _masks),
    "overlay": ("overlay.mp4", _video),
    "coco": ("coco.json", _coco),
    "gif": ("span.gif", _gif),
    "webm": ("span.webm", _video),
    "project": ("project.zip", _project),
}
"""By kind the name of the file and what writes it."""
