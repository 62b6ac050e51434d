"""`ranet-jax frame`: one frame of a video as a picture, to draw a mask on."""

import argparse
import io
import pathlib

from ranet_jax.commands.common import AddCommand, frame_number
from ranet_jax.errors import InputError


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("frame", _frame, "Write one frame of a video as a PNG, to draw its mask on.")
    parser.add_argument("video", help="video file, or folder of frames")
    parser.add_argument("number", type=frame_number, metavar="N", help="of the frame, from 0")
    parser.add_argument("out", type=pathlib.Path, help="the PNG to write")
    parser.add_argument("--range", metavar="LOW:HIGH", help="values that become black and white (16-bit, float frames)")
    parser.add_argument("--overwrite", action="store_true", help="a file that lies there may go")


def _frame(options: argparse.Namespace) -> None:
    from PIL import Image

    from ranet_jax.io.atomic import atomic_file
    from ranet_jax.io.levels import parse_levels
    from ranet_jax.io.paths import require_distinct
    from ranet_jax.io.video import read_frame

    out = options.out
    if out.suffix.lower() != ".png":
        raise InputError(f"{out} is no .png: a frame is written as a PNG, which keeps every pixel")
    require_distinct({"the video": options.video}, {"the frame": out})
    # It may be the frame that was written before, with a mask drawn on it since.
    if out.exists() and not options.overwrite:
        raise InputError(f"{out} exists and is kept: choose another name, or give --overwrite")
    levels = None if options.range is None else parse_levels(options.range)
    frame = read_frame(options.video, options.number, levels=levels)
    encoded = io.BytesIO()
    Image.fromarray(frame.image).save(encoded, format="PNG")
    with atomic_file(out) as temporary:
        temporary.write_bytes(encoded.getvalue())
    height, width = frame.image.shape[:2]
    print(f"frame {options.number} ({frame.name}), {width}x{height}: {out}")
