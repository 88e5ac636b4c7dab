"""What a cgroup uses, as typed records.

Holds: `CgroupStats` and its parts, `read_stats`, the parsers. Does not hold: showing them.
Sources: the kernel's admin-guide/cgroup-v1 and cgroup-v2, accounting/psi. Times in nanoseconds, sizes in bytes.
A number that the kernel does not give, or gives in another shape, is None: newer kernels add and drop files.
"""

from __future__ import annotations

import errno

from atoll.base.value import Value
from atoll.runtime.cgroups.settings import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.cgroups.cgroup import Cgroup

# v1 writes "no limit" as the largest multiple of the page size.
_V1_UNLIMITED = 1 << 62


class Pressure(Value):
    """One line of PSI: the share of time (per cent) some or all tasks waited, and the total in ns."""

    avg10: float
    avg60: float
    avg300: float
    total: int


class CpuStats(Value):
    """Time used, and what the quota did."""

    usage: int | None = None
    user: int | None = None
    system: int | None = None
    per_cpu: tuple[int, ...] = ()
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_time: int | None = None
    pressure: tuple[Pressure | None, Pressure | None] | None = None  # some, full


class MemoryStats(Value):
    """`limit` None is no limit. `cache` is page cache, `detail` the kernel's own memory.stat."""

    usage: int | None = None
    peak: int | None = None
    limit: int | None = None
    failures: int | None = None
    cache: int | None = None
    inactive_file: int | None = None
    swap_usage: int | None = None
    swap_limit: int | None = None
    oom_kills: int = 0
    detail: tuple[tuple[str, int], ...] = ()
    pressure: tuple[Pressure | None, Pressure | None] | None = None


class PidsStats(Value):
    """Tasks, and their limit (None: no limit)."""

    current: int | None = None
    limit: int | None = None


class IoEntry(Value):
    """One device: bytes and operations."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    read_ios: int = 0
    write_ios: int = 0


class HugepageStats(Value):
    """One page size."""

    page_size: str
    usage: int | None = None
    peak: int | None = None
    failures: int | None = None


class CgroupStats(Value):
    """All of it."""

    cpu: CpuStats
    memory: MemoryStats
    pids: PidsStats
    io: tuple[IoEntry, ...] = ()
    hugepages: tuple[HugepageStats, ...] = ()


def read_stats(cgroup: Cgroup) -> CgroupStats:
    """Read everything the container's cgroups count. Raises OSError only for faults, not for what is absent."""
    v1 = {name: place for controllers, place in cgroup.v1 for name in controllers}
    on = cgroup.unified
    memory = _memory_v1(v1["memory"]) if "memory" in v1 else _memory_v2(on) if on else MemoryStats()
    return CgroupStats(
        cpu=_cpu_v1(v1.get("cpuacct"), v1.get("cpu"))
        if "cpuacct" in v1 or "cpu" in v1
        else _cpu_v2(on)
        if on
        else CpuStats(),
        memory=memory.replace(oom_kills=cgroup.oom_kills()),
        pids=_pids(place) if (place := v1.get("pids") or on) else PidsStats(),
        io=_io_v1(v1["blkio"]) if "blkio" in v1 else _io_v2(on) if on else (),
        hugepages=_hugepages(place) if (place := v1.get("hugetlb") or on) else (),
    )


# --- per version ------------------------------------------------------------------------------------------------


def _cpu_v1(acct: str | None, cpu: str | None) -> CpuStats:
    ticks = parse_pairs(_text(acct, "cpuacct.stat"))
    stat = parse_pairs(_text(cpu, "cpu.stat"))
    usage = number(_text(acct, "cpuacct.usage"))
    user, system = number(_text(acct, "cpuacct.usage_user")), number(_text(acct, "cpuacct.usage_sys"))
    tick = 10**9 // 100  # USER_HZ, fixed in the user's view
    if user is None and "user" in ticks:
        user, system = ticks["user"] * tick, ticks.get("system", 0) * tick
    per_cpu = tuple(int(word) for word in _text(acct, "cpuacct.usage_percpu").split() if word.isdecimal())
    return CpuStats(
        usage=usage,
        user=user,
        system=system,
        per_cpu=per_cpu,
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_time=stat.get("throttled_time"),
    )


def _cpu_v2(place: str) -> CpuStats:
    stat = parse_pairs(_text(place, "cpu.stat"))

    def ns(name: str) -> int | None:
        return stat[name] * 1000 if name in stat else None

    return CpuStats(
        usage=ns("usage_usec"),
        user=ns("user_usec"),
        system=ns("system_usec"),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_time=ns("throttled_usec"),
        pressure=parse_pressure(_text(place, "cpu.pressure")),
    )


def _memory_v1(place: str) -> MemoryStats:
    stat = parse_pairs(_text(place, "memory.stat"))
    usage, total = number(_text(place, "memory.usage_in_bytes")), number(_text(place, "memory.memsw.usage_in_bytes"))
    return MemoryStats(
        usage=usage,
        peak=number(_text(place, "memory.max_usage_in_bytes")),
        limit=_limit_v1(_text(place, "memory.limit_in_bytes")),
        failures=number(_text(place, "memory.failcnt")),
        cache=stat.get("total_cache", stat.get("cache")),
        inactive_file=stat.get("total_inactive_file", stat.get("inactive_file")),
        swap_usage=None if total is None or usage is None else max(0, total - usage),
        swap_limit=_limit_v1(_text(place, "memory.memsw.limit_in_bytes")),
        detail=tuple(stat.items()),
    )


def _memory_v2(place: str) -> MemoryStats:
    stat = parse_pairs(_text(place, "memory.stat"))
    events = parse_pairs(_text(place, "memory.events"))
    return MemoryStats(
        usage=number(_text(place, "memory.current")),
        peak=number(_text(place, "memory.peak")),  # Linux 5.19
        limit=number(_text(place, "memory.max")),
        failures=events.get("max"),
        cache=stat.get("file"),
        inactive_file=stat.get("inactive_file"),
        swap_usage=number(_text(place, "memory.swap.current")),
        swap_limit=number(_text(place, "memory.swap.max")),
        detail=tuple(stat.items()),
        pressure=parse_pressure(_text(place, "memory.pressure")),
    )


def _pids(place: str) -> PidsStats:
    return PidsStats(current=number(_text(place, "pids.current")), limit=number(_text(place, "pids.max")))


def _io_v1(place: str) -> tuple[IoEntry, ...]:
    for prefix in ("blkio.bfq.io_", "blkio.throttle.io_"):
        size = parse_blkio(_text(place, f"{prefix}service_bytes_recursive"))
        count = parse_blkio(_text(place, f"{prefix}serviced_recursive"))
        if size or count:
            break
    return tuple(
        IoEntry(
            major=device[0],
            minor=device[1],
            read_bytes=size.get(device, {}).get("Read", 0),
            write_bytes=size.get(device, {}).get("Write", 0),
            read_ios=count.get(device, {}).get("Read", 0),
            write_ios=count.get(device, {}).get("Write", 0),
        )
        for device in sorted({*size, *count})
    )


def _io_v2(place: str) -> tuple[IoEntry, ...]:
    return parse_io_stat(_text(place, "io.stat"))


def _hugepages(place: str) -> tuple[HugepageStats, ...]:
    import os

    found = []
    for name in sorted(os.listdir(place)) if os.path.isdir(place) else []:
        if name.startswith("hugetlb.") and name.endswith((".current", ".usage_in_bytes")) and ".rsvd." not in name:
            size = name.split(".")[1]
            events = parse_pairs(_text(place, f"hugetlb.{size}.events"))
            found.append(
                HugepageStats(
                    page_size=size,
                    usage=number(_text(place, name)),
                    peak=number(_text(place, f"hugetlb.{size}.max_usage_in_bytes")),
                    failures=events.get("max", number(_text(place, f"hugetlb.{size}.failcnt"))),
                )
            )
    return tuple(found)


# --- parsers: of whatever stands there, never an exception --------------------------------------------------------


def number(text: str) -> int | None:
    """A plain decimal number; None for `max`, nothing or anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


def parse_pairs(text: str) -> dict[str, int]:
    """Lines of `name number`; others are passed over."""
    found = {}
    for line in text.split("\n"):
        name, _, value = line.partition(" ")
        if name and (parsed := number(value)) is not None:
            found[name] = parsed
    return found


def parse_blkio(text: str) -> dict[tuple[int, int], dict[str, int]]:
    """v1: lines of `major:minor Operation number`."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for line in text.split("\n"):
        words = line.split(" ")
        if len(words) == 3 and (device := _device(words[0])) and (value := number(words[2])) is not None:
            found.setdefault(device, {})[words[1]] = value
    return found


def parse_io_stat(text: str) -> tuple[IoEntry, ...]:
    """v2: lines of `major:minor rbytes=… wbytes=… rios=… wios=…`, more keys in newer kernels."""
    found = []
    for line in text.split("\n"):
        words = line.split(" ")
        device = _device(words[0])
        if device is None:
            continue
        values = {}
        for word in words[1:]:
            key, _, value = word.partition("=")
            if (parsed := number(value)) is not None:
                values[key] = parsed
        found.append(
            IoEntry(
                major=device[0],
                minor=device[1],
                read_bytes=values.get("rbytes", 0),
                write_bytes=values.get("wbytes", 0),
                read_ios=values.get("rios", 0),
                write_ios=values.get("wios", 0),
            )
        )
    return tuple(found)


def parse_pressure(text: str) -> tuple[Pressure | None, Pressure | None] | None:
    """PSI's `some` and `full` lines; None if there is neither. Its microseconds become nanoseconds."""
    found: dict[str, Pressure] = {}
    for line in text.split("\n"):
        words = line.split(" ")
        values = dict(word.partition("=")[::2] for word in words[1:])
        shares = [_share(values.get(key, "")) for key in ("avg10", "avg60", "avg300")]
        total = number(values.get("total", ""))
        if total is not None and None not in shares:
            found[words[0]] = Pressure(
                avg10=shares[0] or 0.0, avg60=shares[1] or 0.0, avg300=shares[2] or 0.0, total=total * 1000
            )
    return (found.get("some"), found.get("full")) if found else None


def _share(text: str) -> float | None:
    whole, dot, part = text.partition(".")
    if not dot or number(whole) is None or number(part) is None:
        return None
    return float(text)


def _device(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(":")
    first, second = number(major), number(minor)
    return None if first is None or second is None else (first, second)


def _limit_v1(text: str) -> int | None:
    limit = number(text)
    return None if limit is None or limit >= _V1_UNLIMITED else limit


def _text(place: str | None, file: str) -> str:
    if place is None:
        return ""
    try:
        return read(f"{place}/{file}")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EACCES, errno.EIO, errno.EINVAL):
            return ""
        raise
