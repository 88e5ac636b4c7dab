"""The runtime-spec's resources as writes to cgroup v2 files. Pure, but for the present values given to it.

Holds: one function per controller, the conversions of v1's scales, the check of `unified`. Does not hold: device
rules (`devicebpf.py`), handing controllers down (`tree.py`).
Sources: runtime-spec config-linux.md, "Control groups" and "Unified"; the kernel's admin-guide/cgroup-v2.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime.cgroups import v1
from atoll.runtime.cgroups.settings import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import CPU, BlockIO, HugepageLimit, Memory, NetworkResources

_MEMORY = "linux.resources.memory."
_CPU = "linux.resources.cpu."
_BLOCK = "linux.resources.blockIO."

SHARES_MIN, SHARES_MAX = 2, 262144
DEFAULT_PERIOD = 100_000
# Of the tree's own files only these are limits; the others move, kill or freeze processes.
_OWN_LIMITS = frozenset(("cgroup.max.descendants", "cgroup.max.depth"))
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def weight_from_shares(shares: int) -> int:
    """cpu.weight (1..10000, default 100) for v1's cpu.shares (2..262144, default 1024).

    The parabola in log space through minimum, default and maximum of both scales:
    log10(weight) = (l*l + 125*l) / 612 - 7/34 with l = log2(shares), rounded up. runc changed to it in 1.3.2
    (opencontainers/runc#4772), crun too (containers/crun#1767); the straight line before gave default
    shares the weight 39, less than half of what a sibling with the default weight gets.
    """
    if shares <= SHARES_MIN:
        return 1
    if shares >= SHARES_MAX:
        return 10_000
    from math import ceil, log2

    power = log2(shares)
    return min(10_000, ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34) - 1e-9))


def weight_from_block_io(weight: int) -> int:
    """io.weight (1..10000) for blkio's weight (10..1000): a line through both ends."""
    return 1 + (max(10, min(1000, weight)) - 10) * 9999 // 990


def amount(value: int) -> str:
    """A limit as v2 writes it: -1 is `max`."""
    return "max" if value == v1.UNLIMITED else str(value)


def memory(asked: Memory, *, update: bool = False, present_limit: int | None = None) -> list[Setting]:
    """Limits in bytes. v1's swap counts memory and swap together, v2's swap alone: their difference is written.

    `present_limit` is the memory limit in force (-1 for none), for an update of swap alone. Raises
    InvalidArgument for contradictions, Unsupported for what v2 does not have.
    """
    v1.check_memory(asked, update=update)
    for value, name in ((asked.swappiness, "swappiness"), (asked.disable_oom_killer or None, "disableOOMKiller")):
        if value is not None:
            raise errors.Unsupported(f"{_MEMORY}{name} does not exist in cgroup v2", hint="leave it out on this host")
    out = []
    swap = _swap(asked, present_limit)
    if swap is not None:
        # Without swap accounting there is mostly no swap: no limit, or none of it, is then true anyway.
        optional = swap in ("max", "0")
        out.append(
            Setting(controller="memory", file="memory.swap.max", text=swap, prop=_MEMORY + "swap", optional=optional)
        )
    if asked.limit:
        out.append(Setting(controller="memory", file="memory.max", text=amount(asked.limit), prop=_MEMORY + "limit"))
    if asked.reservation:
        text = amount(asked.reservation)
        out.append(Setting(controller="memory", file="memory.low", text=text, prop=_MEMORY + "reservation"))
    return out


def _swap(asked: Memory, present_limit: int | None) -> str | None:
    if not asked.swap:
        return "max" if asked.limit == v1.UNLIMITED else None
    if asked.swap == v1.UNLIMITED:
        return "max"
    limit = asked.limit or present_limit or 0
    if limit <= 0 or asked.swap < limit:
        raise errors.InvalidArgument(
            f"{_MEMORY}swap is {asked.swap}, the memory limit {limit if limit > 0 else 'none'}",
            hint="swap counts memory and swap together: it is at least the limit",
        )
    return str(asked.swap - limit)


def cpu(asked: CPU, *, present_max: str = "") -> list[Setting]:
    """Weight, bandwidth in microseconds, burst and idle. `present_max` is cpu.max as it stands, whose half that is
    not asked for stays. Raises Unsupported for realtime, which v2 does not have."""
    if asked.realtime_runtime or asked.realtime_period:
        name = "realtimeRuntime" if asked.realtime_runtime else "realtimePeriod"
        raise errors.Unsupported(f"{_CPU}{name} does not exist in cgroup v2", hint="leave it out on this host")
    out: list[Setting] = []

    def put(file: str, text: str, name: str) -> None:
        out.append(Setting(controller="cpu", file=file, text=text, prop=_CPU + name))

    if asked.idle is not None:
        put("cpu.idle", str(asked.idle), "idle")  # an idle group refuses a weight
    if asked.shares and asked.idle != 1:
        put("cpu.weight", str(weight_from_shares(asked.shares)), "shares")
    if asked.quota or asked.period:
        words = present_max.split()
        before, period = (words[0], words[1]) if len(words) == 2 else ("max", str(DEFAULT_PERIOD))
        quota = before if not asked.quota else "max" if asked.quota < 0 else str(asked.quota)
        put("cpu.max", f"{quota} {asked.period or period}", "quota" if asked.quota else "period")
    if asked.burst is not None:
        put("cpu.max.burst", str(asked.burst), "burst")
    return out


def block_io(asked: BlockIO) -> list[Setting]:
    """Weights (BFQ's own file where it exists: its scale is v1's) and throttles in io.max."""
    out: list[Setting] = []

    def put(file: str, text: str, name: str, fallback: tuple[str, str] | None = None) -> None:
        out.append(Setting(controller="io", file=file, text=text, prop=_BLOCK + name, fallback=fallback))

    if asked.leaf_weight or any(device.leaf_weight for device in asked.weight_device):
        raise errors.Unsupported(f"{_BLOCK}leafWeight does not exist in cgroup v2", hint="use weight")
    if asked.weight:
        put(
            "io.bfq.weight",
            str(asked.weight),
            "weight",
            ("io.weight", f"default {weight_from_block_io(asked.weight)}"),
        )
    for device in asked.weight_device:
        v1.check_weight_device(device)
        if device.weight:
            where = f"{device.major}:{device.minor}"
            converted = ("io.weight", f"{where} {weight_from_block_io(device.weight)}")
            put("io.bfq.weight", f"{where} {device.weight}", "weightDevice", converted)
    for throttles, key, name in (
        (asked.throttle_read_bps_device, "rbps", "throttleReadBpsDevice"),
        (asked.throttle_write_bps_device, "wbps", "throttleWriteBpsDevice"),
        (asked.throttle_read_iops_device, "riops", "throttleReadIOPSDevice"),
        (asked.throttle_write_iops_device, "wiops", "throttleWriteIOPSDevice"),
    ):
        for throttle in throttles:
            # v1 lifts a limit with 0, which v2 refuses.
            put("io.max", f"{throttle.major}:{throttle.minor} {key}={throttle.rate or 'max'}", name)
    return out


def hugetlb(limits: tuple[HugepageLimit, ...]) -> list[Setting]:
    """Huge pages by page size. Raises InvalidArgument for what is no page size."""
    return v1.huge_pages(limits, "max")


def network(asked: NetworkResources) -> list[Setting]:
    """Nothing: v2 has no such controllers. Raises Unsupported if any was asked for."""
    if asked.class_id is not None or asked.priorities:
        name = "classID" if asked.class_id is not None else "priorities"
        raise errors.Unsupported(
            f"linux.resources.network.{name} does not exist in cgroup v2",
            hint="mark the traffic with nftables instead",
        )
    return []


def unified(entries: tuple[tuple[str, str], ...]) -> list[Setting]:
    """`linux.resources.unified`: a value per file, line by line, the last to be written. Raises InvalidArgument for a
    name that is not a limit of a controller (annotations and the like must not become `cgroup.procs`)."""
    out = []
    for name, value in entries:
        controller, dot, rest = name.partition(".")
        if not (controller and dot and rest) or ".." in name or not all(c in _NAME for c in name):
            raise errors.InvalidArgument(
                f"linux.resources.unified names {name!r}", hint="a file of cgroup v2 such as memory.high"
            )
        if controller == "cgroup" and name not in _OWN_LIMITS:
            raise errors.InvalidArgument(
                f"linux.resources.unified names {name!r}, which is no limit",
                hint="of the cgroup.* files only cgroup.max.descendants and cgroup.max.depth are taken",
            )
        for line in value.split("\n"):
            if line.strip():
                prop = f"linux.resources.unified[{name}]"
                out.append(Setting(controller=controller, file=name, text=line, prop=prop))
    return out
