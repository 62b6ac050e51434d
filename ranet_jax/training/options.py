"""Recipes: the configuration that a file makes, fields changed by name, and the library's dataclasses made of them."""

import ast
import dataclasses
import importlib.util
import pathlib
import types
import typing
from collections.abc import Sequence
from typing import Any

import ml_collections

from ranet_jax.errors import InputError

RECIPES = pathlib.Path(__file__).parents[1] / "recipes"
"""Folder of the recipes that come with the package, which are known by name."""
_OVERRIDE = "--config."


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("[a-z]*.py"))


def load_config(recipe: str) -> ml_collections.ConfigDict:
    """The configuration of a recipe, locked.

    Args:
        recipe: the name of one that comes with the package, or the path of a Python file with a function `get_config`;
            what follows a colon is handed to that function.

    Raises:
        InputError: there is no such recipe, or it makes no configuration.
    """
    name, _, argument = recipe.partition(":")
    shipped = not name.endswith(".py")
    path = RECIPES / f"{name}.py" if shipped else pathlib.Path(name)
    if not path.is_file() or (shipped and name not in recipe_names()):
        raise InputError(f"{name}: no such recipe; give a .py file, or one of {', '.join(recipe_names())}")
    config = _get_config(path, argument)
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(f"{name}: its get_config returns {type(config).__name__}, not an ml_collections.ConfigDict")
    return config.lock()


def _get_config(path: pathlib.Path, argument: str) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError(f"{path}: has no function get_config; see docs/training.md for what a recipe is")
        return module.get_config(argument) if argument else module.get_config()
    except InputError:
        raise
    except Exception as error:  # whatever a user's file may do
        raise InputError(f"{path}: {type(error).__name__}: {error} (--debug shows where)") from error


def given_fields(arguments: Sequence[str]) -> frozenset[str]:
    """Names of the fields that `--config.FIELD=VALUE` arguments change, such as "loop.steps"."""
    return frozenset(argument.removeprefix(_OVERRIDE).partition("=")[0] for argument in arguments)


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
