"""Random access to labelled images, alone or as the frames of videos, whatever they are stored in.

A `Source` is a flat sequence of labelled images. The frames of a video follow one another, and `span` says
which they are, so that a source of videos serves as a source of still images too. Image and labels are read
apart, because a training sample needs the labels of some frames whose image it never looks at.

Sources are read by several threads at once and return the same arrays every time.
"""

import abc
import dataclasses
import pathlib
import threading
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from ranet_jax.data.davis import VOID_LABEL, DavisTree
from ranet_jax.errors import InputError

_LABEL_READER = Callable[[pathlib.Path], np.ndarray]


class UnreadableError(InputError):
    """An image or a mask is missing or damaged; the message names its path. A pipeline may skip it."""


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """An image, its objects and where it came from.

    Attributes:
        image: RGB, 0 to 255.
        labels: 0 background, 1 to 255 the objects' ids, not necessarily consecutive.
        name: For messages, such as "davis2016/bear/00007".

    Raises:
        UnreadableError: Image and labels differ in size.
    """

    image: UInt8[np.ndarray, "height width 3"]
    labels: UInt8[np.ndarray, "rows columns"]
    name: str

    def __post_init__(self) -> None:
        check_sizes(self.image, self.labels, self.name)


class Source(abc.ABC):
    """A sequence of labelled images; consecutive ones may be the annotated frames of one video."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of labelled images."""

    @abc.abstractmethod
    def image(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The RGB image, which the caller must not change; `UnreadableError` if it cannot be read."""

    @abc.abstractmethod
    def labels(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """The label map, which the caller must not change; `UnreadableError` if it cannot be read."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Where the image comes from, for messages."""

    @abc.abstractmethod
    def span(self, index: int) -> range:
        """Indices of the annotated frames of this image's video, in time order; itself alone for a still."""

    def __getitem__(self, index: int) -> LabelledImage:
        """Image and labels together.

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
            UnreadableError: A file is missing or damaged, or image and labels differ in size.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of a source of {len(self)} images")
        return LabelledImage(self.image(index), self.labels(index), self.name(index))


def check_sizes(image: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Raises `UnreadableError` where an image and its label map differ in size."""
    if image.shape[:2] != labels.shape:
        sizes = f"{image.shape[1]}x{image.shape[0]}, its mask is {labels.shape[1]}x{labels.shape[0]}"
        raise UnreadableError(f"the image {name} is {sizes}: they must be the same size")


def spans_of_lengths(lengths: Sequence[int]) -> tuple[range, ...]:
    """For every frame of videos of these lengths laid end to end, the indices of its video's frames."""
    spans: list[range] = []
    for length in lengths:
        spans += [range(len(spans), len(spans) + length)] * length
    return tuple(spans)


@dataclasses.dataclass(frozen=True)
class LabelledFile:
    """Paths of an image and of its mask, and a name for messages."""

    image: pathlib.Path
    mask: pathlib.Path
    name: str


class FileSource(Source):
    """Images and masks as files.

    Args:
        files: What to read; the frames of a video together and in time order.
        read_labels: Reads a mask file as a uint8 label map, raising `InputError` where it cannot.
        lengths: Number of frames of each video; None where every image stands alone.
    """

    def __init__(self, files: Sequence[LabelledFile], read_labels: _LABEL_READER, lengths: Sequence[int] | None = None):
        self._files = tuple(files)
        self._read_labels = read_labels
        self._spans = None if lengths is None else spans_of_lengths(lengths)

    def __len__(self) -> int:
        return len(self._files)

    def image(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """See `Source`."""
        return read_image(self._files[index].image)

    def labels(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """See `Source`."""
        try:
            return self._read_labels(self._files[index].mask)
        except InputError as error:
            raise UnreadableError(str(error)) from error

    def name(self, index: int) -> str:
        """See `Source`."""
        return self._files[index].name

    def span(self, index: int) -> range:
        """See `Source`."""
        return range(index, index + 1) if self._spans is None else self._spans[index]

    def file(self, index: int) -> LabelledFile:
        """The paths behind an index, for whoever packs them."""
        return self._files[index]


class MemorySource(Source):
    """Labelled images that are in memory already.

    Args:
        items: The images; the frames of a video together and in time order.
        lengths: Number of frames of each video; None where every image stands alone.
    """

    def __init__(self, items: Sequence[LabelledImage], lengths: Sequence[int] | None = None):
        self._items = tuple(items)
        self._spans = spans_of_lengths([1] * len(self._items) if lengths is None else lengths)

    def __len__(self) -> int:
        return len(self._items)

    def image(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """See `Source`."""
        return self._items[index].image

    def labels(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """See `Source`."""
        return self._items[index].labels

    def name(self, index: int) -> str:
        """See `Source`."""
        return self._items[index].name

    def span(self, index: int) -> range:
        """See `Source`."""
        return self._spans[index]


class CachedSource(Source):
    """Keeps what it has decoded in memory, until the budget is spent; later images are decoded every time.

    Nothing is evicted: an epoch reads every image about equally often and in random order, so replacing would
    only cost. A DAVIS 480p frame takes 1.2 MB and its labels 0.4 MB: all of DAVIS16-train takes 3.4 GB.

    Args:
        source: What to read from.
        max_bytes: Size of all arrays kept.
    """

    def __init__(self, source: Source, max_bytes: int):
        self._source = source
        self._free = max_bytes
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._source)

    def image(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """See `Source`."""
        return self._read("image", index, self._source.image)

    def labels(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """See `Source`."""
        return self._read("labels", index, self._source.labels)

    def name(self, index: int) -> str:
        """See `Source`."""
        return self._source.name(index)

    def span(self, index: int) -> range:
        """See `Source`."""
        return self._source.span(index)

    def _read(self, kind: str, index: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
        kept = self._kept.get((kind, index))
        if kept is not None:
            return kept
        array = read(index)
        with self._lock:
            if (kind, index) not in self._kept and array.nbytes <= self._free:
                array.setflags(write=False)
                self._kept[kind, index] = array
                self._free -= array.nbytes
        return array


def read_image(path: str | pathlib.Path) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a JPEG or PNG as RGB, as it is stored (a rotation in its EXIF data would part it from its mask).

    Raises:
        UnreadableError: The file is missing, cut off or no image.
    """
    try:
        encoded = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot read the image {path}: {error.strerror}") from error
    return decode_image(encoded, str(path))


def decode_image(encoded: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes the bytes of a JPEG or PNG file as RGB; `name` is for the message.

    Raises:
        UnreadableError: The bytes are cut off or no image.
    """
    # OpenCV fills the missing part of a cut-off file with gray and only warns: look for the end mark before.
    end_mark = b"\xff\xd9" if encoded.startswith(b"\xff\xd8") else b"IEND"
    if end_mark not in encoded[-1024:]:
        raise UnreadableError(f"the image {name} is damaged or cut off: fetch it again")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise UnreadableError(f"the image {name} is damaged: fetch it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def davis_videos(tree: DavisTree, sequences: Sequence[str]) -> FileSource:
    """The annotated frames of DAVIS sequences; of 2017, the void pixels are background.

    Args:
        tree: A DAVIS folder and its year.
        sequences: Which, such as `tree.sequences("train")` or a part of it.

    Raises:
        InputError: No sequence is given, or one lacks its folders, its frames or its annotations.
    """
    files: list[LabelledFile] = []
    lengths = []
    for sequence in sequences:
        frames = {path.stem: path for path in tree.frames(sequence)}
        annotations = tree.annotations(sequence)
        lengths.append(len(annotations))
        for mask in annotations:
            # A frame that is absent is found out, and named, when it is read: it may be skipped then.
            image = frames.get(mask.stem, next(iter(frames.values())).with_name(f"{mask.stem}.jpg"))
            files.append(LabelledFile(image, mask, f"davis{tree.year}/{sequence}/{mask.stem}"))
    if not files:
        raise InputError(f"no sequence of {tree.root} was chosen: give at least one")

    def read_labels(path: pathlib.Path) -> UInt8[np.ndarray, "height width"]:
        labels = tree.label_map(path)
        labels[labels == VOID_LABEL] = 0
        return labels

    return FileSource(files, read_labels, lengths)
