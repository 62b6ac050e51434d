"""The training sources as tensorflow-datasets builders, and the packed shards as sources again.

Packing turns thousands of small files into a few array_record shards, which network storage reads well:

    folder = pack(Davis2016, "DAVIS", "packed")
    source = PackedSource(folder)

A record is one frame: the bytes of its image file as they are, and its label map as an 8-bit gray PNG whose
values are the ids. Frames keep their order, and the lengths of the videos are in the metadata, so that a
packed source gives the samples of its folder, bit for bit. Nothing here needs TensorFlow.
"""

import io
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import UInt8

from ranet_jax.data import saliency
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.sources import (
    FileSource,
    Source,
    UnreadableError,
    davis_videos,
    decode_image,
    spans_of_lengths,
)
from ranet_jax.errors import InputError

_SPLIT = "train"


class FrameBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What all builders share; each adds `open_source`, which reads the published folder of its data set."""

    VERSION = tfds.core.Version("1.0.0")
    # tensorflow-datasets would find this out itself, by way of a package that it does not require.
    code_path = epath.Path(__file__)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack the published archive and give its folder as manual_dir."

    def __init__(self, **kwargs: Any):
        super().__init__(file_format="array_record", **kwargs)

    @staticmethod
    def open_source(root: pathlib.Path) -> FileSource:
        """The training frames of an unpacked data set; `InputError` if its layout is another one."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "labels": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "name": tfds.features.Text(),
        }
        # Unshuffled: the frames of a video must stay together, and the pipeline shuffles anyway.
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source = self.open_source(pathlib.Path(dl_manager.manual_dir))
        # The span of each frame's video, once a video.
        videos = [span for span, _ in itertools.groupby(source.span(i) for i in range(len(source)))]
        self.info.metadata["lengths"] = [len(span) for span in videos]
        return {_SPLIT: self._generate_examples(source)}

    def _generate_examples(self, source: FileSource) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in range(len(source)):
            item = source[index]  # both decoded, so that a damaged file is found while packing
            labels = io.BytesIO(cv2.imencode(".png", item.labels)[1].tobytes())
            yield index, {"image": source.file(index).image, "labels": labels, "name": item.name}


class Davis2016(FrameBuilder):
    """DAVIS 2016, train."""

    @staticmethod
    def open_source(root: pathlib.Path) -> FileSource:
        """See `FrameBuilder`."""
        tree = DavisTree(root, 2016)
        return davis_videos(tree, tree.sequences("train"))


class Davis2017(FrameBuilder):
    """DAVIS 2017, train."""

    @staticmethod
    def open_source(root: pathlib.Path) -> FileSource:
        """See `FrameBuilder`."""
        tree = DavisTree(root, 2017)
        return davis_videos(tree, tree.sequences("train"))


class Msra10k(FrameBuilder):
    """MSRA10K, all of it."""

    open_source = staticmethod(saliency.msra10k)


class Ecssd(FrameBuilder):
    """ECSSD, all of it."""

    open_source = staticmethod(saliency.ecssd)


class HkuIs(FrameBuilder):
    """HKU-IS, all of it."""

    open_source = staticmethod(saliency.hku_is)


class Soc(FrameBuilder):
    """SOC, the training images that have salient objects."""

    open_source = staticmethod(saliency.soc)


class Ilso(FrameBuilder):
    """ILSO, the first 1,000 images' training list."""

    open_source = staticmethod(saliency.ilso)


def pack(builder: Callable[..., FrameBuilder], root: str | pathlib.Path, out: str | pathlib.Path) -> pathlib.Path:
    """Packs an unpacked data set into shards; what is packed already is left alone.

    Args:
        builder: One of this module's builders.
        root: The folder of the published data set.
        out: Folder for all packed data sets.

    Returns:
        The folder of this one, for `PackedSource`.

    Raises:
        InputError: The layout is another one, or a file is missing or damaged; nothing is left half-written.
    """
    if not pathlib.Path(root).is_dir():
        raise InputError(f"{root} does not exist: give the folder of the unpacked data set")
    instance = builder(data_dir=str(out))
    config = tfds.download.DownloadConfig(manual_dir=str(root), register_checksums=False)
    instance.download_and_prepare(download_config=config)
    return pathlib.Path(instance.data_path)


class PackedSource(Source):
    """Frames that a builder has packed.

    Args:
        folder: What `pack` returned: the folder that holds the shards.

    Raises:
        InputError: The folder holds no packed data set.
    """

    def __init__(self, folder: str | pathlib.Path):
        self._folder = folder
        skip = {"image": tfds.decode.SkipDecoding(), "labels": tfds.decode.SkipDecoding()}
        try:
            builder = tfds.builder_from_directory(str(folder))
            self._spans = spans_of_lengths(builder.info.metadata["lengths"])
            self._records = builder.as_data_source(_SPLIT, decoders=skip)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder} holds no packed data set ({error}): pack it again") from error

    def __len__(self) -> int:
        return len(self._spans)

    def image(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """See `Source`."""
        record = self._record(index)
        return decode_image(record["image"], record["name"].decode())

    def labels(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """See `Source`."""
        record = self._record(index)
        labels = cv2.imdecode(np.frombuffer(record["labels"], np.uint8), cv2.IMREAD_GRAYSCALE)
        if labels is None:
            raise UnreadableError(f"the labels of {record['name'].decode()} in {self._folder} are damaged")
        return labels

    def name(self, index: int) -> str:
        """See `Source`."""
        return self._record(index)["name"].decode()

    def span(self, index: int) -> range:
        """See `Source`."""
        return self._spans[index]

    def _record(self, index: int) -> dict[str, bytes]:
        try:
            return self._records[index]
        except (OSError, ValueError, RuntimeError) as error:
            raise UnreadableError(f"cannot read record {index} of {self._folder}: {error}") from error
