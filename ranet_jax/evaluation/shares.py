"""How the sequences of a split are shared: into batches, among processes, and over the devices of one."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from ranet_jax.data.davis import DavisTree
from ranet_jax.errors import InputError
from ranet_jax.tracker.objects import object_bucket, object_ids


class Group(NamedTuple):
    """Sequences that are tracked in lockstep.

    Attributes:
        sequences: of one frame size and one object bucket, the longest first.
        frames: how many they have together.
    """

    sequences: tuple[str, ...]
    frames: int


def make_groups(tree: DavisTree, sequences: Sequence[str], *, batch: int, workers: int) -> list[Group]:
    """Groups sequences that one program can track, those of similar length together.

    Args:
        tree: the data set.
        sequences: of it.
        batch: sequences in a group, at most.
        workers: devices of all processes: groups are made smaller where some of them would go without.

    Returns:
        The groups, that with the most frames first; the same in every process.

    Raises:
        InputError: a sequence has no frames, or its first annotation is missing, damaged or without an object.
    """
    starts = {name: tree.given(name) for name in sequences}
    lengths = {name: len(frames) for name, (frames, _) in starts.items()}
    alike: dict[Any, list[str]] = collections.defaultdict(list)
    for name in sequences:
        given = starts[name][1]
        try:
            kind = given[0].shape, object_bucket(len(object_ids(given[0])))
            # Videos in lockstep all begin with their masks; where some come later, a video goes by itself.
            alike[kind if len(given) == 1 else name].append(name)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    size = min(batch, -(-len(sequences) // workers))
    groups = []
    for names in alike.values():
        longest_first = sorted(names, key=lambda name: -lengths[name])
        for start in range(0, len(names), size):
            members = tuple(longest_first[start : start + size])
            groups.append(Group(members, sum(lengths[name] for name in members)))
    return sorted(groups, key=lambda group: -group.frames)


def share_of(groups: Sequence[Group], index: int, count: int) -> list[Group]:
    """The groups of one process among several, so that all have about as many frames; the first ones come first."""
    shares: list[list[Group]] = [[] for _ in range(count)]
    for group in groups:
        min(shares, key=lambda share: sum(other.frames for other in share)).append(group)
    return shares[index]


class Stopped(Exception):
    """Work is no longer wanted, because other work failed or was interrupted."""


Work = Callable[[Any, Group, jax.Device, Callable[[], None]], None]
"""`(variables, group, device, check)`: does a group's work; `check` raises `Stopped`, and is called now and then."""


def over_devices(groups: Sequence[Group], variables: Any, devices: Sequence[jax.Device], work: Work) -> None:
    """Works on all groups, a thread for each device, each taking the next group as soon as it is free.

    Args:
        groups: in the order they are begun in.
        variables: of the network; each device gets a copy.
        devices: of this process.
        work: see `Work`.

    Raises:
        Exception: whatever `work` raises first; the other threads end with their current frames.
    """
    waiting, stopping = collections.deque(groups), threading.Event()

    def check() -> None:
        if stopping.is_set():
            raise Stopped

    def take(device: jax.Device) -> None:
        own = jax.device_put(variables, device)
        while not stopping.is_set():
            try:
                group = waiting.popleft()
            except IndexError:
                return
            work(own, group, device, check)

    used = devices[: len(groups)]
    with concurrent.futures.ThreadPoolExecutor(max(1, len(used)), thread_name_prefix="ranet-device") as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(take, device) for device in used]):
                done.result()
        finally:
            stopping.set()
