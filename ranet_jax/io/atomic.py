"""Output files that appear complete or not at all."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ranet_jax.errors import InputError

_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
}


def make_folder(path: str | Path) -> Path:
    """Creates a folder and its parents; an existing folder is fine.

    Args:
        path: the folder.

    Returns:
        The folder as a `Path`.

    Raises:
        InputError: the folder cannot be created (permission, a file in the way, full disk).
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(explain("cannot create the folder", folder, error)) from error
    return folder


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is renamed to `path`, on any failure removed.

    Readers of `path` see the old file (or none) until the block ends, then the whole new one. The temporary
    file exists, empty, when the block starts, and has the suffix of `path`, by which some writers choose the
    format.

    Args:
        path: the file to be written; missing parent folders are created.

    Yields:
        The temporary path to write to.

    Raises:
        InputError: `path` cannot be written (permission, full disk, a folder of that name, ...); errors of
            the block that concern other files pass through unchanged.
    """
    target = Path(path)
    make_folder(target.parent)
    # A short name of its own: the target's name may already be as long as the file system allows.
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        # Created here rather than by the writer, so that a forbidden folder is found before any work is done.
        temporary.open("xb").close()
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        ours = error.filename is None or os.fspath(error.filename) in (str(temporary), str(target))
        if ours and error.errno in _REASONS:
            raise InputError(explain("cannot write", target, error)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def explain(what: str, path: Path, error: OSError) -> str:
    """One line about an error of the operating system: what could not be done, why, and what to do."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return f"{what} {path}: {reason}; choose another place or make room"
