"""Imports go down one staircase: no arrow up, no circle. The staircase is data, the arrows are read in the sources."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

STAIRCASE = (
    {"errors"},
    {"nn", "io", "devices"},
    # A checkpoint as it lies on disk: no network has to be imported to read it.
    {"stored"},
    {"backbones"},
    {"ranet", "mrnet"},
    {"networks"},
    # What converts released weights, or makes masks of clicks, knows the networks, and nothing of tracking.
    {"tracker", "convert", "clicks"},
    # A checkpoint holds a network and how it tracks.
    {"upgrade"},
    {"weights"},
    {"data", "processes", "compilation"},
    {"runtime"},
    {"evaluation", "info"},
    {"api"},
    {"training"},
    {"recipes"},
    {"studio"},
    {"commands"},
    {"cli"},
)
"""The rooms of `ranet_jax`, floor by floor, the lowest first: a room may import those of lower floors only."""
PROGRAMS = ("train", "eval", "configs")
"""Folders of programs, above all floors: they import the library, never each other."""


def modules(*roots: str) -> dict[str, pathlib.Path]:
    """Path of every module below folders, by its dotted name."""
    found = {}
    for root in roots:
        for path in sorted((ROOT / root).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: pathlib.Path, known: frozenset[str], name: str) -> set[str]:
    """Modules of this project that a file imports, inside functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            # `from package import module` means the module, where there is one of that name.
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return {imported for imported in found if imported.split(".")[0] in ("ranet_jax", *PROGRAMS)}


@functools.cache
def arrows() -> dict[str, set[str]]:
    """What every module of the project imports of it."""
    sources = modules("ranet_jax", *PROGRAMS)
    known = frozenset(sources)
    return {name: imports_of(path, known, name) for name, path in sources.items()}


def room_of(module: str) -> str:
    """The room of a module of the library; "" of the package itself, which is the name of the house."""
    return [*module.split("."), ""][1]


def floor_of(module: str) -> int:
    return next(number for number, rooms in enumerate(STAIRCASE) if room_of(module) in rooms)


def test_every_room_is_on_one_floor():
    rooms = [room for floor in STAIRCASE for room in floor]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {room_of(name) for name in modules("ranet_jax")} - {""}


def test_no_arrow_goes_up_or_across():
    wrong = {
        (name, imported)
        for name, found in arrows().items()
        for imported in found
        if room_of(name)
        and room_of(imported)
        and name.startswith("ranet_jax.")
        and room_of(name) != room_of(imported)
        and floor_of(imported) >= floor_of(name)
    }
    assert wrong == set(), "these imports go up the staircase"


def test_the_library_imports_no_program_and_programs_not_each_other():
    for name, found in arrows().items():
        allowed = {"ranet_jax", name.split(".")[0]}
        # A program may consist of several modules of one package; `train.ranet` may not import `train.average`.
        same = {imported for imported in found if imported.split(".")[0] in PROGRAMS}
        assert {imported.split(".")[0] for imported in found} <= allowed, name
        if same:
            package = ".".join(name.split(".")[:2])
            assert all(imported.startswith(package) for imported in same), (name, same)


def test_no_circle():
    """Within a room, too."""
    graph = {name: {i for i in found if i in arrows() and i != name} for name, found in arrows().items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for imported in sorted(graph[name]):
            visit(imported, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_programs_are_thin():
    for name, path in modules(*PROGRAMS).items():
        if not name.startswith("eval.benchmarks"):
            assert len(path.read_text().splitlines()) <= 40, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import ranet_jax.nn", {"ranet_jax.nn"}),
        ("from ranet_jax.nn import pooling, Convolution", {"ranet_jax.nn.pooling", "ranet_jax.nn"}),
        ("def f():\n    from ranet_jax import weights", {"ranet_jax.weights"}),
        ("from . import other", {"ranet_jax.nn.other"}),
        ("from ..io.masks import read", {"ranet_jax.io.masks"}),
        ("import numpy\nfrom os import path", set()),
    ],
)
def test_imports_are_read(tmp_path, text, expected):
    (tmp_path / "module.py").write_text(text)
    known = frozenset({"ranet_jax.nn.pooling", "ranet_jax.weights", "ranet_jax.nn.other"})
    assert imports_of(tmp_path / "module.py", known, "ranet_jax.nn.module") == expected
