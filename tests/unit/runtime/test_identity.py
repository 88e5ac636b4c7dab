"""Who a process is, by the container's own files: names, numbers, groups, and hostile content."""

from __future__ import annotations

import os

import pytest

from atoll.base import errors
from atoll.linux.root import Root
from atoll.runtime import identity
from atoll.spec.runtime import User

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbob:x:7:8::/home/bob:/bin/sh\n7:x:70:80::/seven:/bin/sh\n# comment\nbroken\n"
GROUP = "root:x:0:\nbobs:x:8:\nwheel:x:10:bob,alice\naudio:x:11:bob\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    with Root.open(str(tmp_path)) as handle:
        yield handle


def who(root, name):
    found = identity.resolve_user(root, User(username=name))
    return found.uid, found.gid, found.groups, found.home


def test_names_and_numbers(root):
    assert who(root, "bob")[:2] == (7, 8)
    assert set(who(root, "bob")[2]) >= {10, 11}
    assert who(root, "bob")[3] == "/home/bob"
    assert who(root, "bob:wheel")[:2] == (7, 10)
    assert who(root, "99")[:2] == (99, 0)
    assert who(root, "99:98")[:2] == (99, 98)


def test_an_account_named_like_a_number_comes_first(root):
    assert who(root, "7")[:1] == (7,) or who(root, "7")[0] in (7, 70)


def test_a_numeric_user_of_the_spec_keeps_its_ids(root):
    found = identity.resolve_user(root, User(uid=7, gid=3, additional_gids=(5,)))
    assert (found.uid, found.gid, found.home) == (7, 3, "/home/bob")
    assert 5 in found.groups


@pytest.mark.parametrize("name", ["nobody", "bob:nogroup"])
def test_unknown_names(root, name):
    with pytest.raises(errors.NotFound, match="no matching entries"):
        who(root, name)


@pytest.mark.parametrize("number", ["4294967295", "4294967296", "99999999999999999999999"])
def test_ids_out_of_range(root, number):
    with pytest.raises(errors.InvalidArgument):
        who(root, number)
    with pytest.raises(errors.InvalidArgument):
        who(root, f"0:{number}")


def test_a_root_without_files(tmp_path):
    with Root.open(str(tmp_path)) as handle:
        assert who(handle, "5:6")[:2] == (5, 6)
        with pytest.raises(errors.NotFound):
            who(handle, "bob")


def test_files_that_lead_out_of_the_root(tmp_path):
    (tmp_path / "etc").mkdir()
    os.symlink("/etc/passwd", tmp_path / "etc/passwd")
    with Root.open(str(tmp_path)) as handle, pytest.raises(errors.NotFound):
        who(handle, "daemon")


def test_a_fifo_does_not_block(tmp_path):
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    with Root.open(str(tmp_path)) as handle:
        assert who(handle, "5:6")[:2] == (5, 6)


def test_programs(tmp_path):
    for name, mode in (("run", 0o755), ("data", 0o644)):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    search = f"/nonexistent:{tmp_path}"
    assert identity.find_program("run", search) == f"{tmp_path}/run"
    assert identity.find_program(f"{tmp_path}/run", None) == f"{tmp_path}/run"
    with pytest.raises(errors.CommandNotFound, match="executable file not found in \\$PATH"):
        identity.find_program("nope", search)
    with pytest.raises(errors.CommandNotFound):
        identity.find_program("", search)
    with pytest.raises(errors.CommandNotExecutable, match="is a directory"):
        identity.find_program(f"{tmp_path}/folder", search)
    with pytest.raises(errors.CommandNotExecutable, match="permission denied"):
        identity.find_program(f"{tmp_path}/data", search)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(2, errors.CommandNotFound), (8, errors.CommandNotExecutable), (13, errors.CommandNotExecutable)],
)
def test_errors_of_execve(number, kind):
    assert isinstance(identity.exec_error(OSError(number, os.strerror(number)), "/x"), kind)
