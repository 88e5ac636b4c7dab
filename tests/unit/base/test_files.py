import errno
import os
import shutil
import threading

import pytest

from atoll.base import files


def test_write_atomic_replaces_whole_and_sets_the_mode(tmp_path):
    path = str(tmp_path / "f")
    files.write_atomic(path, "one")
    files.write_atomic(path, b"two", mode=0o640, sync=True)
    assert files.read_text(path) == "two"
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["f"]


def test_write_atomic_failure_leaves_the_old_content_and_no_temporary(tmp_path):
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "inside").write_text("x")
    with pytest.raises(OSError):
        files.write_atomic(str(directory), "x")  # a directory cannot be replaced by a file
    assert sorted(os.listdir(tmp_path)) == ["d"]


def test_write_atomic_does_not_follow_a_planted_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (tmp_path / f"f.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(OSError):
        files.write_atomic(str(tmp_path / "f"), "evil")
    assert victim.read_text() == "safe"


def test_remove_tree_follows_no_link_and_takes_what_lacks_permission(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").write_text("x")
    (tree / "link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    os.chmod(tree / "a" / "b", 0)
    files.remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "keep").exists()


def test_remove_tree_of_nothing_a_file_and_a_link(tmp_path):
    files.remove_tree(str(tmp_path / "absent"))
    files.remove_tree(str(tmp_path / "absent" / "deeper"))
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("f")
    files.remove_tree(str(tmp_path / "l"))
    assert (tmp_path / "f").exists()
    files.remove_tree(str(tmp_path / "f"))
    assert os.listdir(tmp_path) == []


def test_lock_excludes_and_is_released(tmp_path):
    path = str(tmp_path / "lock")
    with files.FileLock(path):
        second = files.FileLock(path)
        assert not second.acquire(blocking=False)
    assert second.acquire(blocking=False)
    second.release()
    second.release()


def test_lock_waits_for_the_holder(tmp_path):
    path = str(tmp_path / "lock")
    first, order = files.FileLock(path), []
    first.acquire()

    def other():
        with files.FileLock(path):
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    order.append("first")
    first.release()
    thread.join(10)
    assert order == ["first", "second"]


def test_shared_locks_coexist(tmp_path):
    path = str(tmp_path / "lock")
    one, two = files.FileLock(path), files.FileLock(path)
    assert one.acquire(shared=True)
    assert two.acquire(shared=True, blocking=False)
    assert not files.FileLock(path).acquire(blocking=False)
    one.release()
    two.release()


@pytest.mark.parametrize("known", [True, False])
def test_a_file_without_a_name(tmp_path, monkeypatch, known):
    real = os.open

    def refusing(path, flags, mode=0o777, **how):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no such files here")
        return real(path, flags, mode, **how)

    if not known:
        monkeypatch.setattr(os, "open", refusing)
    fd = files.unnamed(str(tmp_path))
    try:
        files.write_all(fd, b"content")
        assert os.pread(fd, 100, 0) == b"content"
        assert os.fstat(fd).st_nlink == 0
        assert os.listdir(tmp_path) == []
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
    with pytest.raises(FileNotFoundError):
        files.unnamed(str(tmp_path / "absent"))


def test_write_all_survives_short_writes():
    reader, writer = os.pipe()
    data = os.urandom(300_000)
    received = bytearray()

    def drain():
        while chunk := os.read(reader, 4096):
            received.extend(chunk)

    thread = threading.Thread(target=drain)
    thread.start()
    files.write_all(writer, data)
    os.close(writer)
    thread.join(10)
    os.close(reader)
    assert bytes(received) == data


def test_two_remove_a_tree_at_once(tmp_path, monkeypatch):
    """A command and a monitor clear the same run directory: whoever is second finds steps of its work done."""
    tree = tmp_path / "tree"
    for step in ("os.open", "os.listdir", "os.rmdir"):
        (tree / "sub").mkdir(parents=True)
        (tree / "file").write_text("x")
        real = getattr(os, step.partition(".")[2])

        def other(*args, real=real, **how):
            monkeypatch.undo()
            if real is not os.open or args[0] == "tree":
                shutil.rmtree(tree, ignore_errors=True)
            return real(*args, **how)

        monkeypatch.setattr(step, other)
        files.remove_tree(str(tree))
        monkeypatch.undo()
        shutil.rmtree(tree, ignore_errors=True)


def test_a_tree_that_somebody_still_writes_to_a_little(tmp_path, monkeypatch):
    """A file that appears between the last look and the removal of the directory."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "old").write_text("x")
    left = [3]
    listed = os.listdir

    def late(where):
        found = listed(where)
        if left[0]:
            left[0] -= 1
            (tree / f"late{left[0]}").write_text("x")
        return found

    monkeypatch.setattr(os, "listdir", late)
    files.remove_tree(str(tree))
    assert not tree.exists()
    tree.mkdir()
    (tree / "old").write_text("x")
    left[0] = 1000
    with pytest.raises(OSError, match="not empty"):
        files.remove_tree(str(tree))


@pytest.fixture(params=["nameless", "named"])
def pending(request, monkeypatch):
    """On a file system that has files without names, and on one that has not."""
    if request.param == "named":
        real = os.open

        def refuse(path, flags, *mode, **how):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no such thing")
            return real(path, flags, *mode, **how)

        monkeypatch.setattr(os, "open", refuse)
    return request.param


def test_a_pending_file_is_there_when_it_is_whole(tmp_path, pending):
    path = tmp_path / "f"
    with files.Pending(str(path)) as one:
        os.write(one.fd, b"half")
        assert os.listdir(tmp_path) == ([] if pending == "nameless" else ["f.tmp"])
        os.write(one.fd, b" and half")
        one.keep()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"half and half", 0o600)
    assert os.listdir(tmp_path) == ["f"]


def test_a_pending_file_that_fails_or_is_killed(tmp_path, pending):
    path = tmp_path / "f"
    with pytest.raises(ValueError, match="half way"), files.Pending(str(path)) as one:
        os.write(one.fd, b"half")
        raise ValueError("half way")
    assert os.listdir(tmp_path) == []
    child = os.fork()
    if child == 0:
        os.write(files.Pending(str(path)).fd, b"half")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.listdir(tmp_path) == ([] if pending == "nameless" else ["f.tmp"])
    with files.Pending(str(path)) as one:  # what is left is in nobody's way
        os.write(one.fd, b"whole")
        one.keep()
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["f"]
