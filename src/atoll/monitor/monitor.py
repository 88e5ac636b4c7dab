"""What a clerk does for a container: serve its commands, record its end, have it cleaned up.

Holds: `keep` (from the request on), `resume` (a later clerk), `conclude` (the end, met by the monitor itself). Does
not hold: the patient process that forks clerks (`service.py`), what to do about an exit (the clean-up command does:
restart, remove), streams (`relay.py`), creation (`creator.py`).
Start reading at `keep`.
"""

from __future__ import annotations

import errno
import os
import time
from _struct import unpack
from select import select

from atoll.base import clock, errors, timing
from atoll.base.loop import POLLIN
from atoll.base.rollback import Rollback
from atoll.guest.enter import NOTE, last_word
from atoll.linux import process
from atoll.linux.title import set_title
from atoll.monitor import foreign, health, journal, keeper, record, usage
from atoll.monitor.company import Company
from atoll.monitor.creator import Made, write_down
from atoll.monitor.keeper import LOST_STATUS, MOURN_SECONDS
from atoll.monitor.logs import writer
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import STDERR, STDOUT, VERSION, Malformed, check_version
from atoll.monitor.record import Charge
from atoll.monitor.requests import LogPlan
from atoll.monitor.sockets import accept, check_peer, send_with_fds
from atoll.monitor.spawning import SHORT_SECONDS, spawn_aside
from atoll.runtime import delete as runtime_delete
from atoll.runtime import start as runtime_start
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

PEERS_MAX = 64
"""Most commands attached to one container."""
FINISHED, RESTS = 0, 3
"""Exit statuses of a clerk: all is done; or nobody is attached, and the monitor goes on alone."""
STREAMS = (("console", STDOUT), ("stdout", STDOUT), ("stderr", STDERR))
LOOK_SECONDS = 1.0
"""How often a clerk looks whether an init that waits, with nobody attached, can still be started."""


class Log:
    """A container's log that never stops the container: what cannot be written is counted and passed over."""

    def __init__(self, plan: LogPlan) -> None:
        self.dropped = 0
        self._writer = writer(plan)

    def __call__(self, stream: int, data: bytes) -> None:
        """Write output with the present time."""
        try:
            if self._writer is not None:
                self._writer.write(stream, data, time.time_ns())
        except OSError:  # a full disk, most likely; space may come back
            self.dropped += len(data)

    def close(self) -> None:
        """Write out what is held back."""
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError:
            self.dropped += 1


def log_of(run: str) -> Log:
    """The log of the container of `run`; one that cannot be opened drops everything."""
    known = record.read_monitor(run)
    try:
        return Log(LogPlan(driver="none") if known is None else known.charge.log)
    except OSError:
        return Log(LogPlan(driver="none"))


class Monitor(Company):
    """The container's side of `Company`: start, attach, promises, the record of it all."""

    def __init__(self, charge: Charge, line: socket | None = None) -> None:
        super().__init__()
        self.charge = charge
        self.cleaned = False
        self.log: Log | None = None
        self.bereft = False  # the monitor was killed
        self.far = False  # the init is nobody's child here
        self.mourned = False  # somebody else has recorded the end
        self.foreign = os.path.exists(f"{charge.run}/{foreign.NOTE}")
        self._line = line
        self._creator: Peer | None = None
        self._starting = False
        self._listener = -1
        if line is not None:
            self.loop.watch(line.fileno(), POLLIN, lambda _: self._word())

    # -- the commands

    def welcome(self, peer: Peer, *, promise: bool) -> None:
        """Serve the command that asked for the container: it is attached from the beginning."""
        self._creator = peer
        peer.known = peer.output = True
        peer.input, peer.promise = self.charge.stdin or self.charge.terminal, promise
        self.relay.add_peer(peer)

    def use_door(self, listener: int) -> None:
        """Listen on a socket that is bound already: `<run>/attach.sock`."""
        os.set_blocking(listener, False)
        self._listener = listener
        self.loop.watch(listener, POLLIN, lambda _: self._admit())

    def close_door(self) -> None:
        """Let nobody in any more."""
        if self._listener >= 0:
            self.loop.forget(self._listener)
            os.close(self._listener)
            self._listener = -1

    def _admit(self) -> None:
        try:
            connection = accept(self._listener)
        except OSError as error:  # it left again, or descriptors are short: then it waits, and we do not turn for it
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                time.sleep(SHORT_SECONDS)
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
            self.start(peer)
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
        peer.input = message.get("stdin") is True and (self.charge.stdin or self.charge.terminal)
        answer = {"is": "attached", "v": VERSION, "id": self.charge.id, "pid": self.pid, "started": self.started}
        self.relay.tell(peer, answer)

    def begin(self, peer: Peer) -> None:
        """As `start`, but another runtime may have started what it made already."""
        if not (self.foreign and self.program_runs()):
            self.start(peer)
            return
        self.started = True
        self.on_started()

    def start(self, peer: Peer) -> None:
        """Let the program run; `peer` is told if that is refused."""
        try:
            if self.foreign:
                self._start_foreign()
                return
            if self._sync >= 0 and not self.program_runs() and os.path.exists(f"{self.charge.run}/{NOTE}"):
                from atoll.monitor.links import hand_over

                hand_over(self._sync, self.pid, self.charge.run, self.charge.bundle)
            runtime_start.start(self.charge.run)
            self._starting = True
        except errors.AtollError as error:
            self.relay.tell(peer, {"is": "error", "error": error.to_json()})

    def _start_foreign(self) -> None:
        """Another runtime's `start` returns once the program runs, or says why it does not; then the init ends."""
        try:
            foreign.start(self.charge.run)
        except errors.FailedPrecondition:
            raise
        except errors.AtollError as error:
            self.fail(error)
            return
        self.started = True
        self.on_started()

    def on_gone(self, peer: Peer) -> None:
        """A command left: its input ends with it (Docker's StdinOnce), and so does a container nobody started."""
        if peer.input and not self.charge.stdin_stays:
            self.relay.close_input()
        alone = peer is self._creator and not self.charge.keep_unstarted
        if alone and self.pid and self.status is None and not self.program_runs():
            self.failure = errors.Cancelled("its command left before the container was started")
            self.signal(process.SIGKILL)

    # -- the program

    def program_runs(self) -> bool:
        """Started, by whomever: start removes the fifo."""
        return self.started or self._starting or not os.path.exists(f"{self.charge.run}/{state.FIFO}")

    def on_started(self) -> None:
        """Record the moment and tell everybody."""
        record.write_started(self.charge.run)
        journal.note(self.charge.events, "start")
        self.relay.tell_all({"is": "started", "pid": self.pid})

    def on_failed(self, failure: errors.AtollError) -> None:
        """Tell everybody why; the init ends with 125, 126 or 127."""
        self.relay.tell_all({"is": "error", "error": failure.to_json()})

    def open_log(self) -> None:
        """Where output goes besides the commands. Raises OSError."""
        self.log = self.relay.log = Log(self.charge.log)

    def fail(self, error: Exception) -> None:
        """A container that cannot be kept company is ended, and everybody told why."""
        if isinstance(error, OSError):
            error = errors.from_os_error(error, f"keep container {self.charge.id[:12]}")
        self.failure = error if isinstance(error, errors.AtollError) else errors.Internal(str(error))
        self.on_failed(self.failure)
        self.signal(process.SIGKILL)

    # -- the monitor, whose clerk this is

    def _word(self) -> None:
        """The monitor says how the init ended, or is gone."""
        assert self._line is not None
        try:
            word = self._line.recv(16)
        except OSError:
            word = b""
        if len(word) == 4:
            self.status = unpack("i", word)[0]
            return
        self.loop.forget(self._line.fileno())
        self.bereft = True
        try:  # whoever looks for a monitor finds us
            record.write_monitor(self.charge, pid=os.getpid(), version=VERSION)
        except OSError:
            pass
        if not self._own_child and self.pidfd >= 0 and not self.far:
            # The init is the spawner's child now, which records its end; we only notice it.
            self.loop.watch(self.pidfd, POLLIN, lambda _: self._mourned())

    def watch_far(self, fds: dict[str, int]) -> None:
        """The init is not even the monitor's child: its end is noticed by its pidfd."""
        self.far = True
        self.loop.watch(self.pidfd, POLLIN, lambda _: self._far_ended(fds))

    def _far_ended(self, fds: dict[str, int]) -> None:
        self.loop.forget(self.pidfd)
        self.status = keeper.end_of(fds)

    def _mourned(self) -> None:
        self.loop.forget(self.pidfd)
        self.status = LOST_STATUS

    def serve(self) -> int:
        """Serve until the end of the container, or until nobody is attached."""
        while self.status is None:
            if self._may_rest():
                self._patience()  # its run directory may have gone while somebody was here
                if self.failure is None:
                    return self._rest()
            self.relay.turn(self._patience())
        self.until_ended()
        return finish(self)

    def _patience(self) -> float | None:
        """How long to wait for the next event. For ever, but while the init waits to be started and nobody is here:
        its run directory may go then, and with it the fifo, so that nothing else would end the wait."""
        if self._sync < 0 or self._starting or self.relay.peers or self.failure is not None:
            return None
        if not record.forsaken(self.charge.run):
            return LOOK_SECONDS
        self.failure = errors.Cancelled("its run directory was removed before it was started")
        self.signal(process.SIGKILL)
        return None

    def _may_rest(self) -> bool:
        heard = self._sync < 0 or (self.charge.keep_unstarted and not self._starting)
        heard = heard and self.failure is None  # else the end is near, and why is known here alone
        return heard and not self.relay.peers and not self.relay.pending_input and not self.bereft

    def _rest(self) -> int:
        assert self._line is not None
        stdin = self.relay.release_input() if self.charge.stdin and not self.charge.terminal else -1
        if self.log is not None:
            self.log.close()
        try:
            send_with_fds(self._line, b"s" if self._sync < 0 else b"-", () if stdin < 0 else (stdin,))
        except OSError:  # killed just now: then the spawner, or nobody, goes on
            pass
        return RESTS

    # -- the end

    def part(self) -> None:
        """Wait for those who promised to clean up; run the clean-up command unless one did; give every command what
        is left for it."""
        while not self.cleaned and any(peer.promise for peer in self.relay.peers):
            self.relay.turn(None)
        if not self.cleaned:
            spawn_aside(self.charge.on_exit, self.charge.env)
        self.flush()


LOST_REASON = "its monitor was killed, and the exit code with it"


def keep(made: Made, peer: Peer, line: socket, report: Callable[[int, str, int | None], None]) -> int:
    """The life of a container from its creation on, with the command that asked for it; returns FINISHED or RESTS.

    `line` leads to the monitor, `report(init, run, console)` to the spawner. The order is the design; the numbers of
    `protocol.py` stand in brackets. Never raises for what a container, a command or a disk may do.
    """
    charge, fds = made.charge, made.fds
    monitor = Monitor(charge, line)
    monitor.welcome(peer, promise=made.promise)
    if made.error is not None:
        # The runtime has undone its part: tell the command, and clean up if it does not.
        monitor.on_failed(made.error)
        monitor.part()
        return FINISHED
    # 1. From here on its end is ours to take in, whatever else fails.
    monitor.attend(charge.pid, fds)
    try:
        # 2. Recorded before anyone is told (8): a command that dies now leaves something to be found. Our own runtime
        #    has had that done beside the mounts.
        kept = made.kept
        if kept is None:
            with Rollback() as undo:
                kept = write_down(charge, undo)
                undo.release()
        monitor.use_door(kept.door)
        monitor.open_log()
        # 3. The monitor next: it has spares of all before the first byte of output, should this process be killed.
        spares = {k: v for k, v in fds.items() if k != "stdin"}
        tell_monitor(line, charge, {**spares, "door": kept.door, "keeper": kept.keeper})
        report(charge.pid, charge.run, fds.get("console"))
    except (errors.AtollError, OSError) as error:
        monitor.fail(error)
    else:
        timing.mark("record and door")
        answer = {"is": "created", "pid": charge.pid, "steps": timing.take()}
        monitor.relay.tell(peer, answer)  # (9)
        if made.start:  # asked for beforehand, which saves the command and us waking one another (11)
            monitor.begin(peer)
    set_title(b"atoll:[clerk] " + charge.id[:12].encode())
    # 4. Start, streams, signals, other commands: all of it is events (10 to 15).
    return monitor.serve()


def tell_monitor(line: socket, charge: Charge, fds: dict[str, int]) -> None:
    """A first clerk's word: what the container is, and spares of its descriptors."""
    title = b"atoll:[monitor] " + charge.id[:12].encode()
    checked = b"h" if charge.health is not None else b""
    word = b"\0".join(
        (title, charge.run.encode(), b"%d" % charge.pid, " ".join(fds).encode(), checked, charge.bundle.encode())
    )
    try:
        send_with_fds(line, word, tuple(fds.values()))
    except (BrokenPipeError, ConnectionResetError):  # killed already; this process goes on in its place
        pass


def resume(run: str, fds: dict[str, int], line: socket | None, status: int | None = None) -> Monitor | None:
    """A container taken over from its monitor, with the monitor's spare descriptors; None if its record is gone."""
    known = record.read_monitor(run)
    if known is None:
        return None
    monitor = Monitor(known.charge, line)
    monitor.attend(known.charge.pid, fds, own_child=line is None)
    if "told" in fds and line is not None:
        monitor.watch_far(fds)
    monitor.started = "sync" not in fds and monitor.program_runs()
    monitor.status = status
    if "door" in fds:
        monitor.use_door(fds["door"])
    try:
        monitor.open_log()
    except OSError:  # the container goes on without
        pass
    return monitor


def serve_later(run: str, fds: dict[str, int], line: socket) -> int:
    """The life of a later clerk: somebody knocks, or the init has been heard."""
    monitor = resume(run, fds, line)
    if monitor is None:
        forsake(run, fds)
        try:
            send_with_fds(line, b"g", ())  # gone: nobody can be served any more
        except OSError:
            pass
        return RESTS
    set_title(b"atoll:[clerk] " + monitor.charge.id[:12].encode())
    # The one that knocked is let in before the question whether there is anyone.
    monitor.relay.turn(0)
    return monitor.serve()


def look_after(run: str, fds: dict[str, int]) -> None:
    """What a monitor that is alone has a fork do now and then."""
    usage.keep(run)
    forsake(run, fds)


def forsake(run: str, fds: dict[str, int]) -> None:
    """Kill the init if it waits to be started and its run directory has gone: nobody can start it any more, or see
    that it is there. A program that runs is left alone."""
    if "sync" not in fds or not record.forsaken(run) or select([fds["sync"]], [], [], 0)[0]:
        return
    try:
        process.pidfd_send_signal(fds["pidfd"], process.SIGKILL)
    except OSError:  # it has ended
        pass


def conclude(run: str, fds: dict[str, int], status: int) -> None:
    """The end of a container that nobody was attached to, met by the monitor itself."""
    monitor = resume(run, fds, None, status)
    if monitor is not None:
        monitor.until_ended()
        finish(monitor)


def finish(monitor: Monitor) -> int:
    """What follows the end of a process and of its output. Returns FINISHED."""
    charge, log = monitor.charge, monitor.log
    # 1. The log first, then the record: who sees the exit finds the whole log.
    if log is not None:
        log.close()
    ended = _ended(monitor, log)
    recorded, held = False, -1
    if not monitor.mourned:
        held = _hold(charge.run)
        recorded = _record_exit(charge, ended)
        note_end(charge, ended)
        health.keep(charge)
        usage.settle(charge)
    # 2. Cgroup and run directory go before anyone is told (16), so that nothing of it is left when the command
    #    returns. Where the bundle's disk is full the run directory stays: it holds the record.
    monitor.close_door()
    if recorded:
        _delete(charge.run, held)
    elif held >= 0:
        os.close(held)
    # 3. The last word (17), then the clean-up (18, 19).
    monitor.relay.tell_all({"is": "exit", "exit": ended.code, **ended.to_json()})
    monitor.part()
    return FINISHED


def _ended(monitor: Monitor, log: Log | None) -> record.Exit:
    charge = monitor.charge
    started = record.read_started(charge.run)
    if monitor.status == LOST_STATUS:
        found = _awaited(charge)
        monitor.mourned = found is not None
        return found or record.lost(LOST_REASON, started=started)
    in_guest, inside, why = last_word(charge.run)
    oom = in_guest or out_of_memory(charge.run)
    error = why if monitor.failure is None else str(monitor.failure)
    ended = record.of_status(monitor.status or 0, started=started, oom=oom, error=error, inside=inside)
    if monitor.foreign and monitor.failure is not None and not started:
        # Its init knows no such codes: we have killed it.
        code = {"command-not-found": 127, "command-not-executable": 126}.get(monitor.failure.kind)
        ended = ended if code is None else ended.replace(code=code, signal=None)
    return ended.replace(log_dropped=log.dropped) if log is not None and log.dropped else ended


def _awaited(charge: Charge, patience: float = MOURN_SECONDS) -> record.Exit | None:
    """The end as somebody else has written it down, or is about to: the spawner has the status of orphans."""
    deadline = time.monotonic() + patience
    while True:
        found = record.read_exit(charge.bundle)
        if found is not None or time.monotonic() >= deadline:
            return found
        time.sleep(0.01)


def out_of_memory(run: str) -> bool:
    """Whether the kernel killed a process of the container for want of memory; asked before its cgroup goes."""
    try:
        cgroup = state.read(run).cgroup
        if cgroup is None:
            return False
        return Cgroup.from_json(cgroup).oom_kills() > 0
    except (OSError, errors.AtollError):
        return False


def _record_exit(charge: Charge, ended: record.Exit) -> bool:
    """Record the end in the bundle, or else (its disk is full) in the run directory; whether the first went well."""
    for place in (charge.bundle, charge.run):
        try:
            record.write_exit(place, ended)
            return place is charge.bundle
        except OSError:
            continue
    return False


def note_end(charge: Charge, ended: record.Exit) -> None:
    """Tell the journal."""
    if charge.events is None:
        return
    if ended.oom:
        journal.note(charge.events, "oom")
    lived = clock.parse(ended.at) - clock.parse(ended.started) if ended.started else 0
    journal.note(charge.events, "die", execDuration=str(lived // 10**9), exitCode=str(ended.code))


def _hold(run: str) -> int:
    try:
        return runtime_delete.hold(run)
    except OSError:  # no descriptor left, perhaps: the end is recorded all the same
        return -1


def _delete(run: str, held: int) -> None:
    try:
        runtime_delete.delete(run, force=True, held=held)
    except (OSError, errors.AtollError):  # the clean-up command and `atoll system check` come across it again
        pass


def _init_lives(run: str) -> bool:
    try:
        pidfd = state.open_init(state.read(run))
    except (OSError, errors.AtollError):
        return False
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


def mourn(run: str, status: int | None, patience: float = MOURN_SECONDS) -> str:
    """Record the end of a container whose monitor was killed, and have it cleaned up; the bundle in which to follow
    its restart policy, "" if that is not ours to do. The spawner, to which its init came as an orphan, has the exit
    status (None: nobody has it; a clerk may be about to write it down, for which `patience` is). Output that nobody
    read is lost."""
    was = record.read_monitor(run)
    if was is None or record.read_exit(was.charge.bundle) is not None:
        return ""
    charge, started = was.charge, record.read_started(run)
    if status is None:
        if _init_lives(run):
            return ""  # in the hands of its first clerk, which goes on in the monitor's place
        if _awaited(charge, patience) is not None:
            return ""
        ended = record.lost(LOST_REASON, started=started)
    else:
        in_guest, inside, why = last_word(run)
        oom, error = in_guest or out_of_memory(run), why or "its monitor was killed"
        ended = record.of_status(status, started=started, oom=oom, error=error, inside=inside)
    held = _hold(run)
    if held < 0 and not os.path.isdir(run):
        return ""  # somebody has cleared it away, perhaps for the container's next life
    recorded = _record_exit(charge, ended)
    note_end(charge, ended)
    health.keep(charge)
    usage.settle(charge)
    if recorded:
        _delete(run, held)
    elif held >= 0:
        os.close(held)
    spawn_aside(charge.on_exit, charge.env)
    return charge.bundle
