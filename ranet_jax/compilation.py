"""Compiled programs kept on disk between runs. Only programs turn this on; importing the library never does."""

import os
import pathlib

import filelock
import jax
import platformdirs

from ranet_jax.errors import InputError

CACHE_BYTES = 2 * 1024**3
"""What the user's cache folder may hold; the program that was not used for longest goes first."""
SHORTEST_COMPILATION = 0.1
"""Seconds; what compiles faster is not worth a file."""


def keep_compiled_programs() -> pathlib.Path:
    """Has JAX look for every program it compiles in a folder on disk, and put new ones there.

    The folder is `ranet-jax` in the user's cache folder, of at most `CACHE_BYTES`, unless `JAX_COMPILATION_CACHE_DIR`
    names another: that one may be other programs' too, so its size stays what JAX's own settings say.

    Sets JAX's options for the whole process; to be called before anything is compiled. What lies in the folder is run
    as it is, so a new one is made readable and writable by its owner alone.

    Returns:
        The folder.

    Raises:
        InputError: it cannot be made or written to.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = pathlib.Path(chosen or platformdirs.user_cache_path("ranet-jax") / "compiled")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}: no place for compiled programs, so give --no-cache") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder} is not writable: no place for compiled programs, so give --no-cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if not chosen:
        jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    if jax.config.jax_compilation_cache_max_size >= 0:  # type: ignore[attr-defined]
        _drop_unfinished(folder)
    return folder


def compile_anew() -> None:
    """Has JAX keep nothing on disk, and use nothing that lies there, whatever its variables say."""
    jax.config.update("jax_enable_compilation_cache", False)


def _drop_unfinished(folder: pathlib.Path) -> None:
    """Removes programs whose writer was killed: JAX cannot bound a folder that holds one without a time of last use."""
    with filelock.FileLock(folder / ".lockfile"):
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()
