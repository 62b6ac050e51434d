"""`ranet-jax export`: a network as one file that tracks with JAX alone."""

import argparse
import pathlib

from ranet_jax.commands.common import AddCommand, add_network_options, count, frame_size


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("export", _export, "Write a network as one file that tracks with JAX alone, on CPU, CUDA GPU and TPU.")
    parser.add_argument("out", help="the file to write")
    parser.add_argument(
        "--size", type=frame_size, required=True, metavar="HEIGHTxWIDTH", help="of the frames, such as 480x864"
    )
    parser.add_argument(
        "--objects",
        type=int,
        default=1,
        metavar="N",
        help="most objects (room for the next of 1 to 8, 10, 12, 14, 16; default 1)",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="compute dtype (default: the checkpoint's on this machine)"
    )
    add_network_options(parser)


def _export(options: argparse.Namespace) -> None:
    from ranet_jax.runtime.export import export_program
    from ranet_jax.weights import open_checkpoint

    checkpoint = open_checkpoint(options.checkpoint, options.model)
    description = export_program(checkpoint, options.out, options.size, objects=options.objects, dtype=options.dtype)
    size, dtype = "x".join(map(str, description["frame_size"])), description["config"]["dtype"]
    room, megabytes = count(description["objects"], "object"), pathlib.Path(options.out).stat().st_size / 1e6
    print(
        f"{checkpoint.name} -> {options.out}: {checkpoint.config.TITLE}, {size}, {room}, {dtype}, {megabytes:.1f} MB,"
        f" for {', '.join(description['platforms'])}"
    )
    licence = description["card"].get("licence")
    if licence:
        print(f"licence of the weights in it: {licence}")
