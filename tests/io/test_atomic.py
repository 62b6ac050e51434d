import errno
import os
import stat

import pytest

from ranet_jax.errors import InputError
from ranet_jax.io.atomic import atomic_file, make_folder


def test_the_file_appears_whole_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "a.png"
    with atomic_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("error", [RuntimeError("fault"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail_half_way():
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_follow_the_umask(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.touch()
    with atomic_file(ours):
        pass
    assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_name_of_the_greatest_length_is_fine(tmp_path):
    with atomic_file(tmp_path / ("n" * 251 + ".png")):
        pass
    with pytest.raises(InputError, match="too long"), atomic_file(tmp_path / ("n" * 252 + ".png")):
        pass


def test_a_folder_in_place_of_the_file(tmp_path):
    target = tmp_path / "a.png"
    target.mkdir()
    with pytest.raises(InputError, match=r"cannot write .*a\.png: it is a folder"), atomic_file(target):
        pytest.fail("the block must not run")


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "a").touch()
    for path in (tmp_path / "a" / "b.png", tmp_path / "a" / "b" / "c.png"):
        with pytest.raises(InputError, match="is a file, not a folder"), atomic_file(path):
            pytest.fail("the block must not run")
    with pytest.raises(InputError, match="is a file, not a folder"):
        make_folder(tmp_path / "a")


def test_a_forbidden_folder(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    if is_root:  # no folder is forbidden to root: become somebody else for a moment
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match="permission denied"), atomic_file(folder / "a.png"):
            pytest.fail("the block must not run")
        with pytest.raises(InputError, match="permission denied"):
            make_folder(folder / "b")
    finally:
        if is_root:
            os.seteuid(0)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path, number):
    with (
        pytest.raises(InputError, match=r"cannot write .*a\.png: .*(space|quota).*room"),
        atomic_file(tmp_path / "a.png"),
    ):
        raise OSError(number, os.strerror(number))  # as `write` reports it: without a file name
    assert list(tmp_path.iterdir()) == []


def test_errors_of_other_files_are_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.png"):
        (tmp_path / "input").read_bytes()
    with pytest.raises(PermissionError), atomic_file(tmp_path / "a.png"):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "other"))
