"""Files that grow frame by frame and appear at the end, also of a video that turned out to be incomplete."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file, explain
from ranet_jax.io.frames import IncompleteVideoError

S = TypeVar("S", bound="FileSink")


class _Abandoned(Exception):
    """Ends the temporary file's block without a result."""


class FileSink:
    """Base of what writes one file in a `with` block.

    The file appears when the block ends. When it ends with an error none does, except for `IncompleteVideoError`: what
    was decoded is kept. Neither does one appear when nothing was written. Who derives from it writes to
    `self.temporary`, counts in `self.count`, and overrides `_finish` and `_abandon`.
    """

    def __init__(self, path: str | Path):
        """Opens a temporary file beside `path`; missing parent folders are created.

        Raises:
            InputError: the file cannot be written there.
        """
        self.path = Path(path)
        self.count = 0
        with contextlib.ExitStack() as stack:
            self.temporary = stack.enter_context(atomic_file(self.path))
            self._open = stack.pop_all()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around what writes to the temporary file: says which file could not be written, and why.

        Raises:
            InputError: in place of an `OSError`, such as that of a full disk.
        """
        try:
            yield
        except OSError as error:
            raise InputError(explain("cannot write", self.path, error)) from error

    def _finish(self) -> None:
        """Completes the temporary file."""

    def _abandon(self) -> None:
        """Lets go of the temporary file, which is about to be removed; does not raise."""

    @contextlib.contextmanager
    def removed_on_error(self) -> Iterator[None]:
        """Around what a constructor does after this one's: where it fails, the temporary file is removed."""
        with contextlib.ExitStack() as stack:
            stack.push(self._open)
            yield
            stack.pop_all()

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        keep = self.count > 0 and (error is None or isinstance(error, IncompleteVideoError))
        with contextlib.suppress(_Abandoned), self._open:
            if not keep:
                self._abandon()
                raise _Abandoned
            try:
                self._finish()
            except BaseException:
                self._abandon()
                raise
