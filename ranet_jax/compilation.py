"""Compiled programs kept on disk between runs. Only programs turn this on; importing the library never does."""

import os
import pathlib

import jax
import platformdirs

from ranet_jax.errors import InputError

CACHE_BYTES = 2 * 1024**3
"""What the folder may hold; the program that was not used for longest goes first."""
SHORTEST_COMPILATION = 0.1
"""Seconds; what compiles faster is not worth a file."""


def cache_folder() -> pathlib.Path:
    """`JAX_COMPILATION_CACHE_DIR`, where it is set, or `ranet-jax` in the user's cache folder."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return pathlib.Path(chosen) if chosen else pathlib.Path(platformdirs.user_cache_dir("ranet-jax")) / "compiled"


def keep_compiled_programs() -> pathlib.Path:
    """Has JAX look for every program it compiles in `cache_folder`, and put new ones there.

    Sets JAX's options for the whole process; to be called before anything is compiled. What lies in the folder is run
    as it is, so a new one is made readable and writable by its owner alone.

    Returns:
        The folder.

    Raises:
        InputError: it cannot be made or written to.
    """
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}: no place for compiled programs, so give --no-cache") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder} is not writable: no place for compiled programs, so give --no-cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return folder
