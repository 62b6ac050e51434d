"""`ranet-jax train`: a network, by a recipe that comes with the package or is one's own."""

import argparse
import pathlib
from collections.abc import Sequence

from ranet_jax.commands.common import AddCommand, Parser, add_distributed_option, run
from ranet_jax.errors import InputError

_EXTRA = ("array_record", "etils", "grain", "ml_collections", "tensorboardX", "tensorflow_datasets")
"""Packages that the extra `train` installs and training imports."""
_EPILOG = "Any field of the recipe can be changed: --config.optimizer.learning_rate=1e-4"


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("train", _train, "Train a network by a recipe; the same command continues an interrupted run.")
    parser.add_argument(
        "recipe", metavar="RECIPE|FILE.py", help="name of a recipe or a file of one's own, with an optional :ARGUMENT"
    )
    _add_options(parser)
    parser.set_defaults(takes_fields=True, network=None)


def main(network: str, arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m train.NETWORK`: the same, for one network's recipes, which are given as `--config FILE.py`."""
    summary = f"Trains {network}; the same command continues an interrupted run."
    parser = Parser(prog=f"python -m train.{network}", description=summary, allow_abbrev=False)
    parser.add_argument("--config", required=True, dest="recipe", help="a file in configs/, with an optional :argument")
    _add_options(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(network=network)
    options, fields = parser.parse_known_args(arguments)
    options.fields = fields
    return run(lambda: _train(options), debug=options.debug)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="the run's folder; resumed if it exists")
    parser.add_argument("--smoke", action="store_true", help="shrink all that is not given: some steps in seconds")
    add_distributed_option(parser)
    parser.epilog = _EPILOG


def _train(options: argparse.Namespace) -> int:
    try:
        from ranet_jax.training.options import given_fields, load_config, override
        from ranet_jax.training.run import Options, train
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        raise InputError(f"training needs {error.name}: pip install 'ranet-jax[train]'") from error
    config = override(load_config(options.recipe), options.fields)
    if options.network and config.get("network", options.network) != options.network:
        raise InputError(f"{options.recipe} is a recipe of {config.network}: python -m train.{config.network}")
    return train(Options(config, options.workdir, options.smoke, given_fields(options.fields), options.distributed))
