"""From the `data` fields of a configuration to batches."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from ranet_jax.data import saliency
from ranet_jax.data.builders import PackedSource
from ranet_jax.data.config import SampleConfig
from ranet_jax.data.davis import DavisTree
from ranet_jax.data.pipeline import Batches, Part, training_batches
from ranet_jax.data.samples import clip, static_pair, video_pair
from ranet_jax.data.sources import CachedSource, Source, davis_videos
from ranet_jax.errors import InputError
from train.options import build, fields

SAMPLES = {"static_pair": static_pair, "video_pair": video_pair, "clip": clip}
_IMAGE_SETS: dict[str, Callable[[pathlib.Path], Source]] = {
    "msra10k": saliency.msra10k,
    "ecssd": saliency.ecssd,
    "hku_is": saliency.hku_is,
    "soc": saliency.soc,
    "ilso": saliency.ilso,
    "packed": PackedSource,
}


def part(kind: str, folder: str, sample: str, *, weight: float = 1.0, split: str = "train") -> Any:
    """Fields of one part of the data mixture.

    Args:
        kind: "davis2016", "davis2017", "msra10k", "ecssd", "hku_is", "soc", "ilso", or "packed" (by
            `ranet_jax.data.builders.pack`).
        folder: below `config.data.root`.
        sample: "video_pair", "static_pair" or "clip".
        weight: its share of the samples, relative to the other parts'; a part of weight 0 is not opened.
        split: of DAVIS.
    """
    return ml_collections.ConfigDict(
        # `only` and `without` choose among a DAVIS split's sequences: for training with some held out.
        {
            "kind": kind,
            "folder": folder,
            "sample": sample,
            "weight": weight,
            "split": split,
            "only": (),
            "without": (),
        }
    )


def data_fields(sample: SampleConfig, **parts: Any) -> ml_collections.ConfigDict:
    """The `data` fields of a configuration, from how samples are made and what they are made of."""
    values = {
        "root": "data",
        "parts": parts,
        "sample": fields(sample),
        "threads": 2,
        "prefetch": 16,
        # All of DAVIS16-train at 480p, decoded, is 3.4 GB.
        "cache_gigabytes": 4.0,
        "on_error": "raise",
    }
    return ml_collections.ConfigDict(values)


def open_batches(data: ml_collections.ConfigDict, *, batch_size: int, seed: int) -> Batches:
    """This process's batches.

    Args:
        data: see `data_fields`.
        batch_size: of all processes together.
        seed: of the order and of every sample.

    Raises:
        InputError: a folder, split or sequence does not exist, or a field's value is not possible.
    """
    processes = jax.process_count()
    if batch_size % processes:
        raise InputError(f"batch_size {batch_size} does not divide by {processes} processes")
    config = build(SampleConfig, data.sample)
    opened: dict[Any, Source] = {}
    parts = []
    for name, values in data.parts.items():
        if values.sample not in SAMPLES:
            raise InputError(f"data.parts.{name}.sample is {values.sample!r}: choose one of {', '.join(SAMPLES)}")
        if not values.weight:
            continue
        # Parts over the same files share them: what one has decoded, the other need not.
        key = (values.kind, values.folder, values.split, tuple(values.only), tuple(values.without))
        if key not in opened:
            opened[key] = _open_source(pathlib.Path(data.root) / values.folder, values)
        parts.append((opened[key], values))
    if not opened:
        raise InputError("data.parts: no part has a weight above 0")
    # Every frame gets as much room, whichever source it is of.
    room = data.cache_gigabytes * 1e9 / sum(len(source) for source in opened.values())
    cached = {id(s): CachedSource(s, int(room * len(s))) for s in opened.values()} if room else {}
    return training_batches(
        [Part(cached.get(id(s), s), SAMPLES[v.sample], config, v.weight) for s, v in parts],
        batch_size=batch_size // processes,
        seed=seed,
        process_index=jax.process_index(),
        process_count=processes,
        threads=data.threads,
        prefetch=data.prefetch,
        on_error=data.on_error,
    )


def _open_source(folder: pathlib.Path, values: ml_collections.ConfigDict) -> Source:
    if values.kind in ("davis2016", "davis2017"):
        tree = DavisTree(folder, 2016 if values.kind == "davis2016" else 2017)
        sequences = tree.sequences(values.split)
        for name in (*values.only, *values.without):
            if name not in sequences:
                raise InputError(f"{name!r} is not a sequence of {values.kind} {values.split}: check only and without")
        chosen = [s for s in sequences if (not values.only or s in values.only) and s not in values.without]
        return davis_videos(tree, chosen)
    if values.kind not in _IMAGE_SETS:
        kinds = ", ".join(("davis2016", "davis2017", *_IMAGE_SETS))
        raise InputError(f"data kind {values.kind!r} is unknown: choose one of {kinds}")
    if values.only or values.without:
        raise InputError(f"data kind {values.kind} is read whole: only and without are for davis2016 and davis2017")
    return _IMAGE_SETS[values.kind](folder)
