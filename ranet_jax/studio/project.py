"""A project is a folder: what the user gave, what was tracked, and nothing that cannot be read back from it.

    DIR/project.json      the video, the objects, the network
    DIR/given/NAME.png    masks that the user gave: palette PNGs, only of the objects that were marked in that frame
    DIR/masks/NAME.png    results, as `ranet-jax segment` writes them
    DIR/frames.jsonl      which frames are tracked or stale, areas and scores (`ranet_jax.studio.journal`)
    DIR/media, cache, exports   an uploaded video; small pictures for scrubbing; files to take away

Every file appears complete or not at all, and a change marks what depends on it as stale before it is made.
"""

import dataclasses
import re
import threading
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import make_folder
from ranet_jax.studio.description import (
    COLOURS,
    FORMAT,
    MOST_OBJECTS,
    Labels,
    StudioObject,
    areas_of,
    checked_name,
    ids_of,
    objects_of,
    read_description,
    write_description,
)
from ranet_jax.studio.frames import FrameStore
from ranet_jax.studio.journal import FrameRecord, Journal
from ranet_jax.studio.mask_files import MaskFiles


class Project:
    """An open project. Safe to use from several threads.

    Attributes:
        folder: where it is.
        frames: of its video.
        objects: in the order of the list on the page.
        checkpoint: name or folder of the network; None for the shipped one.
        writable: whether this process may change it; another one that has it open keeps it.
    """

    def __init__(self, folder: str | Path):
        """Opens a project.

        Raises:
            InputError: the folder holds no project, a damaged one, or its video is gone or damaged.
        """
        self.folder = Path(folder).absolute()
        description = read_description(self.folder)
        self.name = str(description["name"])
        self.checkpoint: str | None = description["checkpoint"]
        self.objects = objects_of(description)
        self._source = str(description["source"])
        self.frames = FrameStore(self.folder / self._source)
        if len(self.frames) != description["frames"] or list(self.frames.size) != description["size"]:
            raise InputError(
                f"{self.folder / self._source} is not the video this project was made with: put the old one back,"
                " or choose another --out"
            )
        self._masks = MaskFiles(self.folder, self.frames.names, self.frames.size)
        self._lock = threading.RLock()
        self._owner = filelock.FileLock(self.folder / ".lock", blocking=False)
        try:
            self._owner.acquire()
            self.writable = True
        except filelock.Timeout:
            self.writable = False
        self._journal = Journal(self.folder / "frames.jsonl", len(self.frames))
        if self.writable:
            self._journal.compact()

    @classmethod
    def create(cls, folder: str | Path, source: str | Path, *, checkpoint: str | None = None) -> "Project":
        """Makes a project and opens it.

        Args:
            folder: where; new or empty, but for a folder `media` that holds the video.
            source: a video file or a folder of frames; it is not copied.
            checkpoint: see the class.

        Raises:
            InputError: the folder holds something else, or the source cannot be decoded.
        """
        folder = Path(folder).absolute()
        if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {"media"}):
            raise InputError(f"{folder} exists and is no project: give another --out")
        frames = FrameStore(source)
        path = Path(source).absolute()
        inside = path.is_relative_to(folder)
        description = {
            "format": FORMAT,
            "name": folder.name,
            "source": str(path.relative_to(folder)) if inside else str(path),
            "frames": len(frames),
            "size": list(frames.size),
            "checkpoint": checkpoint,
            "objects": [],
        }
        make_folder(folder)
        write_description(folder, description)
        return cls(folder)

    def close(self) -> None:
        """Lets other processes write to it."""
        self._owner.release()

    # Masks

    @property
    def given(self) -> list[int]:
        """Numbers of the frames that have a mask of the user's, ascending."""
        with self._lock:
            return self._masks.given()

    def given_labels(self, index: int) -> Labels:
        """The user's mask of a frame, which holds only the objects marked there; zeros without one."""
        return self._masks.read("given", index)

    def absent(self, index: int) -> list[int]:
        """Ids of the objects that the user says are not in a frame."""
        return list(self._journal.records[index].absent)

    def result_path(self, index: int) -> Path:
        """Where the result of a frame is, or will be."""
        return self._masks.path("masks", index)

    def labels(self, index: int) -> Labels:
        """What a frame shows: the result, and in its place what the user gave of any object.

        Returns:
            uint8 (height, width), a copy.
        """
        with self._lock:
            labels = self._masks.read("masks", index)
            given = self.given_labels(index)
            known = [*ids_of(given), *self.absent(index)]
            if known:
                labels[np.isin(labels, np.array(known, np.uint8))] = 0
                labels = np.where(given > 0, given, labels)
            return labels

    def save_labels(self, index: int, labels: Labels) -> None:
        """Takes what the user made of a frame: the objects that changed become the user's there.

        Args:
            index: of the frame.
            labels: of all objects, as `labels` returns them and the user changed them.

        Raises:
            InputError: it has another size than the frames, or an id that no object has.
        """
        with self._lock:
            self.require_writable()
            self._check(labels)
            before = self.labels(index)
            known = {*ids_of(self.given_labels(index)), *self.absent(index)}
            changed = before != labels
            known |= {*ids_of(before[changed]), *ids_of(labels[changed])}
            if not self._masks.exists("masks", index):
                known |= set(ids_of(labels))
            present = known & set(ids_of(labels))
            given = np.where(np.isin(labels, np.array(sorted(present), np.uint8)), labels, 0).astype(np.uint8)
            self._journal.mark_stale(self._dependents(index))
            self._masks.write("given", index, given)
            self._journal.update(index, absent=sorted(known - present), areas=areas_of(labels))

    def forget_given(self, index: int) -> None:
        """Takes the user's mask of a frame away; what was tracked there shows again."""
        with self._lock:
            self.require_writable()
            self._journal.mark_stale(self._dependents(index))
            self._masks.write("given", index, np.zeros(self.frames.size, np.uint8))
            self._journal.update(index, absent=[])
            self._journal.update(index, areas=areas_of(self.labels(index)))

    def record_result(
        self, index: int, labels: Labels, tracked: set[int], direction: str, scores: dict[int, float]
    ) -> Labels:
        """Writes a frame's result.

        Args:
            index: of the frame.
            labels: as tracked.
            tracked: ids of the objects that this pass over the video tracks; other objects' results stay.
            direction: "forward" or "backward".
            scores: see `FrameRecord`.

        Returns:
            What was written.
        """
        with self._lock:
            others = {entry.id for entry in self.objects} - tracked
            if others and self._masks.exists("masks", index):
                kept = self._masks.read("masks", index)
                kept[~np.isin(kept, np.array(sorted(others), np.uint8))] = 0
                labels = np.where(labels > 0, labels, kept)
            self._masks.write("masks", index, labels)
            self._journal.update(index, direction=direction, stale=False, areas=areas_of(labels), scores=scores)
            return labels

    def is_current(self, index: int) -> bool:
        """Whether a frame is tracked and nothing that it depends on changed since."""
        record = self._journal.records[index]
        return bool(record.direction) and not record.stale and self._masks.exists("masks", index)

    def record(self, index: int) -> FrameRecord:
        """What is known of a frame."""
        return self._journal.records[index]

    def has_labels(self, index: int) -> bool:
        """Whether a frame has a mask of any kind."""
        return self._masks.exists("masks", index) or self._masks.exists("given", index)

    # Objects

    def add_object(self, *, id: int | None = None, name: str | None = None) -> StudioObject:
        """Adds an object, with the lowest free id unless one is asked for.

        Raises:
            InputError: there are 16 already, or the id is taken or not from 1 to 254.
        """
        with self._lock:
            self.require_writable()
            taken = {entry.id for entry in self.objects}
            if len(self.objects) >= MOST_OBJECTS:
                raise InputError(f"a project has at most {MOST_OBJECTS} objects: delete one first")
            new = next(value for value in range(1, 255) if value not in taken) if id is None else id
            if new in taken or not 1 <= new <= 254:
                raise InputError(f"the id {new} is taken or not from 1 to 254: choose another")
            used = {entry.colour for entry in self.objects}
            free = [colour for colour in COLOURS if colour not in used]
            entry = StudioObject(new, checked_name(name or f"Object {new}"), (free or COLOURS)[0])
            self.objects.append(entry)
            self._save()
            return entry

    def change_object(self, id: int, /, **values: Any) -> StudioObject:
        """Changes name, colour, hidden or locked.

        Raises:
            InputError: there is no such object, or a value cannot be used.
        """
        with self._lock:
            self.require_writable()
            entry = self._object(id)
            if set(values) - {"name", "colour", "hidden", "locked"}:
                raise InputError("only name, colour, hidden and locked of an object can be changed")
            if "name" in values:
                values["name"] = checked_name(values["name"])
            if "colour" in values and not re.fullmatch("#[0-9a-f]{6}", str(values["colour"])):
                raise InputError("a colour is given as #rrggbb, in small letters")
            for flag in {"hidden", "locked"} & set(values):
                values[flag] = bool(values[flag])
            for field, value in values.items():
                setattr(entry, field, value)
            self._save()
            return entry

    def delete_object(self, id: int) -> None:
        """Deletes an object with all its masks, the user's and the results."""
        with self._lock:
            self.require_writable()
            entry = self._object(id)
            given = [index for index in self.given if id in ids_of(self.given_labels(index))]
            for index in range(len(self.frames)):
                self._masks.erase(index, id)
                record = self._journal.records[index]
                if id in record.areas or id in record.absent:
                    absent = [value for value in record.absent if value != id]
                    areas = {key: value for key, value in record.areas.items() if key != id}
                    scores = {key: value for key, value in record.scores.items() if key != id}
                    self._journal.update(index, absent=absent, areas=areas, scores=scores)
            for index in given:
                self._journal.mark_stale(self._dependents(index))
            self.objects.remove(entry)
            self._save()

    def adopt_mask(self, index: int, labels: Labels) -> None:
        """Takes a mask from a file as the user's: ids that no object has become objects.

        Raises:
            InputError: see `save_labels` and `add_object`; nothing has changed then.
        """
        with self._lock:
            self.require_writable()
            self._check(labels, any_id=True)
            labels = np.where(labels == 255, 0, labels).astype(np.uint8)
            ids = ids_of(labels)
            taken = {entry.id for entry in self.objects}
            if not ids:
                raise InputError("the mask is empty: mark at least one object with a value other than 0")
            if len(taken | set(ids)) > MOST_OBJECTS:
                raise InputError(f"the mask has too many objects: a project has at most {MOST_OBJECTS}")
            for id in ids:
                if id not in taken:
                    self.add_object(id=id)
            shown = self.labels(index)
            shown[np.isin(shown, np.array(ids, np.uint8))] = 0
            self.save_labels(index, np.where(labels > 0, labels, shown).astype(np.uint8))

    # For the page

    def state(self) -> dict[str, Any]:
        """Everything the page draws, as JSON."""
        with self._lock:
            if not self.writable:  # the process that writes goes on
                self._journal = Journal(self.folder / "frames.jsonl", len(self.frames))
                self.objects = objects_of(read_description(self.folder))
            height, width = self.frames.size
            return {
                "name": self.name,
                "folder": str(self.folder),
                "frames": len(self.frames),
                "names": self.frames.names,
                "width": width,
                "height": height,
                "framesPerSecond": self.frames.frames_per_second,
                "writable": self.writable,
                "objects": [dataclasses.asdict(entry) for entry in self.objects],
                "given": self._marked(),
                "records": [self.record_for_page(index) for index in range(len(self.frames))],
            }

    def marks(self, index: int) -> dict[str, Any]:
        """What of `state` a change of the user's mask of one frame changes."""
        with self._lock:
            records = self._journal.records
            return {
                "given": self._marked(),
                "stale": [number for number, record in enumerate(records) if record.stale and record.direction],
                "index": index,
                "record": self.record_for_page(index),
            }

    def _marked(self) -> list[int]:
        """Frames that the user said something about."""
        return sorted({*self.given, *(index for index, record in enumerate(self._journal.records) if record.absent)})

    def record_for_page(self, index: int) -> dict[str, Any]:
        """One frame's part of `state`."""
        record = self._journal.records[index]
        tracked = bool(record.direction)
        return {"tracked": tracked, "stale": record.stale and tracked, "areas": record.areas, "scores": record.scores}

    def _dependents(self, index: int) -> list[int]:
        """Tracked frames whose result depends on what is given at a frame."""
        records = self._journal.records
        after = [i for i in range(index + 1, len(records)) if records[i].direction == "forward"]
        return [i for i in range(index) if records[i].direction == "backward"] + after

    def _check(self, labels: Labels, *, any_id: bool = False) -> None:
        if labels.shape != self.frames.size:
            (height, width), (mask_height, mask_width) = self.frames.size, labels.shape
            raise InputError(
                f"the mask is {mask_width}x{mask_height} and the video {width}x{height}: give one of the same size"
            )
        unknown = set(ids_of(labels)) - {entry.id for entry in self.objects}
        if unknown and not any_id:
            raise InputError(f"no object has the id {min(unknown)}: add the object first")

    def _object(self, id: int) -> StudioObject:
        for entry in self.objects:
            if entry.id == id:
                return entry
        raise InputError(f"there is no object {id}: reload the page")

    def require_writable(self) -> None:
        """Raises an `InputError` where another process keeps this project."""
        if not self.writable:
            raise InputError("another ranet-jax studio has this project open: close it there first")

    def _save(self) -> None:
        description = read_description(self.folder)
        description["objects"] = [dataclasses.asdict(entry) for entry in self.objects]
        write_description(self.folder, description)
