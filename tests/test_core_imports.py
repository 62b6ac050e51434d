"""The library imports with its core dependencies alone: no extra may creep in."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What `train`, `studio` and `dev` bring and the core may not need, and PyTorch. flax itself brings optax.
EXTRAS = (
    *("starlette", "uvicorn", "websockets"),
    *("torch", "grain", "tensorflow_datasets", "tensorboardX", "array_record", "matplotlib", "ml_collections"),
    *("chex", "beartype", "hypothesis"),
)

PROGRAM = """
import sys
for name in {extras!r}:
    sys.modules[name] = None  # importing it now raises
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""


def core_modules() -> list[str]:
    """Every module of the library but those whose docstring's folder is an extra's own."""
    modules = []
    for path in sorted((ROOT / "ranet_jax").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] in ("training", "data", "recipes", "studio"):
            continue
        modules.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    # Online learning is for everybody who segments a video.
    return [*modules, "ranet_jax.data.davis", "ranet_jax.training.online"]


def test_core_imports_without_the_extras():
    modules = core_modules()
    assert "ranet_jax.cli" in modules
    program = PROGRAM.format(extras=EXTRAS, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_extras_are_declared_as_such():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = " ".join(project["dependencies"])
    assert not any(name.replace("_", "-") in core for name in ("torch", "grain", "tensorflow-datasets"))
    assert set(project["optional-dependencies"]) == {"train", "studio", "docs", "dev"}
