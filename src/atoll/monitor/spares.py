"""Spares: forks of the spawner that are made while nobody waits, and wait for the next connection themselves.

Holds: `Spares`, the spawner's side: making them, handing a connection over, letting go of them; `Spare`,
theirs. Does not hold: what they do with it (`service.py`, the door's module).

A forked page is copied at its first write, some 4 microseconds each on a virtual machine, and in Python nearly every
step writes (reference counts): a command, its clerk and the init copy 4,000 pages, most of what a short `atoll run`
costs. A spare copies them before anybody asks. Which ones, it is told: those that the last of its kind has written to
(`learn`), for forks of one parent find the same objects at the same places.

It is a cache as the spawner is: whoever finds none is served by a fork. A spare holds one end of a socket pair and
ends when the other is closed: a spawner that is killed, retires or lets go leaves none behind. They are let go of a
few seconds after the last connection, so that an idle host keeps neither the processes nor the memory.

A monitor lives as long as its container, and keeps the old version of each page that its parent writes to after the
fork: the spawner writes to 120 between two of them (half a mebibyte a container). So while there are spares monitors
are cloned by a process that does nothing else, the maker; they are the spawner's children all the same (CLONE_PARENT
of clone(2)).
"""

from __future__ import annotations

import os
import time
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from _struct import pack, unpack
from errno import EAGAIN, EIO
from resource import RUSAGE_SELF, getrusage
from select import select

from atoll.linux import memory
from atoll.linux.process import CLONE_PARENT, clone3
from atoll.monitor import sockets
from atoll.runtime.cgroups.prime import Primer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

MONITOR, COMMAND, INIT, MAKER = 0, 1, 2, 3
"""What a process is, and what a connection is for, by the socket that it came to; an init and the maker have none."""
KEPT_SECONDS = 10.0
"""How long after the last connection spares are kept."""
DELAY_SECONDS, SOON_SECONDS = 0.15, 0.002
"""How long after a connection one is made, and after the end of whom it was for: to make one takes as long as a run,
and whoever was just served wants the processors for himself."""


FAULTS_MOST = 150
"""How many pages a spare may have had to copy after all before it tells of those that it wrote to."""
LESSONS_MOST = 8
"""How often that is done for one kind: it takes two milliseconds."""
TAKEN_SECONDS, MAKER_SECONDS = 5.0, 60.0
"""How long the spawner waits for the maker to take a request up, and then for its answer. One that was killed is
known at once; of 800 containers that were started at the same moment, on two processors, one waited for more than
five."""
PAGES_MOST = 4096
RANGES_MOST = 3000


class NotTaken(OSError):
    """The maker did not take a request up in its time, and was killed: so nobody else will serve it."""


class Spares:
    """At most one spare of each kind; `make(kind, gate)` is what the fork does, and never returns; they are let go
    of `kept` seconds after the last connection."""

    def __init__(self, make: Callable[[int, socket], None], kept: float = KEPT_SECONDS) -> None:
        self.make, self.kept = make, kept
        self.kinds: list[int] = []
        self.gates: dict[int, tuple[int, socket]] = {}  # kind -> pid, our end
        self.maker: tuple[int, socket] | None = None
        self.used = self.due = 0.0
        self.pages: dict[int, bytes] = {}  # kind -> what to copy, as `learn` packs it
        self.lessons: dict[int, int] = {}

    def begin(self, kinds: list[int]) -> None:
        """Have a spare of each of these kinds from now on."""
        self.kinds = kinds
        self.used = time.monotonic()
        if MONITOR in kinds and self.maker is None:
            try:
                self._have_maker()
            except OSError:
                return

    def wait_ms(self) -> int:
        """How long the spawner may wait for events before it calls `look`; -1 for ever."""
        if not self.used:
            return -1
        until = self.due if len(self.gates) < len(self.kinds) else self.used + self.kept
        return max(0, int((until - time.monotonic()) * 1000 + 0.999))

    def look(self) -> None:
        """Nobody waits: make what is missing, or let go of all if nothing has been asked for a while."""
        now = time.monotonic()
        if not self.used or now < self.due:
            return
        if now - self.used >= self.kept:
            self.let_go()
            return
        for kind in self.kinds:
            if self.used and kind not in self.gates:
                self._add(kind)

    def _add(self, kind: int) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            pid = self._ask_for(theirs) if kind == MONITOR else os.fork()
            if pid == 0 and kind == MONITOR:
                raise OSError(EAGAIN, "no process")
        except OSError:  # none to be had: the next one is not served by a spare
            ours.close()
            theirs.close()
            self.let_go()
            return
        if pid == 0:
            self.make(kind, theirs)
        theirs.close()
        self.gates[kind] = (pid, ours)

    def _ask_for(self, gate: socket) -> int:
        """Have the maker make a monitor's spare: its pid. Raises OSError."""
        if self.maker is None:
            self._have_maker()
        self._send(b"g", gate.fileno())
        return self._answer()

    def clone(self, connection: int) -> int:
        """Have the maker, if there is one, make a monitor for a connection: its pid, 0 if none was made. Raises
        OSError where nobody knows: then another one must not read from the same connection."""
        if self.maker is None:
            return 0
        try:
            self._send(b"c", connection)
        except OSError:  # it was killed
            self._dismiss()
            return 0
        try:
            return self._answer()
        except NotTaken:
            return 0
        except OSError:
            self._dismiss()
            raise

    def _have_maker(self) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self.make(MAKER, theirs)
        theirs.close()
        self.maker = (pid, ours)

    def _send(self, what: bytes, fd: int) -> None:
        assert self.maker is not None
        self.maker[1].sendmsg([what], [(SOL_SOCKET, SCM_RIGHTS, pack("i", fd))], MSG_DONTWAIT | MSG_NOSIGNAL)

    def _answer(self) -> int:
        """The pid, 0 where there was no process to be had. Raises OSError, NotTaken."""
        assert self.maker is not None
        pid, line = self.maker
        if not select([line], [], [], TAKEN_SECONDS)[0]:
            from atoll.linux import signals, unix

            # Stopped, so that it does not take it up meanwhile: what lies in its queue still, nobody has, and nobody
            # is to have any more.
            os.kill(pid, signals.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if unix.unread(line.fileno()):
                os.kill(pid, signals.SIGKILL)
                self._dismiss()
                raise NotTaken(EAGAIN, "the maker of monitors takes up nothing")
            os.kill(pid, signals.SIGCONT)
            select([line], [], [], MAKER_SECONDS)
        answer = line.recv(4, MSG_DONTWAIT) if select([line], [], [], 0)[0] else b""
        if len(answer) < 4:
            raise OSError(EIO, "the maker of monitors does not answer")
        return int(unpack("i", answer)[0])

    def _dismiss(self) -> None:
        """Have no maker; the next one knows what has been learned meanwhile."""
        if self.maker is not None:
            self.maker[1].close()
            self.maker = None

    def hand(self, kind: int, connection: int) -> int:
        """Give a connection to the spare of a kind: its pid, 0 if there is none to take it."""
        self.used = time.monotonic()
        self.due = self.used + DELAY_SECONDS
        pid, gate = self.gates.pop(kind, (0, None))
        if gate is None:
            return 0
        try:
            gate.sendmsg([b"c"], [(SOL_SOCKET, SCM_RIGHTS, pack("i", connection))], MSG_DONTWAIT | MSG_NOSIGNAL)
        except OSError:  # it was killed
            pid = 0
        gate.close()
        return pid

    def ended(self, pid: int) -> None:
        """A process of the spawner has ended: it may have been a spare, or one that a spare was for."""
        self.due = min(self.due, time.monotonic() + SOON_SECONDS)
        kept = [one for one, _ in self.gates.values()]
        if pid in kept or (
            self.maker is not None and pid == self.maker[0]
        ):  # killed, or cannot live: no more for now
            self.let_go()

    def let_go(self) -> None:
        """Have no spares until somebody comes again."""
        self.used = 0.0
        for _, gate in self.gates.values():
            gate.close()
        self.gates.clear()
        self._dismiss()

    def learned(self, data: bytes) -> None:
        """A report of `Spare.learn`."""
        kind = data[1]
        self.pages[kind] = data[2:]
        self.lessons[kind] = self.lessons.get(kind, 0) + 1
        if kind != COMMAND:
            self._dismiss()


def make_siblings(line: socket) -> tuple[bool, int]:
    """In the maker: for each gate or connection that comes, a process beside this one. Returns in each of those, with
    whether it is a gate, and the descriptor; (False, -1) when the line ends, with the spawner or before it."""
    while True:
        try:
            data, fds = sockets.receive_with_fds(line, 1, 1)
        except OSError:  # ECONNRESET: killed before it read our last word
            return False, -1
        if not data or not fds:
            return False, -1
        try:
            pid, pidfd = clone3(CLONE_PARENT)
        except OSError:
            pid, pidfd = -1, -1
        if pid == 0:
            line.close()
            return data == b"g", fds[0]
        os.close(fds[0])
        if pidfd >= 0:
            os.close(pidfd)
        try:
            line.send(pack("i", max(pid, 0)), MSG_NOSIGNAL)
        except OSError:
            return False, -1


class Spare:
    """What a spare knows: `gate` is where its connection comes from, `report` leads to the spawner."""

    def __init__(self, gate: socket, report: socket, spares: Spares) -> None:
        self.gate, self.report, self.spares = gate, report, spares
        self._faults = 0
        self._primer: Primer | None = None

    def prime(self) -> None:
        """A process is about to be moved between cgroups (`runtime/cgroups/prime.py`)."""
        if self._primer is not None:
            self._primer.go()

    def warm(self, kind: int) -> None:
        """Have a copy of each page that one of this kind will write to. A later fork would share them anew."""
        if kind != INIT:
            self._primer = Primer()
        packed = self.spares.pages.get(kind, b"")
        memory.populate([(one >> 16, one & 0xFFFF) for one in unpack(f"{len(packed) // 8}Q", packed)])
        self._faults = getrusage(RUSAGE_SELF).ru_minflt

    def await_connection(self) -> int | None:
        """The connection that it is to serve; None when the spawner needs it no more. Raises OSError."""
        data, fds = sockets.receive_with_fds(self.gate, 1, 1)
        self.gate.close()
        return fds[0] if data and fds else None

    def learn(self, kind: int) -> None:
        """Tell the spawner which pages this process has of its own, if many were missing. Costs milliseconds then."""
        if self.spares.lessons.get(kind, 0) >= LESSONS_MOST:
            return
        if getrusage(RUSAGE_SELF).ru_minflt - self._faults <= FAULTS_MOST:
            return
        try:
            pages = [(first, min(count, 0xFFFF)) for first, count in memory.written()]
            if sum([count for _, count in pages]) <= PAGES_MOST and len(pages) <= RANGES_MOST:
                packed = pack(f"{len(pages)}Q", *[first << 16 | count for first, count in pages])
                self.report.send(b"p%c" % kind + packed, MSG_DONTWAIT | MSG_NOSIGNAL)
        except OSError:  # the spawner is gone, or has no time now
            pass
