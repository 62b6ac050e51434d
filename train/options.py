"""The command line that all training programs share, and the way from a configuration to the library's dataclasses."""

import argparse
import ast
import dataclasses
import importlib.util
import pathlib
import sys
import traceback
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from ranet_jax.errors import InputError
from ranet_jax.processes import add_distributed_option

_OVERRIDE = "--config."


@dataclasses.dataclass(frozen=True)
class Options:
    """What a training program was told.

    Attributes:
        config: the recipe with its overrides, locked.
        workdir: folder of the run.
        smoke: shrink everything.
        distributed: several processes: "auto", or "HOST:PORT,COUNT,INDEX"; None for one process.
    """

    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    smoke: bool
    distributed: str | None


def main(program: Callable[[Options], int], description: str) -> None:
    """Runs a program: exit code 2 and one line where the user's input was wrong, `--debug` shows the traceback.

    Args:
        program: from options to exit code.
        description: for `--help`.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a file in configs/, with an optional :argument")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="the run's folder; resumed if it exists")
    parser.add_argument("--smoke", action="store_true", help="shrink everything: some steps in seconds")
    add_distributed_option(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.epilog = "Any field can be changed: --config.optimizer.learning_rate=1e-4"
    known, rest = parser.parse_known_args()
    try:
        config = override(load_config(known.config), rest)
        code = program(Options(config, known.workdir, known.smoke, known.distributed))
    except InputError as error:
        if known.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def load_config(argument: str) -> ml_collections.ConfigDict:
    """Reads `FILE.py` or `FILE.py:ARGUMENT`, and locks what its `get_config` returns.

    Raises:
        InputError: the file does not exist or makes no configuration.
    """
    name, _, parameter = argument.partition(":")
    path = pathlib.Path(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"{path}: no such configuration; choose a .py file in configs/")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path}: has no function get_config; choose a .py file in configs/")
    config = module.get_config(parameter) if parameter else module.get_config()
    return config.lock()


def override(config: ml_collections.ConfigDict, arguments: Sequence[str]) -> ml_collections.ConfigDict:
    """Applies `--config.FIELD=VALUE` arguments.

    Raises:
        InputError: an argument is something else, a field does not exist, or a value is of another type.
    """
    for argument in arguments:
        field, equals, text = argument.removeprefix(_OVERRIDE).partition("=")
        if not argument.startswith(_OVERRIDE) or not equals:
            raise InputError(f"{argument}: unknown argument; fields are changed by {_OVERRIDE}FIELD=VALUE")
        *groups, last = field.split(".")
        group = config
        for name in groups:
            group = group[name] if isinstance(group, ml_collections.ConfigDict) and name in group else None
        if not isinstance(group, ml_collections.ConfigDict) or last not in group:
            known = ", ".join(sorted(group)) if isinstance(group, ml_collections.ConfigDict) else "no fields"
            raise InputError(f"{argument}: the config has no field {field}; {'.'.join(groups) or 'it'} has {known}")
        try:
            group[last] = _value(text, group[last])
        except (TypeError, ValueError, SyntaxError) as error:
            raise InputError(f"{argument}: {field} must be {_describe(group[last])}") from error
    return config


def _describe(current: Any) -> str:
    if isinstance(current, ml_collections.ConfigDict):
        return f"changed field by field: it has {', '.join(sorted(current))}"
    return f"{type(current).__name__} such as {current!r}"


def _value(text: str, current: Any) -> Any:
    if isinstance(current, ml_collections.ConfigDict):
        raise TypeError
    if isinstance(current, str):
        return text
    if isinstance(current, bool):
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else int("?")
    return ast.literal_eval(text)


def build(cls: type, values: Any) -> Any:
    """A dataclass, with the dataclasses inside it, from the nested fields of a configuration.

    Raises:
        InputError: a field is unknown, or its value not possible.
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(f"{cls.__name__} has no field {', '.join(unknown)}: it has {', '.join(sorted(hints))}")
    arguments = {}
    for name, value in values.items():
        choices = typing.get_args(hints[name]) if isinstance(hints[name], types.UnionType) else (hints[name],)
        inner = next((c for c in choices if dataclasses.is_dataclass(c)), None)
        nested = inner is not None and isinstance(value, ml_collections.ConfigDict | dict)
        if nested and typing.cast(Any, inner) is not None:
            value = build(typing.cast(type, inner), value)
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def fields(instance: Any) -> ml_collections.ConfigDict:
    """The fields of a dataclass, nested, as a configuration; `build` is the inverse."""
    return ml_collections.ConfigDict(dataclasses.asdict(instance))
