"""Compiled programs on disk: found again, bounded, whole. In processes of their own: the settings are a process's."""

import os
import subprocess
import sys

import pytest

from ranet_jax import compilation
from ranet_jax.errors import InputError

PROGRAM = """
import jax, jax.monitoring
from ranet_jax import compilation
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
compilation.SHORTEST_COMPILATION = 0.0
{setting}
jax.jit(lambda x: x * 2 + 1)(1.0)
print(found.count("/jax/compilation_cache/cache_hits"), found.count("/jax/compilation_cache/cache_misses"))
print(jax.config.jax_compilation_cache_max_size)
"""


def _run(environment, setting="compilation.keep_compiled_programs()"):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(setting=setting)]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@pytest.fixture
def user(tmp_path):
    """Variables under which the user's cache folder is a fresh one."""
    return {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}


def test_a_second_run_finds_what_the_first_compiled(user):
    bound = 2 * 1024**3
    assert _run(user) == (0, 1, bound)
    assert _run(user) == (1, 0, bound)


def test_a_program_cut_off_in_writing_is_dropped(user, tmp_path):
    _run(user)
    [program] = tmp_path.rglob("jit__lambda*-cache")
    unfinished = program.with_name("jit_cut-0123-cache")
    unfinished.write_bytes(program.read_bytes()[:9])
    # Another program, so that one is written: that is when JAX adds up the folder.
    other = "compilation.keep_compiled_programs(); jax.jit(lambda x: x * 3)(1.0)"
    assert _run(user, other)[0] == 1
    assert not unfinished.exists()
    assert program.exists()


def test_a_folder_of_the_users_choice_keeps_jaxs_own_bound(user, tmp_path):
    chosen = tmp_path / "chosen"
    assert _run(user | {"JAX_COMPILATION_CACHE_DIR": str(chosen)}) == (0, 1, -1)
    assert len(list(chosen.glob("*-cache"))) == 1
    (chosen / "another_programs-cache").write_bytes(b"")
    assert _run(user | {"JAX_COMPILATION_CACHE_DIR": str(chosen)}) == (1, 0, -1)
    assert (chosen / "another_programs-cache").exists()


def test_kept_functions_are_whole_and_bounded(tmp_path, monkeypatch):
    """Where the user names no folder; those go first that were not used for longest."""
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(compilation, "CACHE_BYTES", 300)
    kept = compilation.KeptFunctions()
    kept.put("a", b"a" * 50)
    kept.put("b", b"b" * 50)
    assert "a" in kept
    assert kept.get("absent") is None
    [file] = tmp_path.rglob("a.function")
    os.utime(file, (1, 1))
    [other] = tmp_path.rglob("b.function")
    os.utime(other, (2, 2))
    assert kept.get("a") == b"a" * 50, "and it has been used now"
    kept.put("c", b"c" * 150)
    assert kept.get("b") is None
    assert kept.get("a") == b"a" * 50
    content = file.read_bytes()
    for damaged in (b"", content[:20], content[:-1], content[:-1] + b"b"):
        file.write_bytes(damaged)
        assert kept.get("a") is None
    kept.put("a", b"new")
    assert compilation.KeptFunctions().get("a") == b"new"


def test_a_folder_of_the_users_choice_is_not_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "chosen"))
    monkeypatch.setattr(compilation, "CACHE_BYTES", 10)
    kept = compilation.KeptFunctions()
    kept.put("a", b"a" * 50)
    assert kept.get("a") == b"a" * 50
    (tmp_path / "chosen" / "b.function").mkdir()
    kept.put("b", b"what cannot be written is absent, and no error")
    assert kept.get("b") is None
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "chosen" / "a.function"))
    with pytest.raises(InputError, match="no place for compiled programs, so give --no-cache"):
        compilation.KeptFunctions()


def test_nothing_is_kept_where_the_user_says_so(user, tmp_path):
    for _ in range(2):
        hits, _, _ = _run(user | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}, "compilation.compile_anew()")
        assert hits == 0
        assert not list(tmp_path.rglob("*-cache"))
