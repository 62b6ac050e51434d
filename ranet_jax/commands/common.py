"""What all commands share: their parser, their exit codes, and the options that several of them have.

Nothing here imports JAX: a command imports what it needs when it runs.
"""

import argparse
import functools
import math
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from ranet_jax.errors import InputError

if TYPE_CHECKING:
    from ranet_jax.compilation import KeptFunctions
    from ranet_jax.runtime.adapting import Adaptation
    from ranet_jax.weights import Checkpoint

ONLINE_LEARNING_RATE = 1e-6
"""The paper's."""


AddCommand = Callable[[str, Callable[[argparse.Namespace], int | None], str], argparse.ArgumentParser]
"""`(name, function, summary)`: adds a subcommand to `ranet-jax` and returns its parser. The function gets the parsed
options and may return an exit code."""


class Parser(argparse.ArgumentParser):
    """Argument parser of all commands of the project: a wrong argument is one line on stderr and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Ends the program; see `argparse`."""
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def run(program: Callable[[], int | None], *, debug: bool) -> int:
    """Runs a program under the conventions for exit codes; shared by all commands of the project.

    Args:
        program: the work; returns an exit code, or None for 0.
        debug: whether errors are shown with their traceback.

    Returns:
        The program's, or 2 for an `InputError`, 130 for an interruption, 1 for anything else.
    """
    try:
        return program() or 0
    except KeyboardInterrupt:
        print("ranet-jax: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, InputError):
            print(f"ranet-jax: {error}", file=sys.stderr)
            return 2
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "" if debug else " (--debug shows where; please report it)"
        print(f"ranet-jax: internal error: {reason}{hint}", file=sys.stderr)
        return 1


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a network, which `ranet_jax.weights.open_checkpoint` understands."""
    parser.add_argument("--model", choices=("ranet", "mrnet"), help="which network's shipped weights (default ranet)")
    parser.add_argument(
        "--checkpoint", help="embedded name, checkpoint folder or .safetensors file (default: the shipped network)"
    )


def add_online_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of online learning, which `online_adaptation` reads."""
    parser.add_argument(
        "--online-steps",
        type=_number_of_steps,
        default=0,
        metavar="N",
        help="fine-tune a copy of the weights on the first frame, N steps (RANet+; default 0)",
    )
    parser.add_argument(
        "--online-learning-rate",
        type=_learning_rate,
        default=ONLINE_LEARNING_RATE,
        metavar="RATE",
        help=f"of these steps (default {ONLINE_LEARNING_RATE:g}, the paper's)",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `ranet_jax.devices.use_device` reads."""
    parser.add_argument(
        "--device",
        metavar="cpu|gpu|tpu[:N]",
        help="what computes (default: what JAX finds first: an accelerator, or the CPU)",
    )


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `use_cache` reads."""
    parser.add_argument("--no-cache", action="store_true", help="compile anew, and keep nothing of it for later runs")


def add_distributed_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `ranet_jax.processes.start_distributed` reads."""
    parser.add_argument("--distributed", metavar="auto|HOST:PORT,COUNT,INDEX", help="one of several processes")


def use_cache(options: argparse.Namespace) -> None:
    """Keeps compiled programs in the user's cache folder (`ranet_jax.compilation`), unless told not to.

    Raises:
        InputError: that folder cannot be used.
    """
    from ranet_jax.compilation import compile_anew, keep_compiled_programs

    if options.no_cache:
        compile_anew()
    else:
        keep_compiled_programs()


def kept_functions(options: argparse.Namespace) -> "KeptFunctions | None":
    """Where a command that runs a tracker's functions finds them compiled: `use_cache` for `ranet_jax.runtime.ready`.

    Returns:
        The place; None where JAX's own cache serves (on accelerators), or nothing is kept.

    Raises:
        InputError: the folder cannot be used.
    """
    import jax

    from ranet_jax.compilation import KeptFunctions, compile_anew

    if jax.default_backend() != "cpu" or not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        use_cache(options)
        return None
    compile_anew()
    return None if options.no_cache else KeptFunctions()


def online_adaptation(checkpoint: "Checkpoint", steps: int, learning_rate: float) -> "Adaptation | None":
    """What fits the weights to a video's first frame; None for 0 steps, and then nothing of training is imported.

    Raises:
        InputError: the network is not RANet.
    """
    if not steps:
        return None
    from ranet_jax.networks import RANetConfig
    from ranet_jax.training.online import adapt

    config, tracker = checkpoint.config, checkpoint.tracker
    if not isinstance(config, RANetConfig):
        raise InputError(
            f"online learning is RANet's, and this checkpoint is of {config.TITLE}: leave out --online-steps"
        )

    return functools.partial(adapt, config, tracker, steps=steps, learning_rate=learning_rate)


def _number_of_steps(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps: give 0 or more")
    return int(text)


def _learning_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate: give a positive number such as 1e-6")
    return rate


def frame_size(text: str) -> tuple[int, int]:
    """The type of an option that takes a size, HEIGHTxWIDTH."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give HEIGHTxWIDTH, such as 480x864")
    return int(height), int(width)


def whole_numbers(text: str) -> list[int]:
    """The type of an option that takes numbers separated by commas, each 1 or more."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers: give 1 or more, such as 1,5")
    return [int(part) for part in parts]


def whole_number(text: str) -> int:
    """The type of an option that takes a number of 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number: give 1 or more")
    return int(text)


def frame_number(text: str) -> int:
    """The type of an option that takes the number of a frame."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a frame: give 0 or more")
    return int(text)


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 frame", "2 frames"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
