"""An exec session: `atoll:[exec] id`, one further process of a running container.

Holds: the life of one session (`keep`), its record. Does not hold: entering the container (`creator.py`),
streams (`relay.py`). Nobody attaches to a session later, so it has no door of its own.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import record
from atoll.monitor.company import Company
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.monitor.creator import Handover
    from atoll.monitor.peer import Peer


class Session(Company):
    """The session's side of `Company`."""

    def __init__(self, request: Handover) -> None:
        super().__init__()
        self.request = request
        me = os.getpid()
        self.record = record.Session(
            id=request.id, monitor=me, monitor_start_time=process.start_time(me), boot_id=state.boot_id()
        )

    def welcome(self, peer: Peer) -> None:
        """Serve the command that asked for the session."""
        peer.known = True
        peer.output = not self.request.detached
        peer.input = (self.request.stdin or self.request.terminal) and not self.request.detached
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
        self.relay.tell_all({"is": "started", "pid": self.pid})

    def on_failed(self, failure: errors.AtollError) -> None:
        """Tell the command why; the newcomer ends with 125, 126 or 127."""
        self.relay.tell_all({"is": "error", "error": failure.to_json()})

    def write(self, **changes: Any) -> None:
        """Change the record; what a full run root does not take is lost with it."""
        self.record = self.record.replace(**changes)
        try:
            record.write_session(self.request.run, self.record)
        except OSError:
            pass


def keep(made: Handover, fds: dict[str, int], peer: Peer) -> None:
    """The whole life of a session; the numbers of `protocol.py` stand in brackets. Never raises for what a process
    or a command may do."""
    set_title(f"atoll:[exec] {made.id[:12]}")
    session = Session(made)
    session.welcome(peer)
    if made.pid is None:
        failure = made.failure()
        session.on_failed(failure)
        session.write(exit=_failed(failure).to_json())
        session.flush()
        return
    session.attend(made.pid, fds)
    session.write(pid=made.pid)
    session.until_ended()
    reason = None if session.failure is None else str(session.failure)
    ended = record.of_status(session.status or 0, started=session.record.started, error=reason)
    session.write(exit=ended.to_json())
    session.relay.tell_all({"is": "exit", "exit": ended.code, **ended.to_json()})  # (17)
    session.flush()


def _failed(failure: errors.AtollError) -> record.Exit:
    code = {"command-not-found": 127, "command-not-executable": 126}.get(failure.kind, 125)
    return record.Exit(code=code, at=state.now(), error=str(failure))
