"""Results to take away, written into the project's folder `exports` and downloaded from there."""

import fractions
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image as Picture

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file
from ranet_jax.io.masks import DAVIS_PALETTE
from ranet_jax.io.overlay import draw_overlay
from ranet_jax.studio.project import Labels, Project, ids_of

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
    with atomic_file(path) as temporary:
        write(project, temporary, range(start, end + 1), report)
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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for done, index in enumerate(span, start=1):
            if project.has_labels(index):
                image = Picture.fromarray(project.labels(index))
                image.putpalette(DAVIS_PALETTE.tobytes())
                with archive.open(f"{project.frames.names[index]}.png", "w") as file:
                    image.save(file, format="PNG")
            report(done, len(span))


def _overlay(project: Project, path: Path, span: range, report: Report) -> None:
    """H.264 in MP4, which every browser plays."""
    _video(project, path, span, report, "libx264", {"crf": "18", "preset": "veryfast"}, {"movflags": "+faststart"})


def _webm(project: Project, path: Path, span: range, report: Report) -> None:
    options = {"crf": "28", "b:v": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
    _video(project, path, span, report, "libvpx-vp9", options, {})


def _video(
    project: Project,
    path: Path,
    span: range,
    report: Report,
    codec: str,
    options: dict[str, str],
    container_options: dict[str, str],
) -> None:
    height, width = project.frames.size
    rate = fractions.Fraction(project.frames.frames_per_second).limit_denominator(1001)
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        # Both codecs halve the resolution of colours: odd sizes get their last row or column twice.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for done, image in enumerate(_drawn(project, span), start=1):
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            picture = av.VideoFrame.from_ndarray(np.asarray(padded, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
            report(done, len(span))
        container.mux(stream.encode(None))


def _gif(project: Project, path: Path, span: range, report: Report) -> None:
    step = max(1, round(project.frames.frames_per_second / GIF_FRAMES_PER_SECOND))
    scale = min(1.0, GIF_LONGEST / max(project.frames.size))
    size = tuple(max(1, round(side * scale)) for side in reversed(project.frames.size))

    def pictures() -> Iterator[Picture.Image]:
        for done, image in enumerate(_drawn(project, span), start=1):
            report(done, len(span))
            if (done - 1) % step == 0:
                yield Picture.fromarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)).quantize(128)

    frames = pictures()
    milliseconds = round(1000 * step / project.frames.frames_per_second)
    next(frames).save(path, "GIF", save_all=True, append_images=frames, duration=milliseconds, loop=0)


def _coco(project: Project, path: Path, span: range, report: Report) -> None:
    """Images, categories (one an object) and run-length masks in the form of COCO's instances files."""
    height, width = project.frames.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for done, index in enumerate(span, start=1):
        name = project.frames.names[index]
        images.append({"id": index, "file_name": f"{name}.jpg", "width": width, "height": height})
        if project.has_labels(index):
            labels = project.labels(index)
            for id in ids_of(labels):
                annotations.append({"id": len(annotations) + 1, "image_id": index, **coco_annotation(labels, id)})
        report(done, len(span))
    categories = [{"id": entry.id, "name": entry.name, "supercategory": "object"} for entry in project.objects]
    content = {
        "info": {"description": f"{project.name}: masks of ranet-jax"},
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def coco_annotation(labels: Labels, id: int) -> dict[str, Any]:
    """One object of a label map: category, compressed run lengths, area and box (left, top, width, height)."""
    mask = labels == id
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "category_id": id,
        "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 0,
    }


def run_lengths(mask: np.ndarray) -> str:
    """COCO's compressed run lengths of a bool (height, width) mask.

    Runs go down the columns and start with the background. From the fourth on, a length is stored as its difference
    to the one two before; each number in groups of five bits, the lowest first, a sixth bit saying that more follow,
    as letters from "0" on.
    """
    flat = np.asarray(mask, np.uint8).reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=np.uint8(0), append=np.uint8(2)))
    counts = np.diff(edges, prepend=0).tolist()
    letters = []
    for position, count in enumerate(counts):
        number = count - counts[position - 2] if position > 2 else count
        while True:
            group, number = number & 0x1F, number >> 5
            more = number != (-1 if group & 0x10 else 0)
            letters.append(chr(48 + group + 32 * more))
            if not more:
                break
    return "".join(letters)


def _project(project: Project, path: Path, span: range, report: Report) -> None:
    """The folder, without what can be made again."""
    files = [project.folder / name for name in OWN_FILES]
    for folder in OWN_FOLDERS:
        files += sorted(file for file in (project.folder / folder).glob("*") if not file.name.startswith("."))
    files = [file for file in files if file.is_file()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for done, file in enumerate(files, start=1):
            archive.write(file, file.relative_to(project.folder.parent))
            report(done, len(files))


def _drawn(project: Project, span: range) -> Iterator[np.ndarray]:
    """Frames with the objects that are not hidden, in the colours of the page."""
    palette = np.zeros((256, 3), np.uint8)
    shown = [entry for entry in project.objects if not entry.hidden]
    for entry in shown:
        palette[entry.id] = tuple(bytes.fromhex(entry.colour[1:]))
    visible = np.zeros(256, np.uint8)
    for entry in shown:
        visible[entry.id] = entry.id
    for index, frame in zip(span, project.frames.run(span.start, span.stop), strict=True):
        yield draw_overlay(frame.image, visible[project.labels(index)], palette=palette)


KINDS: dict[str, tuple[str, Callable[[Project, Path, range, Report], None]]] = {
    "masks": ("masks.zip", _masks),
    "overlay": ("overlay.mp4", _overlay),
    "coco": ("coco.json", _coco),
    "gif": ("span.gif", _gif),
    "webm": ("span.webm", _webm),
    "project": ("project.zip", _project),
}
"""By kind the name of the file and what writes it."""
