"""The table a converter is: which stored entry is which Flax variable, and how its layout changes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from ranet_jax.errors import InputError

Path = tuple[str, ...]


class Entry(NamedTuple):
    """One stored parameter.

    Attributes:
        name: its name in the PyTorch state dict.
        path: its place in the Flax variables, the collection first.
        layout: "vector" (unchanged), "kernel" (OIHW to HWIO) or "depthwise" (C1HW to HWC).
    """

    name: str
    path: Path
    layout: str


_TO_FLAX = {
    "vector": lambda value: value,
    "kernel": lambda value: value.transpose(2, 3, 1, 0),
    "depthwise": lambda value: value[:, 0].transpose(1, 2, 0),
}
_TO_TORCH = {
    "vector": lambda value: value,
    "kernel": lambda value: value.transpose(3, 2, 0, 1),
    "depthwise": lambda value: value.transpose(2, 0, 1)[:, None],
}


def convolution(name: str, path: Path, *, bias: bool = True) -> list[Entry]:
    """Entries of a convolution, stored as `name.weight` and perhaps `name.bias`."""
    entries = [Entry(f"{name}.weight", (*path, "kernel"), "kernel")]
    return [*entries, Entry(f"{name}.bias", (*path, "bias"), "vector")] if bias else entries


def batch_norm(name: str, path: Path, *, statistics: bool) -> list[Entry]:
    """Entries of a norm stored as a batch norm, with its running statistics where they are wanted."""
    entries = [
        Entry(f"{name}.weight", ("params", *path, "scale"), "vector"),
        Entry(f"{name}.bias", ("params", *path, "bias"), "vector"),
    ]
    if statistics:
        entries += [
            Entry(f"{name}.running_mean", ("batch_stats", *path, "mean"), "vector"),
            Entry(f"{name}.running_var", ("batch_stats", *path, "variance"), "vector"),
        ]
    return entries


def read_entries(
    state_dict: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    expected: Any,
    *,
    unused: Iterable[str] = (),
) -> dict[str, Any]:
    """Flax variables from a state dict.

    Args:
        state_dict: arrays by stored name, PyTorch layout.
        entries: the table; must cover `expected`.
        expected: the variables' shapes, as `jax.eval_shape` of the model's `init` gives them.
        unused: names (or prefixes ending in ".", or suffixes beginning with ".") that may be stored and are left out.

    Returns:
        Variables of float32 NumPy arrays.

    Raises:
        InputError: entries are missing, unexpected or misshapen: all of them by name.
    """
    shapes = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(expected).items()}
    untold = set(shapes) ^ {entry.path for entry in entries}
    assert not untold, f"the table and the model differ: {sorted(untold)}"
    missing, misshapen, values = [], [], {}
    for name, path, layout in entries:
        if name not in state_dict:
            missing.append(name)
            continue
        stored = np.asarray(state_dict[name])
        wanted = _TO_TORCH[layout](np.empty(shapes[path], np.bool_)).shape
        if stored.shape != wanted:
            misshapen.append(f"{name} {stored.shape} instead of {wanted}")
            continue
        values[path] = np.ascontiguousarray(_TO_FLAX[layout](stored), dtype=np.float32)
    known = {entry.name for entry in entries}
    skip = tuple(unused)
    unexpected = sorted(name for name in state_dict if name not in known and not is_unused(name, skip))
    problems = [("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)]
    found = [f"{kind}: {', '.join(names)}" for kind, names in problems if names]
    if found:
        raise InputError(f"the state dict is not of this network ({'; '.join(found)})")
    return traverse_util.unflatten_dict(values)


def is_unused(name: str, unused: Iterable[str]) -> bool:
    """Whether a stored name matches a name, a "prefix." or a ".suffix" of `unused`."""
    return any(
        name == pattern
        or (pattern.endswith(".") and name.startswith(pattern))
        or (pattern.startswith(".") and name.endswith(pattern))
        for pattern in unused
    )


def write_entries(variables: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """The inverse of `read_entries`: float32 arrays by stored name, PyTorch layout.

    Raises:
        InputError: the variables are of another network than the table.
    """
    flat = traverse_util.flatten_dict(jax.tree.map(np.asarray, dict(variables)))
    if strange := flat.keys() ^ {entry.path for entry in entries}:
        first = "/".join(min(strange))
        raise InputError(f"these weights are of another network than the PyTorch file ({len(strange)} differ: {first})")
    return {
        name: np.ascontiguousarray(_TO_TORCH[layout](flat[path]), dtype=np.float32) for name, path, layout in entries
    }
