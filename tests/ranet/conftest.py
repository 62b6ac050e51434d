"""The released network filled by the golden rule, and the inputs its golden vectors were computed from."""

import importlib.util
import pathlib
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from ranet_jax.convert import ranet_from_torch

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


class Case(NamedTuple):
    """Golden vectors of one pair of frames, single-object (s) and multi-object (m) mode."""

    variables: Any
    template_frame: np.ndarray
    current_frame: np.ndarray
    template_labels: dict[str, np.ndarray]
    previous_labels: dict[str, np.ndarray]
    golden: dict[str, np.ndarray]


def load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic_case() -> Case:
    golden = dict(np.load(GOLDEN / "synthetic.npz"))
    frames = [load_module("synthetic_input").frame_and_labels(t) for t in (0, 11, 12)]
    state_dict = load_module("weights").state_dict(str(golden["salt"]))
    labels = lambda i: {"single": (frames[i][1] == 1).astype(np.uint8), "multi": frames[i][1]}
    return Case(jax.device_put(ranet_from_torch(state_dict)), frames[0][0], frames[2][0], labels(0), labels(1), golden)


@pytest.fixture(scope="session")
def real_case(shared) -> Case:
    single, multi = (dict(np.load(shared(f"golden/{name}.npz"))) for name in ("single", "multi"))
    folder = shared("data/DAVIS/JPEGImages/480p/car-shadow")
    # 480x854 lies in 480x864 unscaled, five black columns on each side.
    frame = lambda i: np.pad(np.asarray(Image.open(folder / f"{i:05d}.jpg")), ((0, 0), (5, 5), (0, 0)))
    labels = lambda name: {"single": single[f"{name}_mask"], "multi": multi[f"{name}_labels"]}
    golden = single | {f"multi_{key}": value for key, value in multi.items()}
    weights = load_module("weights")
    variables = jax.device_put(ranet_from_torch(weights.state_dict(weights.DEVELOPMENT_SALT)))
    return Case(variables, frame(0), frame(12), labels("template"), labels("previous"), golden)
