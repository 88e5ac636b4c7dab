"""A container whose monitor was killed gets another one.

Holds: `relieve` (the spawner's), `adopt` (a command's). Does not hold: who keeps a container (`keeper.py`), the life
of a monitor (`service.py`), which begins with one of these two as its first clerk; recording an end (`monitor.py`).

    spawner                       replacement                    command                    monitor of its own
     monitor killed                                               both killed, long ago
     fork ──────────────────────▶ wait for the lock               status: nobody of that
     init ends ──── its status ─▶ report, take over               pid any more
       (init is our child now)                                    {"do":"adopt","run"} ────▶ lock free? take over
                                                                  ◀── {"is":"adopted"} or {"is":"kept"}

What is taken over: the fifos that output comes through, which the container holds open itself; a terminal, as the
spawner has a spare; a new door; health checks and restarts. What is lost with the old one: attached commands, input
that was kept open, output between two reads of a terminal. An init that waited to be started is ended: what it would
say of its program nobody could hear.

How its init ended it learns as `keeper.py` says.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket, socketpair

from atoll.base import files
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import monitor, record, restart
from atoll.monitor.keeper import MOURN_SECONDS, hold, told_by
from atoll.monitor.protocol import ATTACH_SOCKET, VERSION, Malformed, check_monitor, check_version, control
from atoll.monitor.sockets import listen
from atoll.monitor.stdio import FIFOS
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Report = Callable[[int, str, int | None], None]

_STEP = 0.005


def relieve(run: str, console: int, told: int, line: socket, report: Report) -> int:
    """The first clerk of a monitor that the spawner has forked in place of a dead one; its exit status. `console` is
    the spare of the terminal or -1, `told` where the spawner says how the init ended, if it comes to it."""
    try:
        keeper = hold(run, wait=True)
    except OSError:
        return 0
    known = None if keeper is None else record.read_monitor(run)
    if keeper is None or known is None or record.read_exit(known.charge.bundle) is not None:
        return 0
    # Said before it is looked at, so that the spawner knows who records an end from here on.
    report(known.charge.pid, run, None)
    pidfd = state.open_init(state.read(run))
    if pidfd is None:
        return _ended_meanwhile(run, told)
    _take_over(known.charge, line, pidfd=pidfd, keeper=keeper, told=told, console=console)
    return monitor.RESTS


def _ended_meanwhile(run: str, told: int) -> int:
    deadline = time.monotonic() + MOURN_SECONDS
    while (status := told_by(told)) is None and time.monotonic() < deadline:
        time.sleep(_STEP)
    restart.follow(monitor.mourn(run, status))
    return 0


def adopt(message: dict[str, Any], peer: socket, line: socket, report: Report) -> int:
    """The first clerk of a monitor that a command has asked for, because it found a container without one; its exit
    status. Raises Malformed, Unsupported, OSError, Corrupt."""
    check_version(message)
    run = message.get("run")
    if not isinstance(run, str):
        raise Malformed("adopt without a run directory")
    keeper = hold(run)
    known = None if keeper is None else record.read_monitor(run)
    if keeper is None or known is None or record.read_exit(known.charge.bundle) is not None:
        peer.sendall(control({"is": "kept"}))
        return 0
    check_monitor(known.version)
    pidfd = state.open_init(state.read(run))
    if pidfd is None:
        bundle = monitor.mourn(run, None, patience=0.0)
        peer.sendall(control({"is": "adopted"}))
        peer.close()
        restart.follow(bundle)
        return 0
    told, nobody = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    nobody.close()  # the pidfd alone will tell
    _take_over(known.charge, line, pidfd=pidfd, keeper=keeper, told=told.detach(), console=-1)
    report(known.charge.pid, run, None)
    peer.sendall(control({"is": "adopted"}))
    return monitor.RESTS


def _take_over(charge: record.Charge, line: socket, *, pidfd: int, keeper: int, told: int, console: int) -> None:
    """Open all that a monitor has, write ourselves down, and hand it to the monitor. Raises OSError."""
    set_title(b"atoll:[clerk] " + charge.id[:12].encode())
    run = charge.run
    fds = {"pidfd": pidfd, "keeper": keeper, "told": told}
    if console >= 0:
        fds["console"] = console
    for name, fifo in zip(("stdout", "stderr"), FIFOS, strict=True):
        try:
            fds[name] = os.open(f"{run}/{fifo}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # it has a terminal
            continue
    if os.path.exists(f"{run}/{state.FIFO}"):
        process.pidfd_send_signal(pidfd, process.SIGKILL)
    files.unlink_if_present(f"{run}/{ATTACH_SOCKET}")
    door = listen(f"{run}/{ATTACH_SOCKET}").detach()
    os.set_blocking(door, False)
    fds["door"] = door
    record.write_monitor(charge, pid=os.getppid(), version=VERSION)
    monitor.tell_monitor(line, charge, fds)
