"""A container's monitor: `atoll:[monitor] 3f2a…`, from the hand-over by its creator to its clean-up.

Holds: the life of one container (`keep`), attaching to it, its exit record, the clean-up command. Does not hold:
what to do about an exit (that command does: restart, remove), streams (`relay.py`), creation (`creator.py`).
Start reading at `keep`.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import record
from atoll.monitor.company import Company
from atoll.monitor.logs import LogWriter
from atoll.monitor.loop import POLLIN
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import ATTACH_SOCKET, VERSION, Malformed, check_version
from atoll.monitor.requests import LogPlan
from atoll.monitor.sockets import accept, check_peer, listen
from atoll.runtime import cgroups, state
from atoll.runtime import delete as runtime_delete
from atoll.runtime import start as runtime_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from atoll.monitor.creator import Handover

PEERS_MAX = 64
"""Most commands attached to one container."""


class Log:
    """A container's log that never stops the container: what cannot be written is counted and passed over."""

    def __init__(self, plan: LogPlan) -> None:
        self.dropped = 0
        self._writer = LogWriter(plan.path, plan.max_size, plan.max_files)

    def __call__(self, stream: int, data: bytes) -> None:
        """Write output with the present time."""
        try:
            self._writer.write(stream, data, time.time_ns())
        except OSError:  # a full disk, most likely; space may come back
            self.dropped += len(data)

    def close(self) -> None:
        """Write out what is held back."""
        try:
            self._writer.close()
        except OSError:
            self.dropped += 1


class Monitor(Company):
    """The container's side of `Company`: start, attach, promises, the record of it all."""

    def __init__(self, made: Handover) -> None:
        super().__init__()
        self.made = made
        self.cleaned = False
        self.record: record.Monitor | None = None
        self._creator: Peer | None = None
        self._starting = False
        self._listener: socket | None = None

    # -- the commands

    def welcome(self, peer: Peer) -> None:
        """Serve the command that asked for the container: it is attached from the beginning."""
        self._creator = peer
        peer.known = peer.output = True
        peer.input, peer.promise = self.made.stdin or self.made.terminal, self.made.promise
        self.relay.add_peer(peer)

    def open_door(self) -> None:
        """Listen on `<run>/attach.sock`. Raises OSError."""
        self._listener = listen(f"{self.made.run}/{ATTACH_SOCKET}", 16)
        self._listener.setblocking(False)
        self.loop.watch(self._listener.fileno(), POLLIN, lambda _: self._admit())

    def close_door(self) -> None:
        """Let nobody in any more."""
        if self._listener is not None:
            self.loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _admit(self) -> None:
        try:
            connection = accept(self._listener)  # type: ignore[arg-type]
        except OSError:  # it left again, or descriptors are short: the next one may fare better
            return
        try:
            check_peer(connection)
            if len(self.relay.peers) >= PEERS_MAX:
                raise errors.Exhausted("too many commands are attached")
        except (OSError, errors.AtollError):
            connection.close()
            return
        self.relay.add_peer(Peer(connection))

    def on_message(self, peer: Peer, message: dict[str, Any]) -> None:
        """Attach, start, promise, cleaned; the rest is `common`."""
        do = message.get("do")
        if not peer.known:
            self._introduce(peer, message)
        elif do == "start":
            self._start(peer)
        elif do == "promise":
            peer.promise = True
        elif do == "cleaned":
            peer.promise, self.cleaned = False, True
        else:
            self.common(peer, message)

    def _introduce(self, peer: Peer, message: dict[str, Any]) -> None:
        try:
            check_version(message)
        except errors.Unsupported as error:
            self.relay.tell(peer, {"is": "error", "error": error.to_json()})
            peer.known = True
            return
        if message.get("do") != "attach":
            raise Malformed("the first request is not attach")
        peer.known, peer.output = True, message.get("output") is True
        peer.input = message.get("stdin") is True and (self.made.stdin or self.made.terminal)
        self.relay.tell(peer, {"is": "attached", "id": self.made.id, "pid": self.pid, "started": self.started})

    def _start(self, peer: Peer) -> None:
        try:
            runtime_start.start(self.made.run)
            self._starting = True
        except errors.AtollError as error:
            self.relay.tell(peer, {"is": "error", "error": error.to_json()})

    def on_gone(self, peer: Peer) -> None:
        """A command left: its input ends with it (Docker's StdinOnce), and so does a container nobody started."""
        if peer.input and not self.made.stdin_stays:
            self.relay.close_input()
        alone = peer is self._creator and not self.made.keep_unstarted
        if alone and self.pid and self.status is None and not self.program_runs():
            self.failure = errors.Cancelled("its command left before the container was started")
            self.signal(process.SIGKILL)

    # -- the program

    def program_runs(self) -> bool:
        """Started, by whomever: start removes the fifo."""
        return self.started or self._starting or not os.path.exists(f"{self.made.run}/{state.FIFO}")

    def on_started(self) -> None:
        """Record the moment and tell everybody."""
        self.write_record(state.now())
        self.relay.tell_all({"is": "started", "pid": self.pid})

    def on_failed(self, failure: errors.AtollError) -> None:
        """Tell everybody why; the init ends with 125, 126 or 127."""
        self.relay.tell_all({"is": "error", "error": failure.to_json()})

    def open_log(self) -> Log | None:
        """Where output goes besides the commands. Raises OSError."""
        log = Log(self.made.log) if self.made.log.driver != "none" else None
        self.relay.log = log
        return log

    def fail(self, error: Exception) -> None:
        """A container that cannot be kept company is ended, and everybody told why."""
        if isinstance(error, OSError):
            error = errors.from_os_error(error, f"keep container {self.made.id[:12]}")
        self.failure = error if isinstance(error, errors.AtollError) else errors.Internal(str(error))
        self.on_failed(self.failure)
        self.signal(process.SIGKILL)

    def write_record(self, started: str | None) -> None:
        """Write `<run>/monitor.json`; a full run root costs the start's time, not the container."""
        me = os.getpid()
        self.record = record.Monitor(
            pid=me,
            start_time=process.start_time(me),
            boot_id=state.boot_id(),
            bundle=self.made.bundle,
            version=VERSION,
            started=started,
            on_exit=self.made.on_exit,
            env=self.made.env,
        )
        try:
            record.write_monitor(self.made.run, self.record)
        except OSError:
            if started is None:
                raise

    # -- the end

    def part(self) -> None:
        """Wait for those who promised to clean up; run the clean-up command unless one did; give every command what
        is left for it."""
        while not self.cleaned and any(peer.promise for peer in self.relay.peers):
            self.relay.turn(None)
        if not self.cleaned:
            run_on_exit(self.made.on_exit, self.made.env)
        self.flush()


def keep(made: Handover, fds: dict[str, int], peer: Peer, *, report: Callable[[int, str, int | None], None]) -> None:
    """The whole life of a container from the creator's hand-over on. `report(pid, run, console)` gives the spawner
    what it holds spare.

    The order is the design; the numbers of `protocol.py` stand in brackets. Never raises for what a container, a
    command or a disk may do.
    """
    # 1. Named before anything can take long, for whoever looks at `ps`.
    set_title(f"atoll:[monitor] {made.id[:12]}")
    log, monitor = None, Monitor(made)
    monitor.welcome(peer)
    if made.pid is None:
        # The runtime has undone its part: tell the command, and clean up if it does not.
        monitor.on_failed(made.failure())
        monitor.part()
        return
    # 2. From here on its end is ours to take in, whatever else fails.
    monitor.attend(made.pid, fds)
    try:
        # 3. Record before anyone is told (8): a command that dies now leaves something to be found.
        log = monitor.open_log()
        monitor.write_record(None)
        monitor.open_door()
        report(made.pid, made.run, fds.get("console"))
    except (errors.AtollError, OSError) as error:
        monitor.fail(error)
    else:
        monitor.relay.tell(peer, {"is": "created", "pid": made.pid})  # (9)
    # 4. Start, streams, signals, other commands: all of it is events (10 to 15).
    monitor.until_ended()
    # 5. The log first, then the record: who sees the exit finds the whole log.
    if log is not None:
        log.close()
    ended = _ended(monitor, log)
    recorded = _record_exit(made, ended)
    # 6. Cgroup and run directory go before anyone is told (16), so that nothing of it is left when the command
    #    returns. Where the bundle's disk is full the run directory stays: it holds the record.
    monitor.close_door()
    if recorded:
        _delete(made.run)
    # 7. The last word (17), then the clean-up (18, 19).
    monitor.relay.tell_all({"is": "exit", "exit": ended.code, **ended.to_json()})
    monitor.part()


def _ended(monitor: Monitor, log: Log | None) -> record.Exit:
    oom = out_of_memory(monitor.made.run)
    error = None if monitor.failure is None else str(monitor.failure)
    started = None if monitor.record is None else monitor.record.started
    ended = record.of_status(monitor.status or 0, started=started, oom=oom, error=error)
    return ended.replace(log_dropped=log.dropped) if log is not None and log.dropped else ended


def out_of_memory(run: str) -> bool:
    """Whether the kernel killed a process of the container for want of memory; asked before its cgroup goes."""
    try:
        cgroup = state.read(run).cgroup
        if cgroup is None:
            return False
        return cgroups.Cgroup.from_json(cgroup).oom_kills() > 0
    except (OSError, errors.AtollError):
        return False


def _record_exit(made: Handover, ended: record.Exit) -> bool:
    """Record the end in the bundle, or else (its disk is full) in the run directory; whether the first went well."""
    for place in (made.bundle, made.run):
        try:
            record.write_exit(place, ended)
            return place is made.bundle
        except OSError:
            continue
    return False


def _delete(run: str) -> None:
    try:
        runtime_delete.delete(run, force=True)
    except (OSError, errors.AtollError):  # the clean-up command and `atoll system check` come across it again
        pass


def run_on_exit(argv: tuple[str, ...], env: tuple[str, ...]) -> None:
    """Start the clean-up command in the caller's environment; nobody waits for it. A command that cannot be started
    is left to the next `atoll` that looks at the container."""
    if not argv:
        return
    defaults = [number for number in range(1, 32) if number not in (process.SIGKILL, 19)]
    try:
        os.posix_spawn(argv[0], argv, dict(e.split("=", 1) for e in env if "=" in e), setsigdef=defaults, setsid=True)
    except OSError:
        pass


def mourn(run: str, status: int | None) -> None:
    """Do what is left when a container ends whose monitor was killed: the spawner, to which its init came as an
    orphan, has the exit status (None: the monitor had taken it, and was killed before it wrote it down). Output
    that nobody read is lost."""
    was = record.read_monitor(run)
    if was is None or record.read_exit(was.bundle) is not None:
        return
    oom = out_of_memory(run)
    if status is None:
        ended = record.lost("its monitor was killed before it recorded the exit code", started=was.started)
    else:
        ended = record.of_status(status, started=was.started, oom=oom, error="its monitor was killed")
    try:
        record.write_exit(was.bundle, ended)
    except OSError:
        return
    _delete(run)
    run_on_exit(tuple(was.on_exit), tuple(was.env))
