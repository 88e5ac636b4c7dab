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

What a monitor writes to is its own memory for as long as the container lives, and in Python nearly every step
writes (reference counts): each function called costs a page or two. So `serve` is one flat function on raw
descriptors, and between two clerks it does little more than poll(2): it takes output to the log and waits for the
init, its child since the first clerk has ended (a process' orphans go to the nearest subreaper, prctl(2)).

A clerk that is killed costs its commands their connection: the monitor has spare descriptors of all it needs and
goes on. A monitor that is killed while its first clerk lives is replaced by that clerk, otherwise by another one
(`takeover.py`).
"""

from __future__ import annotations

from _signal import SIG_IGN, set_wakeup_fd, signal  # type: ignore[import-not-found]
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_PEEK,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    socket,
    socketpair,
)
from _struct import pack, unpack
from fcntl import F_SETPIPE_SZ, fcntl
from os import WNOHANG, close, closerange, fork, read, setsid, waitpid
from select import POLLIN, poll, select
from time import sleep

from atoll.base import errors
from atoll.linux.process import become_subreaper
from atoll.linux.signals import let_go
from atoll.linux.title import set_title
from atoll.monitor import creator, health, keeper, monitor, restart, session, takeover, usage
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import FDS_MAX, VERSION, Malformed, control
from atoll.monitor.record import CREATE
from atoll.monitor.sockets import check_peer
from atoll.monitor.spares import MONITOR
from atoll.monitor.spawning import SHORT_SECONDS, fork_patiently, in_fork
from atoll.runtime.cgroups.prime import prime_aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.monitor.spares import Spare

    Report = Callable[[int, str, int | None], None]

RIGHTS = CMSG_LEN(4 * FDS_MAX)
WORD_MAX = 8192
FD_LAST = 0x7FFFFFFF
PIPE_SIZE = 1 << 18
UNPOLLED = frozenset(("stdin", "keeper", "told"))
"""Descriptors of a container that are held, and say nothing by themselves."""


def serve(connection: int, report: Report, orphan: tuple[str, int] | None = None, spare: Spare | None = None) -> None:
    """Do the one request of a connection (steps 4 to 19 of `protocol.py`). Returns when all of it has ended; a
    command that leaves before its request, or talks nonsense, ends it at once. Or, for the spawner, take over an
    `orphan` (run directory, terminal): then the connection is where the spawner tells of its end.

    A `spare` has no connection yet: its clerk waits for it.
    `report(pid, run, console)` tells the spawner of a container (pid 0: of an exec session). In a session of its
    own, deaf to what terminals, log-outs and shut-downs send (a container's end is what ends its monitor).
    Raises OSError.
    """
    if spare is None:
        set_title(b"atoll:[monitor]")
    setsid()
    become_subreaper()
    signal(15, SIG_IGN)
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    clerk = fork()
    if clerk == 0:
        ours.close()
        if orphan is None:
            in_fork(lambda: first_clerk(connection, theirs, report, spare))
        in_fork(lambda: takeover.relieve(*orphan, connection, theirs, report))
    if spare is None:
        close(connection)
    else:
        spare.gate.close()
    theirs.close()
    # 1. The clerk's word, once there is a container: its title, and spares of all descriptors.
    word, rights, _, _ = ours.recvmsg(WORD_MAX, RIGHTS, MSG_CMSG_CLOEXEC)
    if not word:
        waitpid(clerk, 0)
        return
    title, run, init_digits, names, checked, bundle = word.split(b"\0")
    set_title(title)
    timer = health.timer(run.decode()) if checked else None
    # 2. Until the clerk ends. It is the init's parent; but as it ends the init becomes ours, and may have ended too
    # before we look: then waitpid(2) gives whichever it likes first.
    init, early, pid = int(init_digits), None, 0
    while pid != clerk:
        pid, ended = waitpid(-1, 0)
        if pid == init:
            early = ended
            if timer is not None:
                timer.stop()
        elif timer is not None:
            timer.reaped(pid, ended)
    fds = dict(zip(names.decode().split(), unpack(f"{len(rights[0][2]) // 4}i", rights[0][2]), strict=True))
    if ended != 0:
        attend(run.decode(), init, ours, fds, early, timer)
    # 6. All has ended. Whoever is still at the door learns it by the end of the connection.
    set_wakeup_fd(-1)
    let_go(17)
    ours.detach()
    closerange(3, FD_LAST)
    restart.follow(bundle.decode())


def attend(
    run: str,
    init: int,
    line: socket,
    fds: dict[str, int],
    status: int | None = None,
    timer: health.Timer | None = None,
) -> None:
    """A container that has been created, from the end of its first clerk on. `fds` are spares of its descriptors by
    name, `line` leads to the clerk that ended, `status` is the init's wait status if it ended already, `timer`
    that of its health checks."""
    while True:
        # 3. What the clerk left when it went to rest. One that was killed left nothing.
        line.setblocking(False)
        word, rights = _left(line)
        if word[:1] == b"s" and "sync" in fds:
            close(fds.pop("sync"))
        if word[:1] == b"g":  # the run directory has gone: neither door nor start may call for a clerk again
            for name in ("sync", "door"):
                if name in fds:
                    close(fds.pop(name))
        if word and rights:
            fds["stdin"] = unpack("i", rights[0][2])[0]
        line.close()
        # 4. Alone, until the init ends or somebody has to be served.
        if status is None:
            status = alone(run, init, fds, timer)
        if status is not None:
            if timer is not None:
                timer.stop()
            monitor.conclude(run, fds, status)
            return
        while True:  # whoever knocks waits while descriptors are short
            try:
                line, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
                break
            except OSError:
                sleep(SHORT_SECONDS)
        clerk = fork_patiently(float("inf"))
        if clerk == 0:
            line.close()
            in_fork(lambda: monitor.serve_later(run, fds, theirs))  # noqa: B023 - called at once
        theirs.close()
        if "stdin" in fds:  # a copy of ours would keep the input open when the clerk ends it
            close(fds.pop("stdin"))
        # 5. The init is our child now, and the clerk has to be told of its end.
        pid = 0
        while pid != clerk:
            pid, ended = waitpid(-1, 0)
            if pid == init:
                status = ended
                if timer is not None:
                    timer.stop()
                try:
                    line.send(pack("i", status))
                except OSError:  # the clerk is ending at this moment
                    pass
            elif timer is not None:
                timer.reaped(pid, ended)
        if ended == monitor.FINISHED:
            return


def _left(line: socket) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """A clerk's last word, b"" if there is none, and the input that it kept open. Only looked at: a descriptor for
    which there is no number just now would go with the message, and the program would take that for the end of its
    input (unix(7), MSG_CTRUNC)."""
    while True:
        try:
            word, rights, flags, _ = line.recvmsg(16, RIGHTS, MSG_CMSG_CLOEXEC | MSG_PEEK)
        except OSError:
            return b"", []
        if not flags & MSG_CTRUNC:
            return word, rights
        sleep(SHORT_SECONDS)


def alone(run: str, init: int, fds: dict[str, int], timer: health.Timer | None = None) -> int | None:
    """Take output to the log until the init ends (its wait status) or a clerk is needed (None)."""
    status: int | None = None

    def reap(signum: int = 0, frame: object = None) -> None:
        nonlocal status
        try:
            pid = 1
            while pid:
                pid, ended = waitpid(-1, WNOHANG)
                if pid == init:
                    status = ended
                elif timer is not None and pid:
                    timer.reaped(pid, ended)
        except ChildProcessError:
            pass

    log, widened = None, set()
    streams = {fds[name]: number for name, number in monitor.STREAMS if name in fds}
    poller = poll()
    for name in fds:
        if name not in UNPOLLED:
            poller.register(fds[name], POLLIN)
    # As a handler, so that orphans are reaped whenever they come; the init's end also shows at its pidfd.
    signal(17, reap)
    called = False
    try:
        while not called:
            reap()
            if status is not None:
                return status
            ready = poller.poll(usage.SAMPLE_MS)
            if not ready and _sampler() == 0:  # its pages are its own
                let_go(17)
                in_fork(lambda: monitor.look_after(run, fds))
            for fd, _ in ready:
                if fd == fds["pidfd"]:
                    reap()
                    # Ended, and not ours to reap: taken over, or somebody took the status.
                    return keeper.end_of(fds) if status is None else status
                if fd not in streams:
                    called = True
                    break
                try:
                    data = read(fd, 65536)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: nobody has the terminal open just now
                    data = b""
                if not data:
                    poller.unregister(fd)
                    continue
                if log is None:
                    log = monitor.log_of(run)
                log(streams[fd], data)
                if len(data) == 65536 and fd not in widened:
                    widened.add(fd)
                    widen(fd)
    finally:
        let_go(17)
        if log is not None:
            log.close()
    # Not before the handler is off: an end that it took in while somebody knocked must not be lost with it, or the
    # clerk waits for a word of it for ever.
    return status


def _sampler() -> int:
    """fork(2); -1 where that cannot be just now, which costs a sample."""
    try:
        return fork()
    except OSError:
        return -1


def widen(fd: int) -> None:
    """Let a container that writes more than fits into its pipe do so for longer before it waits for us."""
    try:
        fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:  # a terminal; or an ordinary user has as much in pipes as he may
        pass


def first_clerk(connection: int, line: socket, report: Report, spare: Spare | None) -> int:
    """The clerk that a command's request is for: its exit status. It is the reaper of what it makes."""
    become_subreaper()
    early = None
    if spare is not None:
        early = creator.begin_early(spare)  # before this process has pages of its own, which it would share anew
        spare.warm(MONITOR)
        given = spare.await_connection()
        if given is None:
            return 0
        connection = given
        spare.prime()
    set_title(b"atoll:[clerk]")
    peer = socket(AF_UNIX, SOCK_STREAM, 0, connection)
    try:
        check_peer(peer)
        if spare is None and not select([connection], [], [], 0)[0]:
            prime_aside()
            creator.warm_up()
        message = creator.first_request(peer, early)
        if message is None:
            return 0
        if message.get("do") == "ping":
            peer.sendall(control({"is": "pong", "v": VERSION}))
            return 0
        if message.get("do") == "adopt":
            if early is not None:
                early.let_go()
            return takeover.adopt(message, peer, line, report)
        made = creator.make(message, early)
    except errors.AtollError as error:
        peer.sendall(control({"is": "error", "error": error.to_json()}))
        return 0
    except (Malformed, OSError):
        return 0
    del message
    if made.charge.what == CREATE:
        ended = monitor.keep(made, Peer(peer), line, report)
    else:
        report(0, made.charge.run, None)  # so that long sessions do not count as commands that never asked
        ended = session.keep(made, Peer(peer))
    if spare is not None:
        spare.learn(MONITOR)
    return ended
