"""`events`: statistics at an interval and out-of-memory notifications, one JSON object a line, in runc's shape.

Holds: the verb and the shape. Does not hold: reading the numbers (`../cgroups/stats.py`).
"""

from __future__ import annotations

import os
import select
import time

from atoll.base import errors, jsontext
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.command.options import FLAG, TEXT, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.cgroups.stats import CgroupStats
    from atoll.runtime.command.context import Context

EVENTS = {"interval": TEXT, "stats": FLAG}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNLIMITED = (1 << 64) - 1


def events(context: Context, argv: list[str]) -> int:
    """Print events until the container ends, or with `--stats` its numbers once."""
    given = parse("events", argv, EVENTS, {})
    run_dir = context.existing(given.one_word())
    record = state.read(run_dir)
    interval = _seconds(given.text("interval") or "5s")
    if record.cgroup is None:
        raise errors.Unsupported(f"container {record.id} has no cgroup that would count anything")
    cgroup = Cgroup.from_json(record.cgroup)
    if given.flag("stats"):
        _print("stats", record.id, shape(cgroup.stats()))
        return 0
    pidfd = state.open_init(record)
    if pidfd is None:
        raise errors.FailedPrecondition(f"container with id {record.id} is not running")
    try:
        _follow(record.id, cgroup, pidfd, interval)
    finally:
        os.close(pidfd)
    return 0


def _follow(name: str, cgroup: Cgroup, pidfd: int, interval: float) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    oom = cgroup.open_oom_events()
    if oom is not None:
        poller.register(oom[0], oom[1])
    kills = cgroup.oom_kills()
    due = time.monotonic() + interval
    try:
        while True:
            ready = dict(poller.poll(max(0.0, due - time.monotonic()) * 1000))
            if oom is not None and oom[0] in ready:
                os.read(oom[0], 4096)
                os.lseek(oom[0], 0, os.SEEK_SET) if oom[1] == select.POLLPRI else None
            # v1 tells before it kills and counts: so look at every turn, and once more when the end is known.
            now = cgroup.oom_kills()
            if now > kills:
                _print("oom", name, None)
            kills = now
            if pidfd in ready:
                return
            if time.monotonic() >= due:
                due += interval
                _print("stats", name, shape(cgroup.stats()))
    finally:
        if oom is not None:
            os.close(oom[0])


def _print(kind: str, name: str, data: object) -> None:
    from atoll.runtime.command.look import write

    wire: dict[str, object] = {"type": kind, "id": name}
    if data is not None:
        wire["data"] = data
    write(jsontext.dumps(wire) + "\n")


def _seconds(text: str) -> float:
    digits = text.rstrip("hms")
    unit = _UNITS.get(text[len(digits) :])
    try:
        value = float(digits) * (unit or 0.0)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise errors.InvalidArgument(f"duration interval must be greater than 0, got {text!r}", hint="such as 5s")
    return value


def shape(stats: CgroupStats) -> dict[str, Any]:
    """The numbers under runc's names; what the host does not count is left out or 0 as there."""
    cpu, memory, pids = stats.cpu, stats.memory, stats.pids
    usage = {
        "total": cpu.usage or 0,
        "percpu": list(cpu.per_cpu),
        "kernel": cpu.system or 0,
        "user": cpu.user or 0,
    }
    throttling = {
        "periods": cpu.periods or 0,
        "throttledPeriods": cpu.throttled_periods or 0,
        "throttledTime": cpu.throttled_time or 0,
    }
    return {
        "cpu": {"usage": usage, "throttling": throttling},
        "cpuset": {},
        "memory": {
            "cache": memory.cache or 0,
            "usage": _entry(memory.usage, memory.peak, memory.limit, memory.failures),
            "swap": _entry(memory.swap_usage, None, memory.swap_limit, None),
            "kernel": {"limit": 0},
            "kernelTCP": {"limit": 0},
            "raw": dict(memory.detail),
        },
        "pids": {"current": pids.current or 0, **({"limit": pids.limit} if pids.limit is not None else {})},
        "blkio": {
            "ioServiceBytesRecursive": _blkio(stats, "read_bytes", "write_bytes"),
            "ioServicedRecursive": _blkio(stats, "read_ios", "write_ios"),
        },
        "hugetlb": {one.page_size: _entry(one.usage, one.peak, 0, one.failures) for one in stats.hugepages},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _entry(usage: int | None, peak: int | None, limit: int | None, failures: int | None) -> dict[str, int]:
    found = {"limit": _UNLIMITED if limit is None else limit, "usage": usage or 0, "failcnt": failures or 0}
    return {**found, "max": peak} if peak is not None else found


def _blkio(stats: CgroupStats, read: str, write: str) -> list[dict[str, object]]:
    return [
        {"major": one.major, "minor": one.minor, "op": op, "value": getattr(one, field)}
        for one in stats.io
        for op, field in (("Read", read), ("Write", write))
    ]
