"""The thin client, on both machines, against a door of our own: what it asks, what it passes on, when not."""

from __future__ import annotations

import array
import os
import pty
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.base.launch import COLD
from atoll.cli import quick, thin
from atoll.cli.thin import frame
from kit.waiting import until

MADE = ("-SI", "-c", "boot\ntext", "/the/package", "atoll.cli.main")
REFUSED = "-SI -c boot\ntext /the/package " + COLD


class Door:
    """Listens where a spawner would; `reply(connection, words)` is what it does with a request."""

    def __init__(self, root: str) -> None:
        os.mkdir(root, 0o700)
        self.root = root
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(root + quick.DOOR.decode())
        self.listener.listen()
        self.requests: list[tuple[list[bytes], list[int]]] = []
        self.reply: Callable[[socket.socket, list[int]], None] = lambda peer, fds: peer.sendall(b"c") or None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                data, fds, _, _ = socket.recv_fds(peer, 65536, 8)
                while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
                    more = peer.recv(1 << 20)
                    assert more, "the request was cut"
                    data += more
                self.requests.append((data[4:].split(b"\0"), fds))
                self.reply(peer, fds)
            for fd in fds:
                os.close(fd)

    def answers(self, code: int | None, pid: int | None = None) -> None:
        """Begin with the command, as that process or this one, and tell its exit code; None: be killed."""

        def reply(peer: socket.socket, fds: list[int]) -> None:
            pidfd = os.pidfd_open(pid or os.getpid())
            peer.sendmsg([b"w"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))])
            if pid is not None:
                select.select([pidfd], [], [])
            os.close(pidfd)
            if code is not None:
                peer.sendall(bytes((code,)))

        self.reply = reply


@pytest.fixture
def door(tmp_path) -> Iterator[Door]:
    one = Door(f"{tmp_path}/run")
    yield one
    one.listener.close()


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def words(request, tmp_path_factory) -> tuple[str, ...]:
    """What runs it: `/bin/echo` is the interpreter."""
    program = thin.image(request.param)
    assert program is not None
    path = tmp_path_factory.mktemp("thin") / request.param
    path.write_bytes(program)
    path.chmod(0o755)
    emulator = () if os.uname().machine == request.param else (f"/usr/bin/qemu-{request.param}-static",)
    return (*emulator, str(path), "/bin/echo", *MADE)


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> tuple[str, ...]:
    """The same, of this machine: an emulator has an environment, dispositions and stops of its own."""
    program = thin.image(os.uname().machine)
    assert program is not None
    path = tmp_path_factory.mktemp("thin") / "native"
    path.write_bytes(program)
    path.chmod(0o755)
    return (str(path), "/bin/echo", *MADE)


def environment(door: Door, **more: str) -> dict[str, str]:
    return {"ATOLL_RUN_ROOT": door.root, "A": "1", **more}


def ran(words: tuple[str, ...], door: Door, *given: str, **how: Any) -> subprocess.CompletedProcess[str]:
    how = {
        "env": environment(door),
        "capture_output": True,
        "text": True,
        "timeout": 60,
        "stdin": subprocess.DEVNULL,
    } | how
    return subprocess.run([*words, *given], **how)


@pytest.mark.parametrize("code", [0, 7, 255])
def test_what_it_asks_and_how_it_ends(words: tuple[str, ...], door: Door, code: int, tmp_path) -> None:
    door.answers(code)
    seen: list[Any] = []
    answer = door.reply

    def look(peer: socket.socket, fds: list[int]) -> None:
        seen.extend([os.fstat(fds[3]).st_ino, os.get_blocking(fds[4])])
        os.write(fds[1], b"through the descriptor\n")
        answer(peer, fds)

    door.reply = look
    done = ran(words, door, "exec", "web", "", "grüße", cwd=str(tmp_path))
    assert (done.returncode, done.stdout) == (code, "through the descriptor\n")
    ((request, fds),) = door.requests
    assert request[:7] == [quick.VERSION, b"/the/package", b"4", b"exec", b"web", b"", "grüße".encode()]
    assert sorted(request[7:]) == sorted([f"{name}={value}".encode() for name, value in environment(door).items()])
    assert len(fds) == 5
    assert seen[0] == os.stat(tmp_path).st_ino


def test_much_to_say(words: tuple[str, ...], door: Door) -> None:
    door.answers(0)
    long = {f"VARIABLE_{number}": "x" * 100_000 for number in range(8)}
    given = [str(number) for number in range(1234)]
    assert ran(words, door, "run", *given, env=environment(door, **long)).returncode == 0
    ((request, _),) = door.requests
    assert request[2] == b"1235"
    assert request[4 : 4 + 1234] == [word.encode() for word in given]
    assert sum(map(len, request)) > 800_000


def test_declined(words: tuple[str, ...], door: Door) -> None:
    done = ran(words, door, "ps", "-a")
    assert done.stdout == f"{REFUSED} ps -a\n"
    assert len(door.requests) == 1


CASES = [
    ["login"], ["-D", "ps"], ["psx"], ["p"], ["container"], ["container", "ls"], ["container", "attach", "a"],
    ["image", "prune"], ["image", "sign", "a"], ["container", "container"], ["network", "create", "a"],
    ["run", "-it", "a"], ["run", "a", "-i"], ["exec", "--tty", "a"], ["start", "-a", "x"], ["run", "--rm", "-", "x"],
    ["run", "--attach", "x"], ["run", "--", "x"], ["ps", "-i"], [""], ["system", "df"], ["volume"],
    ["exec", "-e", "A=ita", "b"],
]  # fmt: skip


@pytest.mark.parametrize("argv", CASES, ids=" ".join)
@pytest.mark.parametrize("terminal", [False, True])
def test_it_asks_for_the_same_commands(words: tuple[str, ...], door: Door, argv: list[str], terminal: bool) -> None:
    """As `quick.py` does."""
    door.answers(3)
    master, slave = pty.openpty() if terminal else (-1, os.open("/dev/null", os.O_RDONLY))
    kept = os.dup(0)
    try:
        os.dup2(slave, 0)
        suits = quick._suits(argv)
        done = ran(words, door, *argv, stdin=slave)
    finally:
        os.dup2(kept, 0)
        for fd in (master, slave, kept):
            if fd >= 0:
                os.close(fd)
    assert (done.returncode, done.stdout) == ((3, "") if suits else (0, f"{REFUSED} {' '.join(argv)}\n"))


def test_where_it_does_not_ask(words: tuple[str, ...], door: Door, tmp_path) -> None:
    cold = f"{REFUSED} ps\n"
    for more in ({"ATOLL_SPAWNER": "off"}, {"ATOLL_TIMING": ""}, {"ATOLL_RUN_ROOT": f"{tmp_path}/nowhere"},
                 {"ATOLL_RUN_ROOT": "/" + "x" * 200}):  # fmt: skip
        assert ran(words, door, "ps", env=environment(door, **more)).stdout == cold
    assert ran(words, door, "ps", preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [1])).stdout == cold
    assert ran(words, door, "ps", preexec_fn=lambda: os.close(0)).stdout == cold
    for mode in (0o755, 0o1777, 0o710):
        os.chmod(door.root, mode)
        assert ran(words, door, "ps").stdout == cold
    os.chmod(door.root, 0o700)
    os.symlink(door.root, f"{tmp_path}/link")
    assert ran(words, door, "ps", env=environment(door, ATOLL_RUN_ROOT=f"{tmp_path}/link")).stdout == cold
    os.unlink(door.root + quick.DOOR.decode())
    assert ran(words, door, "ps").stdout == cold
    assert door.requests == []
    assert ran(words, door).stdout == f"{REFUSED}\n"


def test_the_run_root_as_the_engine_has_it(words: tuple[str, ...], door: Door) -> None:
    """Without a variable of ours; a stranger's XDG_RUNTIME_DIR counts for an ordinary user only."""
    door.answers(0)
    os.rename(door.root, os.path.dirname(door.root) + "/atoll")
    done = ran(words, door, "ps", env={"XDG_RUNTIME_DIR": os.path.dirname(door.root)})
    assert len(door.requests) == (1 if os.geteuid() else 0)
    assert done.returncode == 0


def test_variables_that_are_there_twice(native: tuple[str, ...], door: Door, tmp_path) -> None:
    """The first counts, as in the interpreter."""
    door.answers(5)
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes, sys\nlibc = ctypes.CDLL(None)\n"
        "argv = (ctypes.c_char_p * len(sys.argv))(*[w.encode() for w in sys.argv[2:]], None)\n"
        "envp = (ctypes.c_char_p * 3)(b'ATOLL_RUN_ROOT=' + sys.argv[1].encode(), b'ATOLL_RUN_ROOT=/no', None)\n"
        "libc.execve(argv[0], argv, envp)\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-I", script, door.root, *native, "ps"], stdin=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == 5


def stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()[0] == "T"


def test_signals_and_the_end_by_one(words: tuple[str, ...], door: Door) -> None:
    worker = subprocess.Popen(["/bin/sleep", "600"])
    door.answers(None, worker.pid)
    asking = subprocess.Popen([*words, "wait", "x"], env=environment(door), stdin=subprocess.DEVNULL)
    try:
        until(lambda: bool(door.requests))
        until(lambda: caught(asking.pid) >= 2)  # it waits
        os.kill(asking.pid, signal.SIGTERM)
        assert worker.wait(30) == -signal.SIGTERM
        assert asking.wait(30) == -signal.SIGTERM
    finally:
        worker.kill()
        asking.kill()
        asking.wait()


def caught(pid: int) -> int:
    """How many signalfds and sockets it has."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith(("anon_inode:[signalfd]", "socket:"))
        except OSError:
            continue
    return found


def test_both_stand_still_and_go_on(native: tuple[str, ...], door: Door) -> None:
    worker = subprocess.Popen(["/bin/sleep", "600"])
    door.answers(None, worker.pid)
    # In a group that is not orphaned, which is not that of the tests.
    asking = subprocess.Popen(
        [*native, "wait", "x"], env=environment(door), stdin=subprocess.DEVNULL, process_group=0
    )
    try:
        until(lambda: caught(asking.pid) >= 2)
        os.kill(asking.pid, signal.SIGTSTP)
        until(lambda: stopped(worker.pid) and stopped(asking.pid))
        os.kill(asking.pid, signal.SIGCONT)
        until(lambda: not stopped(worker.pid) and not stopped(asking.pid))
    finally:
        worker.kill()
        worker.wait()
        assert asking.wait(30) == 137


def test_a_worker_that_was_killed(words: tuple[str, ...], door: Door) -> None:
    door.answers(None)
    done = ran(words, door, "ps")
    assert (done.returncode, done.stderr) == (137, frame.SAID.decode())


def test_what_is_ignored_stays_ignored(native: tuple[str, ...], door: Door) -> None:
    worker = subprocess.Popen(["/bin/sleep", "600"])
    door.answers(None, worker.pid)
    asking = subprocess.Popen(
        [*native, "wait", "x"], env=environment(door), stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    try:
        until(lambda: caught(asking.pid) >= 2)
        os.kill(asking.pid, signal.SIGHUP)
        os.kill(asking.pid, signal.SIGINT)  # comes after it, and is passed on
        assert worker.wait(30) == -signal.SIGINT
        assert asking.wait(30) == -signal.SIGINT
    finally:
        worker.kill()
        asking.kill()
        asking.wait()


def test_it_is_made_once_and_mended(tmp_path) -> None:
    os.makedirs(f"{tmp_path}/atoll/__pycache__")
    path = f"{tmp_path}/{thin.FILE}"
    thin.keep(str(tmp_path))
    before = os.stat(path)
    assert before.st_mode & 0o777 == 0o755
    thin.keep(str(tmp_path))
    assert os.stat(path).st_ino == before.st_ino
    os.chmod(path, 0o644)
    thin.keep(str(tmp_path))
    assert os.stat(path).st_mode & 0o777 == 0o755
    thin.keep(f"{tmp_path}/nowhere")  # not ours to write: nothing
    assert thin.image("riscv64") is None
