"""stats: what containers use at this moment.

Holds: `Sample` and `sample`, `Usage` and `between` (two samples make a CPU share). Does not hold: the numbers' source
(`runtime/cgroups/stats.py`), the screen (`cli/stats.py`).
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.engine.containers.state import is_up, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Sample(Value):
    """One look at a container: nanoseconds (`at` is monotonic), bytes, numbers. None is "nobody counts that here"; a
    container that does not run has used nothing."""

    id: str
    name: str
    up: bool
    at: int
    cpu: int | None = None
    memory: int | None = None
    limit: int | None = None
    received: int | None = None
    sent: int | None = None
    read: int | None = None
    written: int | None = None
    pids: int | None = None


class Usage(Value):
    """What is shown: `cpu` and `memory_share` in per cent (100 is one CPU, all of the limit)."""

    id: str
    name: str
    up: bool
    cpu: float | None
    memory: int | None
    limit: int | None
    memory_share: float | None
    received: int | None
    sent: int | None
    read: int | None
    written: int | None
    pids: int | None


def sample(engine: Engine, name: str) -> Sample:
    """Look at one. Raises NotFound."""
    row = engine.store.container(name)
    status = state_of(engine, row.id)
    one = Sample(id=row.id, name=row.name, up=is_up(status), at=time.monotonic_ns())
    if not one.up:
        return one
    try:
        used = engine.driver.stats(engine.paths.container_run(row.id))
    except errors.NotFound:
        return one.replace(up=False)
    received, sent = _network(status.pid) if status.pid else (None, None)
    one = one.replace(received=received, sent=sent, limit=_host_memory())
    if used is None:
        return one
    memory, limit = used.memory.usage, used.memory.limit
    if memory is not None:
        memory = max(0, memory - (used.memory.inactive_file or 0))  # page cache that the kernel gives back first
    host = _host_memory()
    return one.replace(
        cpu=used.cpu.usage,
        memory=memory,
        limit=host if limit is None else min(limit, host),
        read=sum([device.read_bytes for device in used.io]),
        written=sum([device.write_bytes for device in used.io]),
        pids=used.pids.current,
    )


def between(before: Sample | None, now: Sample) -> Usage:
    """What is used now; the CPU's share since `before`."""
    cpu = None if now.up else 0.0
    if before is not None and before.cpu is not None and now.cpu is not None and now.at > before.at:
        cpu = max(0.0, 100.0 * (now.cpu - before.cpu) / (now.at - before.at))
    share = 100.0 * now.memory / now.limit if now.memory is not None and now.limit else None
    fields = {name: getattr(now, name) for name in ("memory", "limit", "received", "sent", "read", "written", "pids")}
    if not now.up:
        fields, share = dict.fromkeys(fields, 0), 0.0
    return Usage(id=now.id, name=now.name, up=now.up, cpu=cpu, memory_share=share, **fields)


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _network(pid: int) -> tuple[int | None, int | None]:
    """Bytes received and sent by the container's own interfaces, its loopback aside (proc_pid_net(5)); none for
    one in the host's network, whose traffic is not its own."""
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return 0, 0
        lines = files.read_text(f"/proc/{pid}/net/dev").splitlines()[2:]
    except OSError:
        return None, None
    received = sent = 0
    for line in lines:
        name, _, numbers = line.partition(":")
        words = numbers.split()
        if name.strip() != "lo" and len(words) >= 9:
            received, sent = received + int(words[0]), sent + int(words[8])
    return received, sent
