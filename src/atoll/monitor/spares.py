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
from resource import RUSAGE_SELF, getrusage

from atoll.linux import memory
from atoll.monitor import sockets
from atoll.runtime.cgroups.prime import Primer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

MONITOR, COMMAND, INIT = 0, 1, 2
"""What a process is, and what a connection is for, by the socket that it came to; an init has none."""
KEPT_SECONDS = 10.0
"""How long after the last connection spares are kept."""
DELAY_SECONDS, SOON_SECONDS = 0.15, 0.002
"""How long after a connection one is made, and after the end of whom it was for: to make one takes as long as a run,
and whoever was just served wants the processors for himself."""


FAULTS_MOST = 150
"""How many pages a spare may have had to copy after all before it tells of those that it wrote to."""
LESSONS_MOST = 8
"""How often that is done for one kind: it takes two milliseconds."""
PAGES_MOST = 4096
RANGES_MOST = 3000


class Spares:
    """At most one spare of each kind; `make(kind, gate)` is what the fork does, and never returns; they are let go
    of `kept` seconds after the last connection."""

    def __init__(self, make: Callable[[int, socket], None], kept: float = KEPT_SECONDS) -> None:
        self.make, self.kept = make, kept
        self.kinds: list[int] = []
        self.gates: dict[int, tuple[int, socket]] = {}  # kind -> pid, our end
        self.used = self.due = 0.0
        self.pages: dict[int, bytes] = {}  # kind -> what to copy, as `learn` packs it
        self.lessons: dict[int, int] = {}

    def begin(self, kinds: list[int]) -> None:
        """Have a spare of each of these kinds from now on."""
        self.kinds = kinds
        self.used = time.monotonic()

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
            if kind not in self.gates:
                self._add(kind)

    def _add(self, kind: int) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:  # no process to be had: the next one is not served by a spare
            ours.close()
            theirs.close()
            self.let_go()
            return
        if pid == 0:
            self.make(kind, theirs)
        theirs.close()
        self.gates[kind] = (pid, ours)

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
        if any(spare == pid for spare, _ in self.gates.values()):  # killed, or cannot live: no more for now
            self.let_go()

    def let_go(self) -> None:
        """Have no spares until somebody comes again."""
        self.used = 0.0
        for _, gate in self.gates.values():
            gate.close()
        self.gates.clear()

    def learned(self, data: bytes) -> None:
        """A report of `Spare.learn`."""
        kind = data[1]
        self.pages[kind] = data[2:]
        self.lessons[kind] = self.lessons.get(kind, 0) + 1


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
