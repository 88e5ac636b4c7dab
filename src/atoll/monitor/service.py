"""A monitor's life: small and patient itself, it forks a clerk whenever there is something to do.

Holds: `serve` (a fork of the spawner), the patient loop, the fork of a clerk. Does not hold: what clerks do
(`monitor.py`: commands and streams of a container; `session.py`: an exec session).

    spawner ── fork ──► monitor ── fork ──► clerk       reads the request, has the runtime create, serves commands
                           │ waits            │
                           │◄── rests ────────┘          (1) no command is attached: the clerk ends, and with it the
                           │ log, exit, door                 700 pages that all this made its own (2.7 MiB)
                           ├─ fork ──► clerk             (2) somebody knocks at attach.sock, or the program starts
                           │◄── status ► rests ...
                           └ records the end, deletes, runs the clean-up command    (or the clerk did: exit status 0)

What a monitor writes to is its own memory for as long as the container lives, so between two clerks it does little
more than poll(2): it takes output to the log and waits for the init, its child since the first clerk has ended (a
process' orphans go to the nearest subreaper, prctl(2)). A clerk that is killed costs its commands their connection:
the monitor has spare descriptors of all it needs and goes on. A monitor that is killed while its first clerk lives
is replaced by that clerk, otherwise by the spawner, as far as the exit status goes.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from _struct import pack

from atoll.base import errors, jsontext
from atoll.linux.title import set_title
from atoll.monitor import creator, monitor, session
from atoll.monitor.company import settle
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import DATA_MAX, FDS_MAX, VERSION, Malformed, control
from atoll.monitor.record import CREATE
from atoll.monitor.sockets import receive_with_fds
from atoll.monitor.spawning import in_fork
from atoll.runtime.cgroups.prime import prime_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[int, str, int | None], None]


def serve(connection: socket, report: Report) -> None:
    """Do the one request of a connection (steps 4 to 19 of `protocol.py`). Returns when all of it has ended; a
    command that leaves before its request, or talks nonsense, ends it at once.

    `report(pid, run, console)` tells the spawner of a container.
    """
    settle()
    set_title("atoll:[monitor]")
    line, clerk = _fork_clerk(lambda line: _first_clerk(connection, line, report))
    connection.close()
    _prime()
    word, fds = receive_with_fds(line, DATA_MAX, FDS_MAX)
    if not word:
        _wait(clerk, 0, line)
        return
    name, run, init, names = jsontext.loads(word)
    set_title(f"atoll:[monitor] {name[:12]}")
    spare = dict(zip(names, fds, strict=True))
    status: int | None = None
    while True:
        ended, status = _wait(clerk, init, line, status)
        if ended == monitor.FINISHED:
            return
        _take_rest(line, spare)
        line.close()
        if status is None:
            status = _patient(run, init, spare)
        if status is not None:
            monitor.conclude(run, spare, status)
            return
        line, clerk = _fork_clerk(lambda line: monitor.serve_later(run, spare, line))
        if "stdin" in spare:  # a copy of ours would keep the input open when the clerk ends it
            os.close(spare.pop("stdin"))


def _prime() -> None:
    """Pay for the lock of cgroup migrations while the clerk is at the request (`runtime/cgroups/prime.py`)."""
    try:
        prime_aside()
    except OSError:  # no process to be had: the clerk will say so
        pass


def _fork_clerk(life: Callable[[socket], int]) -> tuple[socket, int]:
    """A clerk, and the line to it. Its end of the line closes with it; `life` returns its exit status."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        ours.close()
        in_fork(lambda: life(theirs))
    theirs.close()
    return ours, pid


def _wait(clerk: int, init: int, line: socket, status: int | None = None) -> tuple[int, int | None]:
    """Wait for the end of a clerk: its wait status, and the init's if that ended as well (the clerk is told)."""
    while True:
        pid, ended = os.waitpid(-1, 0)
        if pid == clerk:
            return ended, status
        if pid == init:
            status = ended
            try:
                line.send(pack("i", status))
            except OSError:  # the clerk is ending at this moment
                pass


def _take_rest(line: socket, spare: dict[str, int]) -> None:
    """What a clerk left when it went to rest: whether the init has been heard (`sync`), and the open input."""
    try:
        line.setblocking(False)
        word, fds = receive_with_fds(line, DATA_MAX, FDS_MAX)
    except OSError:  # it was killed, and left nothing
        return
    if word[:1] == b"s" and "sync" in spare:
        os.close(spare.pop("sync"))
    if fds:
        spare["stdin"] = fds[0]


def _patient(run: str, init: int, spare: dict[str, int]) -> int | None:
    """Take output to the log until the init ends (its wait status) or a clerk is needed (None)."""
    ended: list[int] = []

    def reap(signum: int = 0, frame: object = None) -> None:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == init:
                    ended.append(status)
                if not pid:
                    return
        except ChildProcessError:
            return

    log = None
    poll = select.poll()
    for name, fd in spare.items():
        if name != "stdin" and not (name == "console" and fd < 0):
            poll.register(fd, select.POLLIN)
    streams = {spare[name]: number for name, number in monitor.STREAMS if name in spare}
    _signal.signal(_signal.SIGCHLD, reap)
    try:
        while True:
            reap()
            if ended:
                return ended[0]
            for fd, _ in poll.poll():
                if fd in streams:
                    try:
                        data = os.read(fd, DATA_MAX)
                    except BlockingIOError:
                        continue
                    except OSError:  # EIO: nobody has the terminal open just now
                        data = b""
                    if log is None:
                        log = monitor.log_of(run)
                    if data:
                        log(streams[fd], data)
                    else:
                        poll.unregister(fd)
                elif fd != spare["pidfd"]:
                    return None
    finally:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        if log is not None:
            log.close()


def _first_clerk(connection: socket, line: socket, report: Report) -> int:
    """The clerk that a command's request is for."""
    monitor.settle_clerk()
    set_title("atoll:[clerk]")
    try:
        if not select.select([connection.fileno()], [], [], 0)[0]:
            creator.warm_up()
        message = creator.first_request(connection)
        if message is None:
            return 0
        if message.get("do") == "ping":
            connection.sendall(control({"is": "pong", "v": VERSION}))
            return 0
        made = creator.make(message)
    except errors.AtollError as error:
        connection.sendall(control({"is": "error", "error": error.to_json()}))
        return 0
    except (Malformed, OSError):
        return 0
    del message
    if made.charge.what == CREATE:
        return monitor.keep(made, Peer(connection), line, report)
    return session.keep(made, Peer(connection))
