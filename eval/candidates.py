"""Draws which past frames MRNet chose: `python -m eval.candidates --davis DAVIS --sequence parkour --out chosen.svg`.

Every frame of the video is a column: the candidates of Table 1 are gray, the one whose similarity and mask the
Mask-Ranking Module handed to the decoder is in its object's colour.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from eval.figures import require_format, save_figure
from ranet_jax.cli import Parser, add_cache_option, run, use_cache
from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.io.masks import DAVIS_PALETTE
from ranet_jax.io.video import read_picture
from ranet_jax.mrnet.mask_ranking import candidate_frames
from ranet_jax.networks import MRNetConfig
from ranet_jax.tracker.mrnet_tracker import MRNetTracker
from ranet_jax.weights import Checkpoint, open_checkpoint


def choices(tree: DavisTree, sequence: str, checkpoint: Checkpoint) -> tuple[list[int], Int[np.ndarray, "frames n"]]:
    """Tracks a sequence from its first annotation and notes what was chosen.

    Args:
        tree: the data set.
        sequence: of it.
        checkpoint: of an MRNet with a Mask-Ranking Module.

    Returns:
        The objects' ids, and the number of the past frame chosen for each in frames 1, 2, ...

    Raises:
        InputError: the checkpoint is of another network, or a frame or the first annotation is missing or damaged.
    """
    config = checkpoint.config
    if not (isinstance(config, MRNetConfig) and config.mask_ranking):
        raise InputError(f"{checkpoint.name}: it chooses no past frames: give a checkpoint of MRNet with mask_ranking")
    frames = tree.frames(sequence)
    label_map = tree.label_map(tree.annotations(sequence)[0])
    tracker = MRNetTracker(config, (label_map.shape[0], label_map.shape[1]))
    variables = jax.device_put(checkpoint.variables)
    state = tracker.init(variables, read_picture(frames[0]), label_map)
    ids = [int(value) for value in np.asarray(state.ids) if value]
    chosen = []
    for path in frames[1:]:
        state, *_ = tracker.step(variables, state, read_picture(path))
        chosen.append(np.array(state.chosen[: len(ids)]))
    return ids, np.stack(chosen)


def draw_choices(
    target: pathlib.Path, title: str, config: MRNetConfig, ids: Sequence[int], chosen: Int[np.ndarray, "frames n"]
) -> None:
    """Draws what `choices` found into a .png or .svg file.

    Raises:
        InputError: the picture cannot be written, or Matplotlib is not installed.
    """

    def fill(figure: Any) -> None:
        panel = figure.subplots()
        candidates = []
        for time in range(1, len(chosen) + 1):
            past, exists = candidate_frames(jnp.asarray(time, jnp.int32), config.candidates, config.interval)
            candidates += [(time, int(frame)) for frame in np.asarray(past)[np.asarray(exists)]]
        panel.scatter(*zip(*candidates, strict=True), s=6, color="0.85", label="candidates")
        for i, identity in enumerate(ids):
            colour = DAVIS_PALETTE[identity] / 255
            panel.scatter(range(1, len(chosen) + 1), chosen[:, i], s=14, color=[colour], label=f"object {identity}")
        panel.set(xlabel="frame", ylabel="past frame chosen", title=title)
        panel.grid(alpha=0.3)
        panel.legend(loc="upper left")

    save_figure(target, (7.0, 3.5), fill)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code (see `ranet_jax.cli`)."""
    parser = Parser(prog="python -m eval.candidates", description=__doc__.splitlines()[0])
    parser.add_argument("--davis", required=True, type=pathlib.Path, help="DAVIS folder")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2016)
    parser.add_argument("--sequence", required=True, help="of the data set")
    parser.add_argument("--checkpoint", help="of MRNet (default: the shipped one)")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the picture to write, .png or .svg")
    add_cache_option(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(arguments)
    return run(lambda: _draw(options), debug=options.debug)


def _draw(options: argparse.Namespace) -> None:
    require_format(options.out)
    use_cache(options)
    checkpoint = open_checkpoint(options.checkpoint, "mrnet")
    ids, chosen = choices(DavisTree(options.davis, year=options.year), options.sequence, checkpoint)
    draw_choices(options.out, options.sequence, checkpoint.config, ids, chosen)
    first = np.mean(chosen == 0)
    print(f"{options.out}: {len(chosen)} frames, in {first:.0%} of the choices frame 0")


if __name__ == "__main__":
    sys.exit(main())
