"""Settings every test runs under: strict dtypes and ranks, four CPU devices, shapes checked at run time."""

import gc
import os
import pathlib
from collections.abc import Callable, Iterator

os.environ["JAX_PLATFORMS"] = "cpu"

import hypothesis
import jax
import jaxtyping
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling is most of what the tests do, and their networks are small: programs that run slower and are there sooner.
jax.config.update("jax_disable_most_optimizations", True)

# A busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Every annotated function of the library is checked against its shapes and dtypes, in tests only.
jaxtyping.install_import_hook("ranet_jax", "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """Compiling is most of what the tests do: programs that tests start find what others have compiled.

    With a bound on its size JAX locks the folder, so that no process reads what another has half written. The tests'
    own process keeps nothing: it compiles hundreds of programs, and XLA has crashed in writing one of them out.
    """
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("compiled"))
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2 * 1024**3)
    jax.config.update("jax_enable_compilation_cache", False)
    if jax.__version_info__ < (0, 11, 1):
        # XLA's older way from fusions to code compiles in a fraction of the time. Later releases have no such flag, and
        # end a process that sets it.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()


SHARED = pathlib.Path(os.environ.get("RANET_SHARED", pathlib.Path(__file__).parents[1].parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Callable[[str], pathlib.Path]:
    """Path of a file or folder of the shared material; skips (or fails, in CI) where it is absent."""

    def locate(relative: str) -> pathlib.Path:
        path = SHARED / relative
        if not path.exists():
            message = f"{path} is absent: set RANET_SHARED to the folder that holds golden/ and data/"
            if os.environ.get("RANET_REQUIRE_SHARED"):
                pytest.fail(message)
            pytest.skip(message)
        return path

    return locate


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """For modules that run networks of full size, or for many steps, or ask what the compiler makes of a program."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module", autouse=True)
def bounded_programs() -> Iterator[None]:
    """Lets go of compiled programs between files, once there are many: Linux allows a process 65,530 mappings.

    Each program takes about ten; the compiler crashes where there are none left, after some thousand programs.
    """
    yield
    mappings = pathlib.Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > 8000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
