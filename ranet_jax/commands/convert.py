"""`ranet-jax convert`: released PyTorch checkpoints to checkpoint folders, and back."""

import argparse
import pathlib

from ranet_jax.commands.common import AddCommand


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("convert", _convert, "Convert a released PyTorch checkpoint to a checkpoint folder, or back.")
    parser.add_argument("source", help="the .pth file (with --reverse: a checkpoint folder)")
    parser.add_argument("target", help="the checkpoint folder to write (with --reverse: a .pth file)")
    parser.add_argument("--objects", choices=("single", "multi"), default="single", help="which release it is")
    parser.add_argument("--reverse", action="store_true", help="from a checkpoint folder to a .pth file")


def _convert(options: argparse.Namespace) -> None:
    from ranet_jax.convert import ranet_from_torch, ranet_to_torch
    from ranet_jax.convert.torch_file import read_torch_file, write_torch_file
    from ranet_jax.convert.torch_ranet import unused_entries
    from ranet_jax.networks import RANetConfig
    from ranet_jax.tracker import TrackerConfig
    from ranet_jax.weights import open_checkpoint, save_checkpoint

    if options.reverse:
        checkpoint = open_checkpoint(options.source, "ranet")
        write_torch_file(options.target, ranet_to_torch(checkpoint.variables))
        print(f"{options.source} -> {options.target}")
        return
    state_dict = read_torch_file(options.source)
    config = RANetConfig(objects=options.objects)
    source = pathlib.Path(options.source).name
    card = {"converted_from": source}
    save_checkpoint(options.target, config, TrackerConfig(), ranet_from_torch(state_dict), card=card)
    unused = unused_entries(state_dict)
    print(f"{options.source} -> {options.target}: {len(state_dict) - len(unused)} entries converted")
    if unused:
        print(f"left out, because the network never reads them: {', '.join(unused)}")
