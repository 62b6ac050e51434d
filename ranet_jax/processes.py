"""Several processes that do one thing together: how a program joins the others, and how they end together.

JAX by itself waits for a process that was killed: minutes in a barrier, then an abort. So every process keeps a
connection to the first one, which the operating system closes when either ends, however it ends:

- A process that ends in order says so, and waits for the others to say so.
- One that fails says so; the others name it and end.
- One that says nothing has been killed; the others name it and end.

The first process serves JAX's coordination, without which the others abort: it is the last to go. Where it was killed,
JAX in the others may say so too, before they end with the same line.
"""

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

import jax
import numpy as np
from jax.experimental import multihost_utils

from ranet_jax.errors import InputError

_PATIENCE = 5.0
"""Seconds until what the processes tell each other has arrived for sure."""
_MESSAGE = struct.Struct("!cI")
_DONE, _FAILED, _LOST = b".", b"!", b"x"


def start_distributed(option: str | None) -> None:
    """Connects this process to the others of the run; before JAX is used.

    From then on the end of one process, by a failure or by force, ends all: with one line that names it, exit code 2.

    Args:
        option: "auto" on a TPU pod or under Slurm; else the address of the first process, how many there are, and
            which this is, from 0, as "HOST:PORT,COUNT,INDEX"; None for one process.

    Raises:
        InputError: the option is not of its form.
    """
    global _peers
    if option is None:
        return
    host = None
    if option == "auto":
        jax.distributed.initialize()
    else:
        try:
            address, count, index = option.split(",")
            host, _ = address.rsplit(":", 1)
            jax.distributed.initialize(address, int(count), int(index))
        except ValueError as error:
            raise InputError(f"--distributed {option}: give auto, or HOST:PORT,COUNT,INDEX") from error
    if jax.process_count() > 1:
        _peers = _Peers(host)


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Tells the other processes of a failure in this block, so that they end too; does nothing in a single process.

    Where another process ended, what fails here is only the consequence: this process then ends with the one line that
    names the other.
    """
    try:
        yield
    except BaseException as error:
        if _peers is not None:
            _peers.fail(error)
        raise


def together(work: Callable[[], Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Does every process's part of the work, waits for all parts, and puts their values together.

    Args:
        work: this process's part; gives float32 values to some of the names.
        names: all of them, the same in every process.

    Returns:
        The values of all processes, in every process, in the order of `names`.

    Raises:
        InputError: another process failed.
        Exception: whatever `work` raises; the other processes then end, too.
    """
    # Connections have shorter time limits than work may take, so they are made before it.
    multihost_utils.sync_global_devices("start")
    values: Mapping[str, float] = {}
    failure = None
    try:
        values = work()
    except Exception as error:  # the others wait for this process
        failure = error
    row = np.array([*(values.get(name, np.nan) for name in names), failure is not None], np.float32)
    rows = np.asarray(multihost_utils.process_allgather(row)).reshape(-1, row.size)
    if failure is not None:
        raise failure
    if len(failed := np.flatnonzero(rows[:, -1])):
        raise InputError(f"process {', '.join(map(str, failed))} of {len(rows)} failed: see what it says")
    present = {name: column[~np.isnan(column)] for name, column in zip(names, rows.T[:-1], strict=True)}
    return {name: float(column[0]) for name, column in present.items() if column.size}


class _Link:
    """A connection to another process, and how far that has come."""

    def __init__(self, link: socket.socket):
        self.socket = link
        self.said, self.gone = threading.Event(), threading.Event()

    def last_words(self) -> tuple[bytes, int | None]:
        """What the other side says of itself, or passes on; waits for it."""
        try:
            word, about = _MESSAGE.unpack(self.socket.recv(_MESSAGE.size, socket.MSG_WAITALL))
        except (OSError, struct.error):
            word, about = _LOST, None
            self.gone.set()
        self.said.set()
        return word, about

    def wait_for_end(self) -> None:
        """Waits until the other side has closed the connection."""
        with contextlib.suppress(OSError):
            self.socket.recv(1)
        self.gone.set()

    def send(self, word: bytes, about: int) -> None:
        """Says something, if anybody is there."""
        with contextlib.suppress(OSError):
            self.socket.sendall(_MESSAGE.pack(word, about))


class _Peers:
    """The links between the first process and each of the others, each watched by a thread."""

    def __init__(self, host: str | None):
        """Connects; all processes do so at the same time.

        Args:
            host: of the first process; None where only that one knows it.
        """
        self._index, self._count = jax.process_index(), jax.process_count()
        # Exit code of a failure of this process; whether another one's end has been noticed.
        self._code: int | None = None
        self._ending = False
        self._lock = threading.Lock()
        connections = self._accept() if self._index == 0 else self._connect(host)
        self._links = {index: _Link(link) for index, link in connections}
        for index in self._links:
            threading.Thread(target=self._watch, args=(index,), daemon=True).start()
        _delay_aborts()
        self._previous_hook = sys.excepthook
        sys.excepthook = self._uncaught
        # Runs before JAX's own farewell, which was registered earlier.
        atexit.register(self._leave)

    def _accept(self) -> Iterator[tuple[int, socket.socket]]:
        with socket.create_server(("", 0), backlog=self._count) as server:
            server.settimeout(60)
            token = int.from_bytes(os.urandom(4))
            _share([struct.unpack("!I", socket.inet_aton(_own_address()))[0], server.getsockname()[1], token])
            waited_for = set(range(1, self._count))
            while waited_for:
                link, _ = server.accept()
                link.settimeout(_PATIENCE)
                with contextlib.suppress(OSError, struct.error):
                    said, index = struct.unpack("!II", link.recv(8, socket.MSG_WAITALL))
                    if said == token and index in waited_for:
                        waited_for.remove(index)
                        link.settimeout(None)
                        yield index, link
                        continue
                link.close()

    def _connect(self, host: str | None) -> Iterator[tuple[int, socket.socket]]:
        address, port, token = _share([0, 0, 0])
        host = host or socket.inet_ntoa(struct.pack("!I", address))
        link = socket.create_connection((host, port), timeout=60)
        link.settimeout(None)
        link.sendall(struct.pack("!II", token, self._index))
        yield 0, link

    def _watch(self, index: int) -> None:
        link = self._links[index]
        word, about = link.last_words()
        if word != _DONE:
            threading.Thread(
                target=self._end_after, args=(word, index if about is None else about), daemon=True
            ).start()
        link.wait_for_end()

    def _end_after(self, word: bytes, about: int) -> None:
        """Ends this process after another one, with a line that names it; unless this one has failed itself."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
        if self._index == 0:
            # They need this process until they have gone.
            self._tell(word, about)
            self._wait_until_alone()
        if self._code is None:
            what = "failed: see what it says" if word == _FAILED else "was killed or cannot be reached any more"
            _exit(2, f"error: process {about} of {self._count} {what}; start all of them again to continue\n")

    def _tell(self, word: bytes, about: int) -> None:
        for link in self._links.values():
            link.send(word, about)

    def _wait_until_alone(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        for link in self._links.values():
            link.gone.wait(max(deadline - time.monotonic(), 0))

    def fail(self, error: BaseException) -> None:
        """Says that this process fails, unless that is only the consequence of another one's end."""
        if self._code is not None:
            return
        if isinstance(error, Exception) and not isinstance(error, InputError):
            # Time for the news of another one's end, and to end because of it.
            time.sleep(_PATIENCE)
            while self._ending:
                time.sleep(_PATIENCE)
        self._code = 2 if isinstance(error, InputError) else 130 if isinstance(error, KeyboardInterrupt) else 1
        self._tell(_FAILED, self._index)

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.fail(error)
        self._previous_hook(kind, error, trace)

    def _leave(self) -> None:
        """At the end of the program, whatever ended it."""
        if self._code is not None:
            if self._index == 0:
                self._wait_until_alone()
            _exit(self._code)
        self._tell(_DONE, self._index)
        for link in self._links.values():
            link.said.wait()


_peers: _Peers | None = None


def _exit(code: int, line: str = "") -> None:
    """Ends the process now: JAX's farewell would wait for processes that have gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line)
        sys.stderr.flush()
    os._exit(code)


def _delay_aborts() -> None:
    """Lets an abort of this process take some seconds.

    Where the first process was killed, a thread of JAX's notices it as well and aborts, perhaps sooner than ours is
    awake. The C library's `sleep`, as the handler of the signal, keeps that thread busy for as many seconds as the
    signal's number is: six.
    """
    library = ctypes.CDLL(None)
    library.signal.argtypes, library.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    library.signal(signal.SIGABRT, ctypes.cast(library.sleep, ctypes.c_void_p))


def _share(numbers: Sequence[int]) -> list[int]:
    """The first process's numbers, in every process."""
    return np.asarray(multihost_utils.broadcast_one_to_all(np.array(numbers, np.uint32))).tolist()


def _own_address() -> str:
    """The IPv4 address by which this machine reaches others; a connected datagram socket knows it and sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
