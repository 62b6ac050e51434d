"""Compiled programs kept on disk between runs. Only programs turn this on; importing the library never does.

There are two ways. JAX's own cache serves whatever is compiled, once it has been traced. A command that knows what it
will run keeps whole functions instead, and finds them without tracing (`ranet_jax.runtime.ready`).
"""

import contextlib
import hashlib
import os
import pathlib

import filelock
import jax
import platformdirs

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file

CACHE_BYTES = 2 * 1024**3
"""What the user's cache folder may hold; the program that was not used for longest goes first."""
SHORTEST_COMPILATION = 0.1
"""Seconds; what compiles faster is not worth a file."""
_SUFFIX, _DIGEST_BYTES = ".function", 32


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
    folder, chosen = _cache_folder()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if not chosen:
        jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    if jax.config.jax_compilation_cache_max_size >= 0:  # type: ignore[attr-defined]
        _drop_unfinished(folder)
    return folder


class KeptFunctions:
    """Compiled functions by key, a file each, in the folder that `keep_compiled_programs` describes.

    What is damaged, cut off or cannot be written counts as absent: it is compiled again.
    """

    def __init__(self) -> None:
        """Finds or makes the folder.

        Raises:
            InputError: it cannot be made or written to.
        """
        self._folder, chosen = _cache_folder()
        self._most_bytes = None if chosen else CACHE_BYTES

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> bytes | None:
        """What was put under a key, or None."""
        path = self._path(key)
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if hashlib.sha256(data).digest() == digest:
                os.utime(path)  # the time of its last use
                return data
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keeps data under a key; of too many, those go that were not used for longest."""
        # An InputError, too: a full disk must not stop what has been compiled and can run.
        with contextlib.suppress(OSError, InputError):
            with atomic_file(self._path(key)) as temporary:
                temporary.write_bytes(hashlib.sha256(data).digest() + data)
            if self._most_bytes is not None:
                self._make_room(self._most_bytes)

    def _path(self, key: str) -> pathlib.Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _make_room(self, most_bytes: int) -> None:
        found = [(path.stat(), path) for path in self._folder.glob(f"*{_SUFFIX}")]
        found.sort(key=lambda pair: pair[0].st_mtime_ns)
        excess = sum(status.st_size for status, _ in found) - most_bytes
        for status, path in found:
            if excess <= 0:
                return
            path.unlink()
            excess -= status.st_size


def compile_anew() -> None:
    """Has JAX keep nothing on disk, and use nothing that lies there, whatever its variables say."""
    jax.config.update("jax_enable_compilation_cache", False)


def _cache_folder() -> tuple[pathlib.Path, bool]:
    """The folder, which exists then, and whether the user chose it."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = pathlib.Path(chosen or platformdirs.user_cache_path("ranet-jax") / "compiled")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}: no place for compiled programs, so give --no-cache") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder} is not writable: no place for compiled programs, so give --no-cache")
    return folder, chosen is not None


def _drop_unfinished(folder: pathlib.Path) -> None:
    """Removes programs whose writer was killed: JAX cannot bound a folder that holds one without a time of last use."""
    with filelock.FileLock(folder / ".lockfile"):
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()
