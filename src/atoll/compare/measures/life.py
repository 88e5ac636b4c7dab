"""From nothing to the first instruction, to the first answer, and to the end.

Holds: `measure`. A clock starts when the command is about to be executed, and stops when the first byte of what was
waited for is here: so relays and pipes are in it, as they are for a user.
"""

from __future__ import annotations

import os
import socket
import time

from atoll.base import errors
from atoll.compare import processes
from atoll.compare.rungs.way import NONE, WORKLOAD
from atoll.compare.values import LESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.measures.rounds import Session
    from atoll.compare.rungs.way import Way
    from atoll.compare.values import Row

SECTION = "starting and stopping"
_PATIENCE = 30.0


def measure(session: Session) -> list[Row]:
    """The three rows."""
    begun = session.rounds("start and stop", lambda way: _start_and_stop(session, way), warm_up=True)
    answered = session.rounds("first answer", lambda way: {"answer": _answer(session, way)})
    networks = {way.name: f"network: {way.network}" for way in session.ways}
    return [
        begun.row(
            "start",
            section=SECTION,
            title="start to first instruction",
            unit="s",
            better=LESS,
            how="from before the command is executed until the first byte that the program writes is read",
        ),
        answered.row(
            "answer",
            section=SECTION,
            title="start to first answer",
            unit="s",
            better=LESS,
            how="the same until an HTTP request to the program is answered, network set up included: by a port "
            "published on a bridge (atoll run), on the host's loopback (process, chroot), on the loopback inside "
            "(the others)",
            notes=networks,
        ),
        begun.row(
            "stop",
            section=SECTION,
            title="stop",
            unit="s",
            better=LESS,
            how="from the stop command's start to its end, with a program that ends at once at SIGTERM",
        ),
    ]


def _start_and_stop(session: Session, way: Way) -> dict[str, float]:
    copy = way.start("w")
    try:
        _, first = copy.first()
        began = time.monotonic()
        way.stop(copy)
        return {"start": first, "stop": time.monotonic() - began}
    finally:
        way.remove(copy)


def _answer(session: Session, way: Way) -> float:
    port = free_port()
    before = session.place.descendants()
    copy = way.start("s", str(way.socket_address(way.inner_port(port))), port=port)
    try:
        copy.first()
        inside = 0
        if way.network == NONE:
            inside = _program(session.place.descendants() - before, way)
        _asked(port, inside)
        return time.monotonic() - copy.began
    finally:
        way.remove(copy)


def _program(among: set[int], way: Way) -> int:
    """The process whose network namespace the server is in. Raises Unavailable."""
    found = [pid for pid in among if processes.name_of(pid) == WORKLOAD]
    if not found:
        raise errors.Unavailable(f"{way.name}: the program's process is not to be seen from here")
    return found[0]


def free_port() -> int:
    """One that nobody has here now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _asked(port: int, inside: int) -> None:
    """Ask until there is an answer. Raises Timeout, OSError where that namespace cannot be entered."""
    if not inside:
        _ask(port)
        return
    from atoll.linux import netns

    ns = os.open(f"/proc/{inside}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.run_inside(ns, lambda: _ask(port))
    finally:
        os.close(ns)


def _ask(port: int) -> tuple[int, ...]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if peer.recv(64).startswith(b"HTTP/1.0 200"):
                    return ()
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise errors.Timeout(f"nothing answers at port {port} within {_PATIENCE:g} seconds")
        time.sleep(0.001)
