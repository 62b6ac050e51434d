"""`ranet-jax convert`: checkpoints from PyTorch's files, to them, and from folders to single files and back."""

import argparse
import pathlib

from ranet_jax.commands.common import AddCommand
from ranet_jax.errors import InputError

_TORCH = (".pth", ".pt")


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("convert", _convert, "Convert a released PyTorch checkpoint, or write a checkpoint in another form.")
    parser.add_argument("source", help="a .pth file of the release, or a checkpoint: name, folder or .safetensors file")
    parser.add_argument(
        "target", help="what to write: a .safetensors file, a .pth file in the release's layout, otherwise a folder"
    )
    parser.add_argument(
        "--objects", choices=("single", "multi"), default="single", help="which release a .pth file is (default single)"
    )


def _convert(options: argparse.Namespace) -> None:
    from ranet_jax.io.paths import require_distinct
    from ranet_jax.stored import FILE_SUFFIX, embedded_names

    source, target = pathlib.Path(options.source), pathlib.Path(options.target)
    require_distinct({"the checkpoint": options.source}, {"the target": target})
    is_checkpoint = options.source in embedded_names() or source.is_dir() or source.suffix == FILE_SUFFIX
    if is_checkpoint:
        _rewrite(options.source, target)
    elif target.suffix in _TORCH:
        raise InputError(f"{target} is a PyTorch file, and so is {source}: give a folder or a .safetensors file")
    else:
        _read_release(source, target, options.objects)


def _read_release(source: pathlib.Path, target: pathlib.Path, objects: str) -> None:
    from ranet_jax.convert import ranet_from_torch
    from ranet_jax.convert.torch_file import read_torch_file
    from ranet_jax.convert.torch_ranet import unused_entries
    from ranet_jax.networks import RANetConfig
    from ranet_jax.tracker import TrackerConfig
    from ranet_jax.weights import save_checkpoint

    state_dict = read_torch_file(source)
    variables = ranet_from_torch(state_dict)
    save_checkpoint(
        target, RANetConfig(objects=objects), TrackerConfig(), variables, card={"converted_from": source.name}
    )
    unused = unused_entries(state_dict)
    print(f"{source} -> {target}: {len(state_dict) - len(unused)} entries converted")
    if unused:
        print(f"left out, because the network never reads them: {', '.join(unused)}")


def _rewrite(source: str, target: pathlib.Path) -> None:
    from ranet_jax.convert import ranet_to_torch
    from ranet_jax.convert.torch_file import write_torch_file
    from ranet_jax.weights import open_checkpoint, save_checkpoint

    if target.suffix in _TORCH:
        write_torch_file(target, ranet_to_torch(open_checkpoint(source, "ranet").variables))
    else:
        found = open_checkpoint(source, None)
        save_checkpoint(target, found.config, found.tracker, found.variables, card=found.card)
    print(f"{source} -> {target}")
