"""The spawner: `atoll:[spawner]`, the warm parent that monitors are forked from.

Holds: its loop and its end (`Spawner`), a monitor without a spawner (`run_alone`). Does not hold: starting one
(`client.py`, `boot.py`), what monitors do (`service.py`). It reads no request: it forks for each connection, and the
fork reads. What a broken or hostile command can do to it is therefore to connect.

It is a cache, never a requirement. What it gives: monitors that share its pages, a sealed interpreter, a fork that is
safe whatever threads the caller has. What it holds: a duplicate of each terminal's master, so that a container whose
monitor is killed is not hung up, and the exit status of such a container, whose init comes to it as an orphan.
Killed itself it is missed by nobody: monitors live on, and the next command starts another.

It stays in the cgroup in which the first command started it; its monitors are charged there too, the containers
never. Everything that monitors need is imported here, before the first fork: the package and the interpreter may be
replaced under running containers.

Its end, once it has been idle for `idle` seconds without a fork: unlink the socket under the lock that clients
connect and bind under, serve whoever connected before that, go.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import gc
import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, socket, socketpair

from atoll.base import errors, files, jsontext
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import service, sockets
from atoll.monitor.loop import POLLIN, Loop, children, watch_children
from atoll.monitor.monitor import mourn
from atoll.monitor.protocol import control
from atoll.monitor.spawning import in_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

UNCLAIMED_MAX = 256
"""Most forks that have not yet reported a container; further connections wait in the backlog."""
REPORT_MAX = 8192


class Spawner:
    """`listener` is bound to `path`; `lock` is the file that clients connect (shared) and bind (alone) under."""

    def __init__(self, listener: socket, path: str, lock: str, idle: float) -> None:
        self.listener: socket | None = listener
        self.path, self.lock, self.idle = path, lock, idle
        self.loop = Loop()
        self.forks: set[int] = set()
        self.monitors: dict[int, tuple[int, str, int]] = {}  # monitor -> its init, run directory, spare terminal
        self.orphans: dict[int, tuple[str, int]] = {}  # init whose monitor was killed -> run directory, terminal
        self.reports, self.report = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        self.reports.setblocking(False)
        self.identity = _identity(path)
        listener.setblocking(False)

    def run(self) -> None:
        """Serve until idle."""
        watch_children(self.loop, self.reap)
        self.loop.watch(self.reports.fileno(), POLLIN, lambda _: self.hear())
        self._gate()
        gc.collect()
        gc.freeze()  # a collection in a fork would write to every page of what lies here
        last = time.monotonic()
        while True:
            busy = bool(self.forks or self.orphans)
            self.loop.turn(None if busy else max(0.02, last + self.idle - time.monotonic()))
            if busy or self.forks:
                last = time.monotonic()
            elif time.monotonic() - last >= self.idle:
                self._retire()
                if self.listener is None and not self.forks:
                    return

    # -- connections

    def _gate(self) -> None:
        """Take connections while there is room for forks."""
        if self.listener is None:
            return
        if len(self.forks) - len(self.monitors) >= UNCLAIMED_MAX:
            self.loop.forget(self.listener.fileno())
        elif not self.loop.watches(self.listener.fileno()):
            self.loop.watch(self.listener.fileno(), POLLIN, self._knock)

    def _knock(self, _: int) -> None:
        self.admit()

    def admit(self) -> bool:
        """Take one connection and fork for it; whether there was one."""
        try:
            connection = sockets.accept(self.listener.fileno())  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError, ConnectionError):
            return False
        except OSError:  # out of descriptors or memory: wait for some to be given back, do not spin
            time.sleep(0.05)
            return False
        try:
            sockets.check_peer(connection)
            self._fork(lambda: self._serve(connection))
        except OSError as error:
            refuse(connection, errors.from_os_error(error, "fork a monitor"))
        except errors.AtollError:  # another user's process: nothing is owed to it
            pass
        connection.close()
        self._gate()
        return True

    def _serve(self, connection: socket) -> None:
        """In the fork: of the spawner's descriptors it keeps the connection and the way to report."""
        report = self.report
        _close_but(connection, report)
        self.monitors = {}
        service.serve(connection, lambda pid, run, console: _report(report, pid, run, console))

    def _fork(self, life: Callable[[], None]) -> None:
        pid = os.fork()
        if pid:
            self.forks.add(pid)
            return
        in_fork(life)

    # -- what monitors leave with it

    def hear(self) -> None:
        """Take in what monitors report: their container's init, and a spare of its terminal."""
        while True:
            try:
                data, fds = sockets.receive_with_fds(self.reports, REPORT_MAX, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # no descriptor left for the spare: the container does without
                continue
            try:
                monitor, init, run = jsontext.loads(data)
            except (ValueError, TypeError):
                monitor, init, run = 0, 0, ""
            if monitor in self.forks:
                self.monitors[monitor] = (init, run, fds.pop() if fds else -1)
            for fd in fds:
                os.close(fd)
            self._gate()

    def reap(self) -> None:
        """Take in the ends of monitors, and of containers whose monitor was killed.

        An init becomes our child in the same moment as its monitor becomes a zombie, so both are in one batch at the
        earliest; monitors are looked at first.
        """
        self.hear()
        ended = dict(children())
        for pid, status in ended.items():
            if pid in self.forks:
                self.forks.discard(pid)
                init, run, terminal = self.monitors.pop(pid, (0, "", -1))
                if init and status != 0 and (init in ended or _is_our_child(init)):
                    self.orphans[init] = (run, terminal)
                elif init and status != 0:
                    self._fork(lambda run=run: self._mourn(run, None))  # type: ignore[misc]
                if terminal >= 0 and init not in self.orphans:
                    os.close(terminal)
        for pid, status in ended.items():
            if pid in self.orphans:
                run, terminal = self.orphans.pop(pid)
                if terminal >= 0:
                    os.close(terminal)
                self._fork(lambda run=run, status=status: self._mourn(run, status))  # type: ignore[misc]
        self._gate()

    def _mourn(self, run: str, status: int | None) -> None:
        _close_but(self.report)
        mourn(run, status)

    # -- its end

    def _retire(self) -> None:
        """Stop listening, unless a client is just connecting. The lock is given back before anything is forked:
        a fork's copy would keep it."""
        if self.listener is None:
            return
        lock = files.FileLock(self.lock)
        try:
            if not lock.acquire(blocking=False):
                return
        except OSError:  # the run root was removed; so was the socket
            pass
        try:
            if _identity(self.path) == self.identity:
                files.unlink_if_present(self.path)
        finally:
            lock.release()
        while self.admit():
            pass
        self.loop.forget(self.listener.fileno())
        self.listener.close()
        self.listener = None


def _identity(path: str) -> tuple[int, int]:
    """Which file the socket's name stands for, (0, 0) for none."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _is_our_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _close_but(*kept: socket) -> None:
    """Close every descriptor from 3 on but those of `kept`."""
    _signal.set_wakeup_fd(-1)  # its pipe is about to go, and its number to be used anew
    start = 3
    for fd in sorted(one.fileno() for one in kept):
        if fd > start:
            process.close_range(start, fd - 1)
        start = fd + 1
    process.close_range(start)


def _report(report: socket, pid: int, run: str, console: int | None) -> None:
    message = jsontext.dumps([os.getpid(), pid, run]).encode()
    try:
        sockets.send_with_fds(report, message, () if console is None else (console,))
    except OSError:  # the spawner is gone: that costs the spare, not the container
        pass
    report.close()


def refuse(connection: socket, error: errors.AtollError) -> None:
    """Tell one command why it is not served."""
    try:
        connection.setblocking(False)
        connection.send(control({"is": "error", "error": error.to_json()}))
    except OSError:
        pass


def run_spawner(listener: int, path: str, lock: str, idle: float) -> None:
    """Be the spawner on an inherited listening socket until idle."""
    set_title("atoll:[spawner]")
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    Spawner(socket(AF_UNIX, SOCK_STREAM, 0, listener), path, lock, idle).run()


def run_alone(connection: int) -> None:
    """Be one monitor or exec session on an inherited connection, without a spawner."""
    service.serve(socket(AF_UNIX, SOCK_STREAM, 0, connection), lambda pid, run, console: None)
