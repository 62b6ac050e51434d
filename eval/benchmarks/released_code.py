"""The authors' PyTorch code (github.com/Storife/RANet) and this library: one network, in turn, in one process.

Their folder `codes` is read where the user has it; nothing of it is part of this project. It needs the extra `convert`
(PyTorch) and torchvision.
"""

import contextlib
import importlib
import pathlib
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ranet_jax.errors import InputError
from ranet_jax.evaluation.speed import Yardstick
from ranet_jax.evaluation.tracking_speed import FRAME_SIZE, labelled_noise
from ranet_jax.networks import RANetConfig

SETTLING = 0.3
"""Seconds between two programs: threads of the one before still wait busily for more work."""
PACKAGE, MODULE = "RANet_lib", "RANet_model"


class Comparison(NamedTuple):
    """Medians over the rounds.

    Attributes:
        theirs: seconds of a forward pass of their network.
        ours: seconds of a step of the tracker: crop, network and label map.
        ratio: theirs over ours, of each round.
        yardstick: operations a second of a matrix product beside them.
    """

    theirs: float
    ours: float
    ratio: float
    yardstick: float


def time_in_turn(
    theirs: Callable[[], Any], ours: Callable[[], Any], yardstick: Callable[[], float], repeats: int
) -> Comparison:
    """Calls both once unmeasured, then `repeats` times in turn; each returns when its work is done."""
    theirs()
    ours()
    rounds = []
    for _ in range(repeats):
        seconds = []
        for call in (theirs, ours):
            time.sleep(SETTLING)
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        rounds.append((*seconds, seconds[0] / seconds[1], yardstick()))
    return Comparison(*(statistics.median(column) for column in zip(*rounds, strict=True)))


def print_comparison(codes: pathlib.Path, object_counts: Sequence[int], repeats: int) -> None:
    """Prints one row for each number of objects; more than one in the authors' network of several.

    Raises:
        InputError: PyTorch is not installed, or the authors' code is not there or cannot be read.
    """
    network = _released_class(codes)
    threads = importlib.import_module("torch").get_num_threads()
    print(f"released code (PyTorch, {threads} threads) and released network here, float32, median of {repeats} in turn")
    print("objects  PyTorch ms  here ms  PyTorch/here  matrix product GFLOP/s")
    for objects in object_counts:
        with warnings.catch_warnings(action="ignore"):  # of functions that PyTorch has renamed since
            found = time_in_turn(_their_forward(network, objects), _our_step(objects), Yardstick(), repeats)
        print(
            f"{objects:7d}  {1e3 * found.theirs:10.0f}  {1e3 * found.ours:7.0f}  {found.ratio:12.2f}"
            f"  {found.yardstick / 1e9:22.1f}"
        )


def _released_class(codes: pathlib.Path) -> Any:
    """The class of their network."""
    if not (codes / f"{MODULE}.py").is_file():
        raise InputError(f"{codes}: no {MODULE}.py there; give the folder 'codes' of github.com/Storife/RANet")
    try:
        with _importable(codes), warnings.catch_warnings(action="ignore"):
            return importlib.import_module(MODULE).RANet
    except ImportError as error:
        missing = error.name or "a module"
        raise InputError(f"{codes}: {missing} cannot be imported; pip install torch torchvision") from error


@contextlib.contextmanager
def _importable(codes: pathlib.Path) -> Iterator[None]:
    """Their modules on the path while they are imported, and none of them known by name afterwards.

    Their package's own start is left out: it reads their data loaders, too, and what those depend on.
    """
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(codes / PACKAGE)]
    path = list(sys.path)
    sys.modules[PACKAGE] = package
    sys.path[:0] = [str(codes), str(codes / PACKAGE)]
    try:
        yield
    finally:
        sys.path[:] = path
        theirs = lambda module: str(getattr(module, "__file__", None) or "").startswith(str(codes))
        for name in [name for name, module in sys.modules.items() if module is package or theirs(module)]:
            del sys.modules[name]


def _their_forward(network: Any, objects: int) -> Callable[[], Any]:
    """A forward pass of random weights on a frame of noise at 480x864, the template encoded before."""
    torch = importlib.import_module("torch")
    with contextlib.redirect_stdout(None):
        model = network(pretrained=False, type="single_object" if objects == 1 else "multi_object").eval()
    height, width = RANetConfig().input_size
    labels = np.zeros((height, width), np.float32)
    labels[:, : FRAME_SIZE[1]] = labelled_noise(objects)[1]
    # Their label maps count background as 1.
    mask = torch.from_numpy(labels + 1)[None, None]
    frames = torch.randn(2, 1, 3, height, width)

    with torch.no_grad():
        template = model(None, frames[0], None, None, mode="first")[0]

    def forward() -> None:
        with torch.no_grad():
            model(frames[1], template, mask.clone(), mask.clone())  # it may write into the masks it is given

    return forward


def _our_step(objects: int) -> Callable[[], Any]:
    network = open_network("released", objects)
    tracker, variables = network.tracker_for(FRAME_SIZE), jax.device_put(network.variables)
    frames, labels = labelled_noise(objects)
    state: Any = tracker.init(variables, frames[0], labels)

    def step() -> None:
        nonlocal state
        state, *_ = jax.block_until_ready(tracker.step(variables, state, frames[1]))

    return step
