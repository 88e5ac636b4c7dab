"""An exec session: `atoll:[exec] id`, one further process of a running container.

Holds: the life of one session (`keep`), its record. Does not hold: entering the container (`creator.py`),
streams (`relay.py`). Nobody attaches to a session later, so it has no door of its own.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import journal, record
from atoll.monitor.company import Company
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.monitor.creator import Made
    from atoll.monitor.peer import Peer
    from atoll.monitor.record import Charge


class Session(Company):
    """The session's side of `Company`."""

    def __init__(self, charge: Charge) -> None:
        super().__init__()
        self.charge = charge
        me = os.getpid()
        self.record = record.Session(
            id=charge.id, monitor=me, monitor_start_time=process.start_time(me), boot_id=state.boot_id()
        )

    def welcome(self, peer: Peer) -> None:
        """Serve the command that asked for the session."""
        peer.known = True
        peer.output = not self.charge.detached
        peer.input = (self.charge.stdin or self.charge.terminal) and not self.charge.detached
        self.relay.add_peer(peer)

    def on_gone(self, peer: Peer) -> None:
        """The command left: input ends with it."""
        if peer.input:
            self.relay.close_input()

    def on_message(self, peer: Peer, message: dict[str, Any]) -> None:
        """A session has no start and no clean-up to promise; the rest is `common`."""
        if message.get("do") not in ("start", "promise", "cleaned"):
            self.common(peer, message)

    def on_started(self) -> None:
        """Record the moment and tell the command."""
        self.write(pid=self.pid, started=state.now())
        self.note(f"exec_start: {' '.join(self.charge.command)}")
        self.relay.tell_all({"is": "started", "pid": self.pid})

    def on_failed(self, failure: errors.AtollError) -> None:
        """Tell the command why; the newcomer ends with 125, 126 or 127."""
        self.relay.tell_all({"is": "error", "error": failure.to_json()})

    def note(self, action: str, **more: str) -> None:
        """An event of the container."""
        journal.note(self.charge.events, action, execID=self.charge.id, **more)

    def write(self, **changes: Any) -> None:
        """Change the record; what a full run root does not take is lost with it."""
        self.record = self.record.replace(**changes)
        try:
            record.write_session(self.charge.run, self.record)
        except OSError:
            pass


def keep(made: Made, peer: Peer) -> int:
    """The whole life of a session; the numbers of `protocol.py` stand in brackets. Returns its clerk's exit status.
    Never raises for what a process or a command may do."""
    charge = made.charge
    set_title(b"atoll:[exec] " + charge.id[:12].encode())
    session = Session(charge)
    session.welcome(peer)
    session.note(f"exec_create: {' '.join(charge.command)}")
    if made.error is not None:
        session.on_failed(made.error)
        session.write(exit=_failed(made.error).to_json())
        session.flush()
        return 0
    session.attend(charge.pid, made.fds)
    session.write(pid=charge.pid)
    if "sync" not in made.fds:  # another runtime's: it runs already
        session.started = True
        session.on_started()
    session.until_ended()
    reason = None if session.failure is None else str(session.failure)
    ended = record.of_status(session.status or 0, started=session.record.started, error=reason)
    session.write(exit=ended.to_json())
    session.note("exec_die", exitCode=str(ended.code))
    session.relay.tell_all({"is": "exit", "exit": ended.code, **ended.to_json()})  # (17)
    session.flush()
    return 0


def _failed(failure: errors.AtollError) -> record.Exit:
    code = {"command-not-found": 127, "command-not-executable": 126}.get(failure.kind, 125)
    return record.Exit(code=code, at=state.now(), error=str(failure))
