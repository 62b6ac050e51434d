"""`ranet-jax info`: versions, devices, and what is inside a checkpoint."""

import argparse

from ranet_jax.commands.common import AddCommand, add_network_options


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("info", _info, "Show versions, devices, and a checkpoint's parameters.")
    add_network_options(parser)


def _info(options: argparse.Namespace) -> None:
    from ranet_jax.devices import use_device
    from ranet_jax.info import describe

    use_device()
    print(describe(options.checkpoint, options.model))
