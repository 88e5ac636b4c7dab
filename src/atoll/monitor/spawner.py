"""The spawner: `atoll:[spawner]`, the warm parent that monitors are forked from.

Holds: its loop and its end (`Spawner`), a monitor without a spawner (`run_alone`). Does not hold: starting one
(`client.py`, `boot.py`), what monitors do (`service.py`). It reads no request: it forks for each connection, and the
fork reads. What a broken or hostile command can do to it is therefore to connect.

It is a cache, never a requirement. What it gives: monitors that share its pages, a sealed interpreter, a fork that is
safe whatever threads the caller has. What it holds: a duplicate of each terminal's master, so that a container whose
monitor is killed is not hung up, and the exit status of such a container, whose init comes to it as an orphan; it
forks another monitor for it (`takeover.py`). Killed itself it is missed by nobody: monitors live on, and the next
command starts another.

It stays in the cgroup in which the first command started it; its monitors are charged there too, the containers
never. Everything that monitors need is imported here, before the first fork: the package and the interpreter may be
replaced under running containers.

With a `door`, a module of the room that starts it, it also runs whole commands in forks: once the first monitor is
forked and nobody waits, that module is loaded and a second socket opened (`cli/warm.py`). From then on it also keeps
a spare of either kind of fork (`spares.py`).

Its end, once it has been idle for `idle` seconds without a fork: unlink the socket under the lock that clients
connect and bind under, serve whoever connected before that, go.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import gc
import os
import select
import sys
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, socket, socketpair
from _struct import pack

from atoll.base import errors, files
from atoll.base.loop import children
from atoll.linux.process import become_subreaper
from atoll.linux.title import set_title
from atoll.monitor import restart, service, sockets
from atoll.monitor.company import ignore_terminals
from atoll.monitor.monitor import mourn
from atoll.monitor.protocol import control
from atoll.monitor.spares import COMMAND, KEPT_SECONDS, MAKER, MONITOR, Spare, Spares, make_siblings
from atoll.monitor.spawning import fork_patiently, in_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Serve = Callable[[int, Spare | None], None]
    Door = Callable[[], tuple[str, Serve]]

DOOR_DELAY_MS = 200
"""How long nothing happens before the door is made: not while the first commands need the processors."""
DOOR_HASTE_MS = 50
"""By how much less with each connection: who asks again and again without a pause gains most by it."""
UNCLAIMED_MAX = 256
"""Most forks that have not yet reported a container; further connections wait in the backlog."""
FORK_SECONDS = 2.0
"""How long a container whose monitor was killed waits for a process that can be forked."""
REPLACED_MAX = 8
"""How often the monitor of one container is replaced: one that dies each time would go on for ever."""
REPORT_MAX = 1 << 15
FD_LAST = 0x7FFFFFFF
_OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Orphan:
    """A container whose monitor was killed: its run directory, its terminal or -1; where to tell the monitor that was
    forked in its place how the init ended, that monitor, whether it has taken over, and how many there were."""

    __slots__ = ("line", "monitor", "run", "taken", "terminal", "tries")

    def __init__(self, run: str, terminal: int) -> None:
        self.run, self.terminal, self.line, self.monitor, self.taken, self.tries = run, terminal, -1, 0, False, 0

    def drop(self) -> None:
        """Close what is held of it."""
        for fd in (self.line, self.terminal):
            if fd >= 0:
                os.close(fd)
        self.line = self.terminal = -1


class Spawner:
    """`listener` is bound to `path`; `lock` is the file that clients connect (shared) and bind (alone) under; `door`
    opens the second socket: it gives a path, and what serves a connection there."""

    def __init__(self, listener: socket, path: str, lock: str, idle: float, door: Door | None = None) -> None:
        self.listener, self.path, self.lock, self.idle = listener, path, lock, idle
        self.door = door
        self.doorway: tuple[socket, str, tuple[int, int], Serve] | None = None
        self.spares = Spares(self._be_spare, min(KEPT_SECONDS, idle / 2))
        self.listening = True
        self.forks: set[int] = set()
        self.monitors: dict[int, tuple[int, str, int]] = {}  # monitor -> its init, run directory, spare terminal
        self.orphans: dict[int, Orphan] = {}  # by their inits
        self.reports, self.report = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        self.reports.setblocking(False)
        self.identity = _identity(path)
        listener.setblocking(False)

    def run(self) -> None:
        """Serve until idle. One flat loop: what it writes to between two forks is a page more for each monitor,
        which keeps the old version (the same holds for what it calls, so it calls little)."""
        woken, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        _signal.signal(17, _nothing)
        poll = select.poll()
        listener, reports = self.listener.fileno(), self.reports.fileno()
        for fd in (listener, woken, reports):
            poll.register(fd, select.POLLIN)
        fork, close, forks, monitors, spares = os.fork, os.close, self.forks, self.monitors, self.spares
        gc.collect()
        gc.freeze()  # a collection in a fork would write to every page of what lies here
        last, used, doorway = time.monotonic(), 0, -1
        while True:
            if used and not spares.kinds:
                ready = poll.poll(max(0, DOOR_DELAY_MS - DOOR_HASTE_MS * used))
                if not ready:
                    doorway = self._open_door(poll)
                    spares.begin([MONITOR] if doorway < 0 else [MONITOR, COMMAND])
            elif (wait := spares.wait_ms()) >= 0:
                ready = poll.poll(wait)
                if not ready:
                    spares.look()
            else:
                ready = poll.poll(-1 if forks or self.orphans else max(20, int(self.idle * 1000)))
            for fd, _ in ready:
                if fd in (listener, doorway):
                    at: Any = self.listener if fd == listener or self.doorway is None else self.doorway[0]
                    try:
                        connection, _ = at._accept()
                    except OSError as error:
                        if error.errno in _OUT_OF:
                            time.sleep(0.05)  # until descriptors or memory are given back
                        continue
                    kind = MONITOR if fd == listener else COMMAND
                    try:
                        pid = spares.hand(kind, connection)
                        if not pid and kind == MONITOR:
                            pid = spares.clone(connection)
                        if not pid:
                            pid = fork()
                    except OSError as error:
                        refuse(connection, error)
                        continue
                    if pid == 0:
                        in_fork(lambda: self._serve(connection, command=kind == COMMAND))  # noqa: B023 - called at once
                    close(connection)
                    forks.add(pid)
                    used += 1
                    if len(forks) - len(monitors) >= UNCLAIMED_MAX:
                        poll.modify(listener, 0)
                elif fd == reports:
                    self.hear()
                else:
                    os.read(woken, 512)
                    self.reap()
                    if self.listening:
                        poll.modify(listener, select.POLLIN)
            if forks or self.orphans:
                last = 0.0
            elif not last:
                last = time.monotonic()
            elif time.monotonic() - last >= self.idle:
                self._retire(poll)
                if not self.listening and not forks:
                    return

    def _open_door(self, poll: select.poll) -> int:
        """Load what commands need and listen for them; the descriptor, or -1. Only once, whatever comes of it."""
        door, self.door = self.door, None
        if door is None:
            return -1
        try:
            path, serve = door()
            listener = sockets.listen(f"{path}.{os.getpid()}")
            os.rename(f"{path}.{os.getpid()}", path)
        except (OSError, ImportError, errors.AtollError) as error:  # commands do without
            print(f"no door: {error}", file=sys.stderr)  # noqa: T201 - the faults file
            return -1
        listener.setblocking(False)
        self.doorway = (listener, path, _identity(path), serve)
        poll.register(listener.fileno(), select.POLLIN)
        gc.collect()
        gc.freeze()
        return listener.fileno()

    def _serve(self, connection: int, *, command: bool) -> None:
        """In the fork: of the spawner's descriptors it keeps the connection and the way to report."""
        _signal.set_wakeup_fd(-1)  # its pipe is about to go, and its number to be used anew
        self._keep_only(connection)
        if not command or self.doorway is None:
            service.serve(connection, self._report)
            return
        self._command(connection, None)

    def _command(self, connection: int, spare: Spare | None) -> None:
        # It may last, and is not to count as one that never asked.
        self.report.send(b"%d 0 " % os.getpid())
        _signal.signal(17, _signal.SIG_DFL)
        assert self.doorway is not None
        self.doorway[3](connection, spare)

    def _be_spare(self, kind: int, gate: socket) -> NoReturn:
        """In the fork: keep the gate and the way to report, make ready, wait, and then be as any other fork."""
        _signal.set_wakeup_fd(-1)
        self._keep_only(gate.fileno())
        set_title(b"atoll:[spare]")
        in_fork(lambda: self._wait(kind, Spare(gate, self.report, self.spares)))

    def _wait(self, kind: int, spare: Spare) -> None:
        if kind == MAKER:
            is_gate, fd = make_siblings(spare.gate)
            if not is_gate:
                if fd >= 0:
                    service.serve(fd, self._report)
                return
            kind, spare = MONITOR, Spare(socket(AF_UNIX, SOCK_SEQPACKET, 0, fd), self.report, self.spares)
        if kind == MONITOR:
            service.serve(-1, self._report, spare=spare)
            return
        spare.warm(COMMAND)
        connection = spare.await_connection()
        if connection is not None:
            self._command(connection, spare)

    def _keep_only(self, fd: int) -> None:
        low, high = sorted((fd, self.report.fileno()))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, FD_LAST)

    def _report(self, init: int, run: str, console: int | None) -> None:
        """In a clerk: tell the spawner of its monitor's container."""
        try:
            message = b"%d %d %s" % (os.getppid(), init, run.encode())
            sockets.send_with_fds(self.report, message, () if console is None else (console,))
        except OSError:  # the spawner is gone: that costs the spare, not the container
            pass

    # -- what monitors leave with it

    def hear(self) -> None:
        """Take in what is reported: a monitor's init, and a spare of its terminal."""
        while True:
            try:
                data, fds = sockets.receive_with_fds(self.reports, REPORT_MAX, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # no descriptor left for the spare: the container does without
                continue
            if data[:1] == b"p":
                self.spares.learned(data)
                continue
            monitor, init, run = data.split(b" ", 2)
            if int(init) in self.orphans and self.orphans[int(init)].monitor == int(monitor):
                self.orphans[int(init)].taken = True
            if int(monitor) in self.forks:
                self.monitors[int(monitor)] = (int(init), run.decode(), fds.pop() if fds else -1)
            for fd in fds:
                os.close(fd)

    def reap(self) -> None:
        """Take in the ends of monitors, and of containers whose monitor was killed.

        An init becomes our child in the same moment as its monitor becomes a zombie, so both are in one batch at the
        earliest; monitors are looked at first. Each gets another monitor, unless its init has ended, too.
        """
        self.hear()
        ended = dict(children())
        self.hear()  # a report that was sent before one of these ends has come by now
        for pid, status in ended.items():
            self.spares.ended(pid)
            if pid not in self.forks:
                continue
            self.forks.discard(pid)
            init, run, terminal = self.monitors.pop(pid, (0, "", -1))
            replaced = [one for one, orphan in self.orphans.items() if orphan.monitor == pid] if self.orphans else []
            if replaced:
                init = replaced[0]
                if status == 0 or self.orphans[init].tries >= REPLACED_MAX:
                    self.orphans.pop(init).drop()
                else:
                    self._replace(init)
            elif init and status != 0 and init in ended:
                self._mourn(run, ended[init])
            elif init and status != 0:
                self.orphans[init] = Orphan(run, terminal)
                self._replace(init)
                continue
            if terminal >= 0:
                os.close(terminal)
        for pid, status in ended.items():
            orphan = self.orphans.get(pid)
            if orphan is None:
                continue
            if orphan.taken:
                self._tell(orphan, status)
            else:
                self.orphans.pop(pid).drop()
                self._mourn(orphan.run, status)

    def _tell(self, orphan: Orphan, status: int) -> None:
        try:
            os.write(orphan.line, pack("i", status))
        except OSError:  # that one is ending, too
            pass

    def _replace(self, init: int) -> None:
        """Fork another monitor for a container. It may have to wait, for a clerk that is still there."""
        orphan = self.orphans[init]
        try:
            ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            pid = fork_patiently(FORK_SECONDS)
        except OSError:  # out of descriptors or processes: the next command asks for one
            return
        if pid == 0:
            in_fork(lambda: self._relieve(orphan, theirs.detach()))
        theirs.close()
        if orphan.line >= 0:
            os.close(orphan.line)
        orphan.line, orphan.monitor, orphan.taken = ours.detach(), pid, False
        orphan.tries += 1
        self.forks.add(pid)

    def _relieve(self, orphan: Orphan, told: int) -> None:
        """In that fork: of the spawner's descriptors it keeps the terminal, its line and the way to report."""
        _signal.set_wakeup_fd(-1)
        kept = sorted({told, self.report.fileno(), *([orphan.terminal] if orphan.terminal >= 0 else [])})
        low = 3
        for fd in kept:
            os.closerange(low, fd)
            low = fd + 1
        os.closerange(low, FD_LAST)
        service.serve(told, self._report, (orphan.run, orphan.terminal))

    def _mourn(self, run: str, status: int | None) -> None:
        """Have a fork record the end of a container whose monitor was killed."""
        try:
            pid = fork_patiently(FORK_SECONDS)
        except OSError:  # the next command finds it lost
            return
        if pid == 0:
            _signal.set_wakeup_fd(-1)
            os.closerange(3, FD_LAST)
            in_fork(lambda: restart.follow(mourn(run, status)))
        self.forks.add(pid)

    # -- its end

    def _retire(self, poll: select.poll) -> None:
        """Stop listening, unless a client is just connecting. Whoever connected before the unlink is still served:
        the loop ends when nobody is left in the backlog."""
        if self.listening:
            lock = files.FileLock(self.lock)
            try:
                if not lock.acquire(blocking=False):
                    return
            except OSError:  # the run root was removed; so was the socket
                pass
            try:
                if _identity(self.path) == self.identity:
                    files.unlink_if_present(self.path)
                if self.doorway is not None and _identity(self.doorway[1]) == self.doorway[2]:
                    files.unlink_if_present(self.doorway[1])
            finally:
                lock.release()
        waiting = select.select([self.listener.fileno()], [], [], 0)[0]
        self.listening = bool(waiting)
        if not waiting:
            poll.modify(self.listener.fileno(), 0)


def _nothing(signum: int, frame: object) -> None:
    """A handler that does nothing, so that SIGCHLD reaches the wake-up descriptor."""


def _identity(path: str) -> tuple[int, int]:
    """Which file the socket's name stands for, (0, 0) for none."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def refuse(connection: int, error: OSError) -> None:
    """Tell one command why it is not served, and close its connection."""
    peer = socket(AF_UNIX, SOCK_STREAM, 0, connection)
    try:
        peer.setblocking(False)
        peer.send(control({"is": "error", "error": errors.from_os_error(error, "fork a monitor").to_json()}))
    except OSError:
        pass
    peer.close()


def run_spawner(listener: int, path: str, lock: str, idle: float, door: Door | None = None) -> None:
    """Be the spawner on an inherited listening socket until idle."""
    set_title(b"atoll:[spawner]")
    become_subreaper()
    ignore_terminals()
    Spawner(socket(AF_UNIX, SOCK_STREAM, 0, listener), path, lock, idle, door).run()


def run_alone(connection: int) -> None:
    """Be one monitor or exec session on an inherited connection, without a spawner."""
    ignore_terminals()
    service.serve(connection, lambda pid, run, console: None)
