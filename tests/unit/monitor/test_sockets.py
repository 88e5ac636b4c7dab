"""Path sockets: safe directories, long paths, peers, descriptors."""

import os
from _socket import AF_UNIX, SOCK_STREAM, socketpair

import pytest

from atoll.base import errors
from atoll.monitor import sockets


def test_the_directory_is_made_private(tmp_path):
    path = str(tmp_path / "run")
    sockets.check_directory(path)
    assert os.stat(path).st_mode & 0o777 == 0o700
    sockets.check_directory(path)


def test_a_directory_open_to_others_is_refused(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o755)
    with pytest.raises(errors.Denied, match="open to other users"):
        sockets.check_directory(str(path))


def test_a_link_or_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("")
    for name in ("run", "file"):
        with pytest.raises(errors.Denied):
            sockets.check_directory(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away: run as root")
def test_another_users_directory_is_refused(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    os.chown(path, 61500, 61500)
    with pytest.raises(errors.Denied):
        sockets.check_directory(str(path))


@pytest.mark.parametrize("depth", [0, 3])
def test_sockets_reach_beyond_the_length_of_sun_path(tmp_path, depth):
    folder = str(tmp_path)
    for _ in range(depth):
        folder += "/" + "x" * 60
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/a.sock"
    server = sockets.listen(path)
    client = sockets.connect(path)
    served = sockets.accept(server.fileno())
    assert sockets.check_peer(served) == os.getpid()
    assert not os.get_inheritable(served.fileno())
    client.send(b"x")
    assert served.recv(1) == b"x"


def test_nobody_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        sockets.connect(str(tmp_path / "absent"))
    path = str(tmp_path / "stale")
    sockets.listen(path).close()
    with pytest.raises(ConnectionRefusedError):
        sockets.connect(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: run as root")
def test_another_users_listener_is_refused(tmp_path):
    path = str(tmp_path / "s")
    os.chmod(tmp_path, 0o777)
    for parent in tmp_path.parents:  # pytest's own directories are 0700; nobody else's is touched
        if parent.name.startswith(("pytest-", "popen-", "test_")):
            os.chmod(parent, 0o755)
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(61500, 61500, 61500)
            server = sockets.listen(path)
            os.write(tell, b"1")
            sockets.accept(server.fileno())
        finally:
            os._exit(0)
    os.read(ready, 1)
    with pytest.raises(errors.Denied, match="user 61500"):
        sockets.connect(path)
    os.waitpid(pid, 0)


def test_descriptors_travel_with_the_first_byte_and_are_close_on_exec():
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    out, into = os.pipe()
    sockets.send_with_fds(ours, b"hello", (out, into))
    data, fds = sockets.receive_with_fds(theirs, 100, 8)
    assert data == b"hello"
    assert len(fds) == 2
    assert not any(os.get_inheritable(fd) for fd in fds)
    os.write(fds[1], b"through")
    assert os.read(fds[0], 10) == b"through"


def test_descriptors_beyond_the_limit_are_closed_by_the_kernel():
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    out, into = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    sockets.send_with_fds(ours, b"x", (out,) * 20)
    _, fds = sockets.receive_with_fds(theirs, 100, 2)
    assert len(fds) <= 3  # the control buffer is aligned
    assert len(os.listdir("/proc/self/fd")) == before + len(fds)
    for fd in (*fds, into):
        os.close(fd)
