"""From the `data` fields of a configuration to batches."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from ranet_jax.data import saliency
from ranet_jax.data.builders import PackedSource
from ranet_jax.data.config import SampleConfig
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.folders import photographs, videos
from ranet_jax.data.pipeline import Batches, Part, training_batches
from ranet_jax.data.samples import clip, static_pair, video_pair
from ranet_jax.data.sources import CachedSource, Source, davis_videos
from ranet_jax.errors import InputError
from ranet_jax.training.options import build, fields

SAMPLES = {"static_pair": static_pair, "video_pair": video_pair, "clip": clip}
_IMAGE_SETS: dict[str, Callable[[pathlib.Path], Source]] = {
    "msra10k": saliency.msra10k,
    "ecssd": saliency.ecssd,
    "hku_is": saliency.hku_is,
    "soc": saliency.soc,
    "ilso": saliency.ilso,
    "packed": PackedSource,
}
_DAVIS_YEARS = {"davis2016": 2016, "davis2017": 2017}
_OWN = ("photographs", "videos")
KINDS = (*_DAVIS_YEARS, *_IMAGE_SETS, *_OWN)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """What a training reads.

    Attributes:
        batches: of this process, without end.
        description: a line for each part of the data: what it is, and how many images and videos it has.
    """

    batches: Batches
    description: tuple[str, ...]


def part(
    kind: str,
    folder: str,
    sample: str,
    *,
    weight: float = 1.0,
    split: str = "train",
    masks: str = "",
    partition: tuple[float, float] | tuple[()] = (),
) -> Any:
    """Fields of one part of the data mixture.

    Args:
        kind: "photographs" or "videos", any folder of these with label PNGs (`ranet_jax.data.folders`); "davis2016",
            "davis2017", "msra10k", "ecssd", "hku_is", "soc", "ilso"; or "packed" (by `ranet_jax.data.builders.pack`).
        folder: below `config.data.root`.
        sample: "video_pair", "static_pair" or "clip".
        weight: its share of the samples, relative to the other parts'; a part of weight 0 is not opened.
        split: of DAVIS.
        masks: of photographs and videos: the folder of the masks, below `config.data.root`, where it is not one that
            `folder` holds.
        partition: of photographs whose masks divide the whole image into regions, none of them background: the share
            of the image that a region has at least and at most to be an object, such as (0.02, 0.6).
    """
    return ml_collections.ConfigDict(
        # `only` and `without` choose among the videos: for training with some held out.
        {
            "kind": kind,
            "folder": folder,
            "sample": sample,
            "weight": weight,
            "split": split,
            "masks": masks,
            "partition": partition,
            "only": (),
            "without": (),
        }
    )


def title_of(values: ml_collections.ConfigDict) -> str:
    """What a part of the mixture is, in two words: its kind, and which of them."""
    return f"{values.kind} {values.split if values.kind in _DAVIS_YEARS else values.folder}"


def data_fields(sample: SampleConfig, **parts: Any) -> ml_collections.ConfigDict:
    """The `data` fields of a configuration, from how samples are made and what they are made of."""
    of_samples = fields(sample)
    del of_samples["crop"]  # the tracker's window decides it
    values = {
        "root": "data",
        "parts": parts,
        "sample": of_samples,
        "threads": 2,
        "prefetch": 16,
        # All of DAVIS16-train at 480p, decoded, is 3.4 GB.
        "cache_gigabytes": 4.0,
        "on_error": "raise",
    }
    return ml_collections.ConfigDict(values)


def open_mixture(data: ml_collections.ConfigDict, *, crop: str, batch_size: int, seed: int) -> Mixture:
    """This process's batches, and what they are made of.

    Args:
        data: see `data_fields`.
        crop: how samples are cut, see `SampleConfig`: the tracker's window decides.
        batch_size: of all processes together.
        seed: of the order and of every sample.

    Raises:
        InputError: a folder, split or video does not exist, or a field's value is not possible.
    """
    processes = jax.process_count()
    if batch_size % processes:
        raise InputError(f"batch_size {batch_size} does not divide by {processes} processes")
    config = dataclasses.replace(build(SampleConfig, data.sample), crop=crop)
    opened: dict[Any, Source] = {}
    parts, description = [], []
    for name, values in data.parts.items():
        if values.sample not in SAMPLES:
            raise InputError(f"data.parts.{name}.sample is {values.sample!r}: choose one of {', '.join(SAMPLES)}")
        if not values.weight:
            continue
        # Parts over the same files share them: what one has decoded, the other need not.
        key = str({field: value for field, value in values.items() if field not in ("sample", "weight")})
        if key not in opened:
            opened[key] = _open_source(pathlib.Path(data.root), values)
        parts.append((opened[key], values))
        size = _size(opened[key])
        description.append(f"{name}: {title_of(values)}, {size}, {values.sample}, weight {values.weight:g}")
        description += getattr(opened[key], "notes", ())
    if not opened:
        raise InputError("data.parts: no part has a weight above 0")
    # Every frame gets as much room, whichever source it is of.
    room = data.cache_gigabytes * 1e9 / sum(len(source) for source in opened.values())
    cached = {id(s): CachedSource(s, int(room * len(s))) for s in opened.values()} if room else {}
    batches = training_batches(
        [Part(cached.get(id(s), s), SAMPLES[v.sample], config, v.weight) for s, v in parts],
        batch_size=batch_size // processes,
        seed=seed,
        process_index=jax.process_index(),
        process_count=processes,
        threads=data.threads,
        prefetch=data.prefetch,
        on_error=data.on_error,
    )
    return Mixture(batches, tuple(description))


def _size(source: Source) -> str:
    """How much there is: "3,287 images", or "1,999 annotated frames of 30 videos"."""
    videos = len({source.span(index).start for index in range(len(source))})
    return (
        f"{len(source):,} images" if videos == len(source) else f"{len(source):,} annotated frames of {videos} videos"
    )


def _open_source(root: pathlib.Path, values: ml_collections.ConfigDict) -> Source:
    folder, kind = root / values.folder, values.kind
    if kind not in KINDS:
        raise InputError(f"data kind {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    masks = root / values.masks if values.masks else None
    if masks and kind not in _OWN:
        raise InputError(f"data kind {kind} knows where its masks are: masks is for {' and '.join(_OWN)}")
    if values.partition and kind != "photographs":
        raise InputError(f"data kind {kind} has a background: partition is for photographs")
    if (values.only or values.without) and kind not in (*_DAVIS_YEARS, "videos"):
        raise InputError(f"data kind {kind} is read whole: only and without are for videos")
    if kind == "photographs":
        return photographs(folder, masks, partition=tuple(values.partition) or None)
    if kind == "videos":
        return videos(folder, masks, only=tuple(values.only), without=tuple(values.without))
    if kind in _IMAGE_SETS:
        return _IMAGE_SETS[kind](folder)
    tree = DavisTree(folder, _DAVIS_YEARS[kind])  # type: ignore[arg-type]
    sequences = tree.sequences(values.split)
    for name in (*values.only, *values.without):
        if name not in sequences:
            raise InputError(f"{name!r} is not a sequence of {kind} {values.split}: check only and without")
    chosen = [s for s in sequences if (not values.only or s in values.only) and s not in values.without]
    return davis_videos(tree, chosen)
