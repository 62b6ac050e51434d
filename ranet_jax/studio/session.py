"""What the server is doing: the open project, its tracker, and the pass that runs. Knows nothing of HTTP."""

import concurrent.futures
import contextlib
import secrets
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.studio import exports, inspection
from ranet_jax.studio.description import Labels
from ranet_jax.studio.library import Library
from ranet_jax.studio.pages import Pages
from ranet_jax.studio.pictures import Pictures
from ranet_jax.studio.project import Project

if TYPE_CHECKING:  # JAX is imported in a thread, after the page is there
    from ranet_jax.clicks.features import Encoder
    from ranet_jax.studio.engine import Engine, Plan, Progress

COMPRESSION = 1
"""Label maps on the way to the page: fast rather than small."""


class Session:
    """The state of the server, shared by all pages.

    Attributes:
        library: recently used projects.
        pages: those open now.
    """

    def __init__(self, library: Library, pages: Pages, *, checkpoint: str | None = None):
        """Nothing is open.

        Args:
            library: see the class.
            pages: see the class.
            checkpoint: of new projects: embedded name or folder; None for the shipped one.
        """
        self.library, self.pages = library, pages
        self._checkpoint = checkpoint
        self._project: Project | None = None
        self._pictures: Pictures | None = None
        self._network: concurrent.futures.Future[tuple[Engine, Encoder]] | None = None
        self._loader = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="studio-network")
        self._tracking: threading.Thread | None = None
        self._stopped = False
        self._lock = threading.RLock()

    # Projects

    @property
    def project(self) -> Project:
        """The open one.

        Raises:
            InputError: none is open.
        """
        if self._project is None:
            raise InputError("no video is open: open one first")
        return self._project

    @property
    def pictures(self) -> Pictures:
        """Of the open project.

        Raises:
            InputError: none is open.
        """
        if self._pictures is None:
            raise InputError("no video is open: open one first")
        return self._pictures

    def open(self, project: Project) -> None:
        """Opens a project in place of the one that is open."""
        with self._lock:
            if self._project is not None and self._project.folder != project.folder:
                self.close()
            self._project = project
            self._pictures = Pictures(project.frames, project.folder / "cache")
            self._network = self._loader.submit(_load_network, project.checkpoint, project.frames.size)
            self._network.add_done_callback(self._network_loaded)
            self.library.remember(project.folder)
        self.pages.publish({"type": "changed"})

    def open_recent(self, number: int) -> None:
        """Opens a project of the library's list.

        Raises:
            InputError: there is no such project any more, or it cannot be opened.
        """
        recent = self.library.recent()
        if not 0 <= number < len(recent):
            raise InputError("this project is gone: choose another, or open its video anew")
        if self._project is not None and recent[number] == self._project.folder:
            return
        self.open(Project(recent[number]))

    def close(self) -> None:
        """Stops what runs and closes the project."""
        with self._lock:
            self.stop()
            if self._pictures is not None:
                self._pictures.close()
            if self._project is not None:
                self._project.close()
            self._project = self._pictures = self._network = None

    def adopt_video(self, path: Path, file_name: str) -> None:
        """Makes a project of an uploaded video and opens it.

        Args:
            path: of the file as it was received; it is moved into the project.
            file_name: what it is called on the user's side.

        Raises:
            InputError: the file cannot be used; nothing has changed then.
        """
        inspection.inspect_video(path)
        folder = self.library.new_folder(file_name)
        suffix = Path(file_name).suffix.lower()
        media = folder / "media" / f"video{suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ''}"
        try:
            media.parent.mkdir()
            path.rename(media)
            project = Project.create(folder, media, checkpoint=self._checkpoint)
        except BaseException:
            media.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                media.parent.rmdir()
                folder.rmdir()
            raise
        self.open(project)

    def adopt_mask(self, path: Path, index: int) -> None:
        """Takes an uploaded mask as the user's mask of a frame.

        Raises:
            InputError: the file cannot be used, or does not fit; nothing has changed then.
        """
        labels = inspection.inspect_mask(path)
        self.stop()
        self.project.adopt_mask(index, labels)
        self.pages.publish({"type": "changed"})

    def create(self, folder: Path, source: Path) -> Project:
        """Makes a project with this session's network; it is not opened."""
        return Project.create(folder, source, checkpoint=self._checkpoint)

    # Masks

    def packed_labels(self, index: int) -> bytes:
        """What a frame shows, as `pack_labels` does."""
        return pack_labels(self.project.labels(index))

    def save_labels(self, index: int, packed: bytes) -> None:
        """Takes a frame's mask from the page; a pass that runs is stopped, as it does not know of it.

        Raises:
            InputError: see `Project.save_labels` and `unpack_labels`.
        """
        labels = unpack_labels(packed, self.project.frames.size)
        self.stop()
        self.project.save_labels(index, labels)

    def forget_given(self, index: int) -> None:
        """Takes the user's mask of a frame away; a pass that runs is stopped."""
        self.stop()
        self.project.forget_given(index)

    def delete_object(self, id: int) -> None:
        """Deletes an object with its masks; a pass that runs is stopped."""
        self.stop()
        self.project.delete_object(id)

    def click(self, index: int, id: int, positives: list[Any], negatives: list[Any], box: Any, trusted: bool) -> bytes:
        """An object's mask from clicks, packed like a label map, 1 inside.

        Args:
            index: of the frame.
            id: of the object.
            positives: points (x, y) in pixels on it.
            negatives: points that are not.
            box: (left, top, right, bottom) around it, or None.
            trusted: whether it had a mask before the first of these clicks.

        Raises:
            InputError: a point lies outside the frame, or there is neither a positive one nor a box.
        """
        from ranet_jax.clicks.clicks import click_mask

        project = self.project
        _, encoder = self._loaded()
        image = project.frames.image(index)
        labels = project.labels(index)
        locked = {entry.id for entry in project.objects if entry.id != id}
        others = np.isin(labels, np.array(sorted(locked), np.uint8))
        features = encoder.encode((str(project.folder), index), image)
        previous = labels == id
        mask = click_mask(features, positives, negatives, box=box, others=others, previous=previous, trusted=trusted)
        return pack_labels(mask.astype(np.uint8))

    def encode(self, index: int) -> None:
        """Encodes a frame, so that the first click on it is answered at once."""
        _, encoder = self._loaded()
        encoder.encode((str(self.project.folder), index), self.project.frames.image(index))

    def export(self, kind: str, start: int, end: int) -> Path:
        """Writes an export, telling the pages how far it is; see `ranet_jax.studio.exports.export`."""

        def report(done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                self.pages.publish({"type": "exporting", "done": done, "total": total})

        return exports.export(self.project, kind, start, end, report)

    # Tracking

    def track(self, direction: str, start: int, end: int) -> None:
        """Starts a pass, or two for direction "both" (forward to the end, then backward to the first frame).

        Args:
            direction: "forward", "backward" or "both".
            start: first frame.
            end: last one, inclusive; for "both" the number of frames each way from `start`, as a distance.

        Raises:
            InputError: a pass runs, or nothing is marked that could be tracked.
        """
        from ranet_jax.studio.engine import plan_pass

        project = self.project
        project.require_writable()
        last, given = len(project.frames) - 1, project.given
        if direction == "both":
            passes = [plan_pass(given, "forward", start, min(last, start + end))]
            if start > 0:
                passes.append(plan_pass(given, "backward", start, max(0, start - end)))
        else:
            passes = [plan_pass(given, direction, start, min(max(end, 0), last))]
        with self._lock:
            if self._tracking is not None and self._tracking.is_alive():
                raise InputError("tracking is under way: stop it first")
            self._stopped = False
            self._tracking = threading.Thread(target=self._run, args=(project, passes), name="studio-tracking")
            self._tracking.start()

    def stop(self) -> None:
        """Stops the pass that runs, if any, and waits for the frames under way."""
        with self._lock:
            thread, self._stopped = self._tracking, True
            if thread is None or thread is threading.current_thread():
                return
            while thread.is_alive():
                # Again and again: a pass clears the sign when it starts.
                if self._network is not None and self._network.done() and not self._network.exception():
                    self._network.result()[0].stop()
                thread.join(0.02)
            self._tracking = None

    @property
    def is_tracking(self) -> bool:
        """Whether a pass runs."""
        return self._tracking is not None and self._tracking.is_alive()

    def state(self) -> dict[str, Any]:
        """Everything the page draws, as JSON."""
        opened = None if self._project is None else self._project.state()
        return {
            "project": opened,
            "recent": self.library.for_page(),
            "tracking": self.is_tracking,
            "tour": not self.library.tour_seen,
        }

    def _run(self, project: Project, passes: "list[Plan]") -> None:
        message: dict[str, Any] = {"type": "ended", "finished": True}
        try:
            self.pages.publish({"type": "preparing"})
            engine, _ = self._loaded()
            with self.pictures.waiting():
                for plan in passes:
                    if self._stopped or not engine.track(project, plan, _Listener(project, self.pages)):
                        message["finished"] = False
                        break
        except InputError as error:
            message = {"type": "ended", "finished": False, "error": str(error)}
        except Exception as error:
            message = {"type": "ended", "finished": False, "error": f"tracking failed ({error}); please report it"}
        self.pages.publish(message)

    def _loaded(self) -> "tuple[Engine, Encoder]":
        if self._network is None:
            raise InputError("no video is open: open one first")
        return self._network.result()

    def _network_loaded(self, future: "concurrent.futures.Future[Any]") -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self.pages.publish({"type": "error", "error": str(error)})


class _Listener:
    """Tells the pages of a pass."""

    def __init__(self, project: Project, pages: Pages):
        self._project, self._pages = project, pages

    def started(self, plan: "Plan") -> None:
        self._pages.publish({"type": "started", "direction": plan.direction, "start": plan.start, "end": plan.end})

    def frame_done(self, index: int, labels: Labels | None, progress: "Progress") -> None:
        message = {
            "type": "frame",
            "index": index,
            "done": progress.done,
            "total": progress.total,
            "framesPerSecond": progress.frames_per_second,
            "secondsLeft": progress.seconds_left,
        }
        if labels is None:
            self._pages.publish(message)
            return
        message["record"] = self._project.record_for_page(index)
        self._pages.publish(message, pack_labels(labels))


def pack_labels(labels: Labels) -> bytes:
    """A label map on its way to the page: its bytes, row by row, compressed (zlib)."""
    return zlib.compress(np.ascontiguousarray(labels).tobytes(), COMPRESSION)


def unpack_labels(packed: bytes, size: tuple[int, int]) -> Labels:
    """The opposite of `pack_labels`; never makes more bytes than the label map has.

    Raises:
        InputError: it is something else.
    """
    wanted = size[0] * size[1]
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(packed, wanted + 1)
    except zlib.error as error:
        raise InputError("this mask was damaged on its way: reload the page") from error
    if len(data) != wanted or not decompressor.eof:
        raise InputError("this mask is not of the video's size: reload the page")
    return np.frombuffer(data, np.uint8).reshape(size)


def _load_network(checkpoint: str | None, frame_size: tuple[int, int]) -> "tuple[Engine, Encoder]":
    from ranet_jax.studio.engine import load_network

    return load_network(checkpoint, frame_size)


def new_temporary(folder: Path) -> Path:
    """A file name of its own for something that is being received."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f".{secrets.token_hex(8)}"
