"""Damages inputs of every kind at random and runs the commands that read them.

    python -m tests.reliability.damage --count 1000 --seed 0

The inputs are small and the networks micro ones, all made here. Case i of a seed is always the same: `--case I` runs it
alone. A case is as it should be if the command ends by itself with exit code 0, or 2 and one line on standard error, if
no input has changed, and if every file that it left is whole. Everything else is a finding, printed as it comes;
the exit code is 1 if there are any. `--only "mp4 video"` runs the cases of one kind.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

SECONDS = 180
"""Longest time a command may take."""
CASES_OF_A_PROCESS = 100
"""Compiled programs pile up: a new process starts after so many."""
_READY = "ready"
HOWS = ("flip", "cut", "empty", "swap")
OF_LIBRARIES = ("Corrupt JPEG data", "Premature end of JPEG file", "libpng warning", "libpng error")
"""How lines begin that libjpeg and libpng write past Python, from the threads that read training data; one of ours is
to stand beside them."""


class Result(NamedTuple):
    """How a case ended.

    Attributes:
        number: of the case.
        kind: of the damaged input.
        damage: which file, and what was done to it.
        code: exit code; None if the process ended or hung.
        finding: what is wrong; empty if all is as it should be.
    """

    number: int
    kind: str
    damage: str
    code: int | None
    finding: str


def main() -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="how many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="WORDS", help="the cases of kinds of input with these words")
    parser.add_argument("--case", type=int, help="run this one only, and show what it says")
    options = parser.parse_args()
    from tests.reliability.inputs import KINDS

    numbers = range(options.count) if options.case is None else [options.case]
    chosen = [number for number in numbers if options.only in KINDS[number % len(KINDS)].name]
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for result in _run_all(pathlib.Path(folder), options.seed, chosen, verbose=options.case is not None):
            results.append(result)
            if result.finding:
                damage = f"case {result.number}: {result.kind}, {result.damage}"
                print(f"{damage}: exit code {result.code}: {result.finding}", flush=True)
    _print_table(results)
    findings = [result for result in results if result.finding]
    print(f"{len(results)} damaged inputs, {len(findings)} findings")
    return 1 if findings else 0


def _run_all(folder: pathlib.Path, seed: int, numbers: list[int], *, verbose: bool) -> Iterator[Result]:
    """The cases one after another, in a process that is replaced where it ends or hangs."""
    context = multiprocessing.get_context("spawn")
    waiting = collections.deque(numbers)
    while waiting:
        ours, theirs = context.Pipe()
        share = [waiting.popleft() for _ in range(min(CASES_OF_A_PROCESS, len(waiting)))]
        process = context.Process(target=_work, args=(theirs, folder, seed, share, verbose))
        process.start()
        theirs.close()
        if _receive(ours, None) != _READY:
            raise SystemExit("the undamaged inputs cannot be made")
        while share:
            number = share[0]
            answer = _receive(ours, SECONDS)
            share.pop(0)
            if isinstance(answer, Result):
                yield answer
                _show_progress(len(numbers) - len(waiting) - len(share), len(numbers))
                continue
            kind, damage, _ = _plan(folder, seed, number)
            yield Result(number, kind, damage, None, answer)
            break
        process.kill()
        process.join()
        waiting.extendleft(reversed(share))


def _receive(connection: Any, seconds: float | None) -> Any:
    """What the process says next; a text where it says nothing."""
    try:
        return connection.recv() if connection.poll(seconds) else f"hangs for more than {seconds} s"
    except EOFError:
        return "the process crashed"


def _show_progress(done: int, total: int) -> None:
    if sys.stdout.isatty() or done % 100 == 0:
        print(f"{done}/{total}", flush=True)


def _work(connection: Any, folder: pathlib.Path, seed: int, numbers: list[int], verbose: bool) -> None:
    """In a process of its own: runs cases and sends their results."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Compiling is nearly all that a command does with a micro network; equal programs are compiled once.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    from tests.reliability.inputs import KINDS, make_inputs

    if not (folder / "inputs").exists():
        with contextlib.redirect_stdout(None):
            make_inputs(folder / "making")
        (folder / "making").rename(folder / "inputs")
    connection.send(_READY)
    kinds = {kind.name: kind for kind in KINDS}
    right: dict[str, dict[str, str]] = {}
    for number in numbers:
        name, damage, content = _plan(folder, seed, number)
        kind, case = kinds[name], folder / "case"
        if kind.exact and name not in right:
            _copy_inputs(folder, case)
            _run(kind, case)
            right[name] = _digests(case / "out")
        _copy_inputs(folder, case)
        (case / "inputs" / damage.split(": ")[0]).write_bytes(content)
        before = _digests(case / "inputs")
        code, said = _run(kind, case)
        if verbose:
            print((case / "stdout").read_text(errors="replace"), said, sep="")
        finding = _judge(code, said, case / "out") or _changes(before, _digests(case / "inputs"))
        if not finding and code == 0 and kind.exact and _digests(case / "out") != right[name]:
            finding = "read as another value without a word"
        connection.send(Result(number, name, damage, code, finding))


def _copy_inputs(folder: pathlib.Path, case: pathlib.Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(folder / "inputs", case / "inputs")
    (case / "out").mkdir()


def _run(kind: Any, case: pathlib.Path) -> tuple[int, str]:
    """Exit code of a kind's command, and what it said on standard error."""
    with _captured(case / "stderr", case / "stdout"):
        code = kind.command(case / "inputs", case / "out")
    return code, (case / "stderr").read_text(errors="replace")


def _plan(folder: pathlib.Path, seed: int, number: int) -> tuple[str, str, bytes]:
    """What a case damages, how, and the damaged file's content."""
    from tests.reliability.inputs import KINDS

    rng = random.Random(f"{seed}/{number}")
    inputs = folder / "inputs"
    kind = KINDS[number % len(KINDS)]
    chosen = rng.choice(sorted({path for pattern in kind.files for path in inputs.glob(pattern) if path.is_file()}))
    content = bytearray(chosen.read_bytes())
    how = rng.choice(HOWS)
    if how == "flip":
        places = [rng.randrange(len(content)) for _ in range(rng.choice((1, 1, 2, 8, 64)))] if content else []
        for place in places:
            content[place] ^= 1 << rng.randrange(8)
        how = f"{len(places)} flipped bytes"
    elif how == "cut":
        length = rng.randrange(len(content)) if content else 0
        content, how = content[:length], f"cut after {length} of {len(content)} bytes"
    elif how == "empty":
        content, how = bytearray(), "emptied"
    else:
        others = sorted(path for path in inputs.rglob("*") if path.is_file() and path.suffix != chosen.suffix)
        other = rng.choice(others)
        content, how = bytearray(other.read_bytes()), f"replaced by {other.relative_to(inputs)}"
    return kind.name, f"{chosen.relative_to(inputs)}: {how}", bytes(content)


@contextlib.contextmanager
def _captured(errors: pathlib.Path, output: pathlib.Path) -> Iterator[None]:
    """Both streams into files, with what libraries write past Python."""
    with contextlib.ExitStack() as stack:
        for number, path, stream in ((1, output, sys.stdout), (2, errors, sys.stderr)):
            stream.flush()
            kept = os.dup(number)
            file = stack.enter_context(path.open("wb"))
            os.dup2(file.fileno(), number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            stack.callback(stream.flush)
        yield


def _judge(code: int, said: str, out: pathlib.Path) -> str:
    """What is wrong with the way in which a command ended."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(OF_LIBRARIES)]
    if "Traceback (most recent call last)" in said:
        return f"traceback: {lines[-1][:300]}"
    if code not in (0, 2):
        return lines[-1][:300] if lines else "not a word"
    if code == 2 and len(lines) != 1:
        return f"{len(lines)} lines: {' | '.join(lines)[:300]}"
    return next((f"{path.relative_to(out)} is left {what}" for path, what in _unfinished(out)), "")


def _unfinished(out: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    import cv2
    from PIL import Image

    # The command's own copies of inputs, which are damaged, are no outputs.
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        relative = path.relative_to(out)
        if relative.parts[0] in ("checkpoints", "project", "results"):
            continue
        if any(part.startswith(".") for part in relative.parts):
            yield path, "over from writing"
        elif path.suffix == ".png":
            try:
                Image.open(path).load()
            except (OSError, SyntaxError, ValueError):
                yield path, "damaged"
        elif path.suffix == ".mp4" and not cv2.VideoCapture(str(path)).read()[0]:
            yield path, "damaged"
        elif path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError:
                yield path, "damaged"


def _digests(folder: pathlib.Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _changes(before: dict[str, str], after: dict[str, str]) -> str:
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"the input {changed[0]} was changed" if changed else ""


def _print_table(results: list[Result]) -> None:
    kinds = list(dict.fromkeys(result.kind for result in results))
    print(f"{'damaged input':<26}{'cases':>7}{'read':>7}{'refused':>9}{'findings':>10}")
    for kind in kinds:
        ours = [result for result in results if result.kind == kind]
        counts = collections.Counter("findings" if r.finding else "read" if r.code == 0 else "refused" for r in ours)
        print(f"{kind:<26}{len(ours):>7}{counts['read']:>7}{counts['refused']:>9}{counts['findings']:>10}")


if __name__ == "__main__":
    start = time.monotonic()
    status = main()
    print(f"{time.monotonic() - start:.0f} s")
    sys.exit(status)
