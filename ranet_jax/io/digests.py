"""Digests of the files below a folder: what was written is what is read, or it is damaged."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

_BLOCK = 1 << 20


def digests(folder: Path) -> dict[str, str]:
    """SHA-256, as hexadecimal digits, of every file below a folder, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def damaged_files(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Relative paths, in order, of the expected files that are missing below a folder or hold something else.

    Args:
        folder: where the files lie.
        expected: what `digests` gave when they were written. Files that are not in it are not looked at.
    """
    return sorted(name for name, digest in expected.items() if _digest_or_none(folder / name) != digest)


def _digest_or_none(path: Path) -> str | None:
    try:
        return _digest(path)
    except (OSError, ValueError):  # ValueError: a damaged list may name a path that cannot exist
        return None


def _digest(path: Path) -> str:
    # In blocks: a training checkpoint's files are gigabytes.
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()
