"""What a container has used: sampled while it runs, added up at its end.

Holds: `Usage` and its two files, `sample` (one look), `settle` (the end). Does not hold: when (`service.py`, every
SAMPLE_MS; `monitor.py` at the end), how it is reported (`engine/usage/`).

    <run>/usage.json      this run so far           <bundle>/usage.json    all runs that have ended

CPU time, input and output are the kernel's own counters; memory over time is the mean of two samples times what lies
between them; network counters go with the network namespace, so that the last sample counts. A container that goes
with its end is not looked at: nobody could ask for it afterwards.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files, jsontext
from atoll.monitor import record
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.monitor.record import Charge

FILE = "usage.json"
SAMPLE_MS = 300_000


class Usage(record.Record):
    """Nanoseconds of CPU, byte-seconds of memory, bytes, seconds. `at` (seconds of the boot) and `memory` are those
    of the last sample; they are 0 in a sum."""

    cpu_ns: int = 0
    byte_seconds: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    received: int = 0
    sent: int = 0
    seconds: int = 0
    at: int = 0
    memory: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        names = ("cpu_ns", "byte_seconds", "bytes_read", "bytes_written", "received", "sent", "seconds")
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


def read(place: str) -> Usage:
    """What is written in a run directory or a bundle. A damaged file counts as nothing."""
    try:
        return Usage.read(f"{place}/{FILE}") or Usage()
    except errors.AtollError:
        return Usage()


def sample(run: str) -> Usage:
    """This run up to now, by the kernel's counters. Raises NotFound for one without processes, OSError."""
    from atoll.runtime.cgroups.cgroup import Cgroup

    known, before = state.read(run), read(run)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10**9
    received, sent = _network(known.pid) or (before.received, before.sent)
    if known.cgroup is None:
        return before.replace(received=received, sent=sent, at=now, seconds=before.seconds + now - (before.at or now))
    stats = Cgroup.from_json(known.cgroup).stats()
    memory = stats.memory.usage or 0
    begun = before.at or _begun(known.start_time)
    passed = max(0, now - begun)
    mean = (before.memory + memory) // 2 if before.at else memory
    return Usage(
        cpu_ns=stats.cpu.usage or before.cpu_ns,
        byte_seconds=before.byte_seconds + mean * passed,
        bytes_read=sum([one.read_bytes for one in stats.io]) or before.bytes_read,
        bytes_written=sum([one.write_bytes for one in stats.io]) or before.bytes_written,
        received=received,
        sent=sent,
        seconds=before.seconds + passed,
        at=now,
        memory=memory,
    )


def _begun(start_time: int) -> int:
    """Seconds of the boot at which a process began (proc_pid_stat(5): clock ticks)."""
    return start_time // os.sysconf("SC_CLK_TCK")


def _network(pid: int) -> tuple[int, int] | None:
    """Bytes received and sent by all devices but the loopback of a process' network namespace; none where that is
    ours, the host's, whose traffic is not the container's own."""
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return 0, 0
        lines = files.read_text(f"/proc/{pid}/net/dev").splitlines()[2:]
    except (OSError, ValueError):
        return None
    rows = [line.partition(":") for line in lines]
    words = [rest.split() for name, _, rest in rows if name.strip() != "lo"]
    return sum([int(one[0]) for one in words]), sum([int(one[8]) for one in words])


def keep(run: str) -> None:
    """Write a sample down. Never raises for a container that has ended or a disk that is full."""
    try:
        files.write_atomic(f"{run}/{FILE}", jsontext.dumps(sample(run).to_json()))
    except (OSError, errors.AtollError):
        pass


def settle(charge: Charge) -> None:
    """At the end, before the cgroup goes: add this run to what the earlier ones used. Never raises."""
    if charge.on_exit:
        return
    try:
        try:
            last = sample(charge.run)
        except (OSError, errors.AtollError):
            last = read(charge.run)
        total = read(charge.bundle).plus(last)
        files.write_atomic(f"{charge.bundle}/{FILE}", jsontext.dumps(total.to_json()))
    except OSError:
        pass
