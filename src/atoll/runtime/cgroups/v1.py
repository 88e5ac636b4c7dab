"""The runtime-spec's resources as writes to cgroup v1 files. Pure.

Holds: one function per controller. Does not hold: device rules (`devices.py`), v2 (`v2.py`), carrying out.
Sources: runtime-spec config-linux.md, "Control groups"; the kernel's admin-guide/cgroup-v1.
A value of 0 for memory, shares, quota and period means "not given", as in runc and the engines above it.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime.cgroups.settings import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import CPU, BlockIO, HugepageLimit, Memory, NetworkResources, Pids, Rdma, WeightDevice

_MEMORY = "linux.resources.memory."
_CPU = "linux.resources.cpu."
_BLOCK = "linux.resources.blockIO."
UNLIMITED = -1


def memory(asked: Memory, *, update: bool = False) -> list[Setting]:
    """Limits in bytes. `kernel` is passed over as the kernel itself ignores it since 5.16; `useHierarchy` always
    holds since 5.11. Raises InvalidArgument for limits that contradict one another."""
    check_memory(asked, update=update)
    out: list[Setting] = []
    limit, swap = asked.limit, asked.swap
    optional = False
    if limit == UNLIMITED and not swap:
        swap, optional = UNLIMITED, True  # the sum of memory and swap cannot stay below the memory
    if limit:
        out.append(
            Setting(controller="memory", file="memory.limit_in_bytes", text=str(limit), prop=_MEMORY + "limit")
        )
    if swap:
        optional = optional or swap == UNLIMITED
        out.append(
            Setting(
                controller="memory",
                file="memory.memsw.limit_in_bytes",
                text=str(swap),
                prop=_MEMORY + "swap",
                optional=optional,
            )
        )
    for value, file, name in (
        (asked.reservation or None, "memory.soft_limit_in_bytes", "reservation"),
        (asked.kernel_tcp or None, "memory.kmem.tcp.limit_in_bytes", "kernelTCP"),
        (asked.swappiness, "memory.swappiness", "swappiness"),
    ):
        if value is not None:
            out.append(Setting(controller="memory", file=file, text=str(value), prop=_MEMORY + name))
    if asked.disable_oom_killer or (update and asked.disable_oom_killer is not None):
        text = "1" if asked.disable_oom_killer else "0"
        out.append(
            Setting(controller="memory", file="memory.oom_control", text=text, prop=_MEMORY + "disableOOMKiller")
        )
    return out


def check_memory(asked: Memory, *, update: bool = False) -> None:
    """Refuse what no kernel can honour. Raises InvalidArgument."""
    for name, value in (("limit", asked.limit), ("swap", asked.swap), ("reservation", asked.reservation)):
        if value is not None and value < UNLIMITED:
            raise errors.InvalidArgument(f"{_MEMORY}{name} is {value}", hint="bytes, or -1 for no limit")
    limit, swap = asked.limit or 0, asked.swap or 0
    if swap > 0 and not update and limit <= 0:
        raise errors.InvalidArgument(
            f"{_MEMORY}swap is limited to {swap} but memory is not",
            hint="swap counts memory and swap together: set limit too",
        )
    if 0 < swap < limit:
        raise errors.InvalidArgument(
            f"{_MEMORY}swap ({swap}) is below limit ({limit})", hint="swap counts memory and swap together"
        )
    if asked.swappiness is not None and asked.swappiness > 100:
        raise errors.InvalidArgument(f"{_MEMORY}swappiness is {asked.swappiness}", hint="0 to 100")


def cpu(asked: CPU) -> list[Setting]:
    """Shares, bandwidth in microseconds, idle and realtime; `cpus` and `mems` are the cpuset's (`cpuset`)."""
    out = []
    for value, file, name in (
        # An idle group refuses shares, so idle comes first and shares only follow for a group that is not.
        (asked.idle, "cpu.idle", "idle"),
        (None if asked.idle == 1 else asked.shares or None, "cpu.shares", "shares"),
        (asked.period or None, "cpu.cfs_period_us", "period"),
        (asked.quota or None, "cpu.cfs_quota_us", "quota"),
        (asked.burst, "cpu.cfs_burst_us", "burst"),
        (asked.realtime_period or None, "cpu.rt_period_us", "realtimePeriod"),
        (asked.realtime_runtime or None, "cpu.rt_runtime_us", "realtimeRuntime"),
    ):
        if value is not None:
            out.append(Setting(controller="cpu", file=file, text=str(value), prop=_CPU + name))
    return out


def cpuset(asked: CPU) -> list[Setting]:
    """CPUs and memory nodes, as lists like `0-3,7`. The same on v1 and v2."""
    out = []
    for value, name in ((asked.cpus, "cpus"), (asked.mems, "mems")):
        if value:
            if any(c not in "0123456789,- " for c in value):
                raise errors.InvalidArgument(f"{_CPU}{name} is {value!r}", hint="a list like 0-3,7")
            out.append(Setting(controller="cpuset", file=f"cpuset.{name}", text=value, prop=_CPU + name))
    return out


def pids(asked: Pids) -> list[Setting]:
    """The number of tasks; 0 and below are no limit. The same on v1 and v2."""
    if asked.limit is None:
        return []
    text = str(asked.limit) if asked.limit > 0 else "max"
    return [Setting(controller="pids", file="pids.max", text=text, prop="linux.resources.pids.limit")]


def block_io(asked: BlockIO) -> list[Setting]:
    """Weights and throttles of the block layer."""
    out: list[Setting] = []

    def put(file: str, text: str, name: str, fallback: tuple[str, str] | None = None) -> None:
        out.append(Setting(controller="blkio", file=file, text=text, prop=_BLOCK + name, fallback=fallback))

    if asked.weight:
        put("blkio.weight", str(asked.weight), "weight", ("blkio.bfq.weight", str(asked.weight)))
    if asked.leaf_weight:
        put("blkio.leaf_weight", str(asked.leaf_weight), "leafWeight")
    for device in asked.weight_device:
        where = f"{device.major}:{device.minor}"
        check_weight_device(device)
        if device.weight:
            text = f"{where} {device.weight}"
            put("blkio.weight_device", text, "weightDevice", ("blkio.bfq.weight_device", text))
        if device.leaf_weight:
            put("blkio.leaf_weight_device", f"{where} {device.leaf_weight}", "weightDevice.leafWeight")
    for throttles, file, name in (
        (asked.throttle_read_bps_device, "read_bps_device", "throttleReadBpsDevice"),
        (asked.throttle_write_bps_device, "write_bps_device", "throttleWriteBpsDevice"),
        (asked.throttle_read_iops_device, "read_iops_device", "throttleReadIOPSDevice"),
        (asked.throttle_write_iops_device, "write_iops_device", "throttleWriteIOPSDevice"),
    ):
        for throttle in throttles:
            put(f"blkio.throttle.{file}", f"{throttle.major}:{throttle.minor} {throttle.rate}", name)
    return out


def check_weight_device(device: WeightDevice) -> None:
    """An entry says something. Raises InvalidArgument."""
    if device.weight is None and device.leaf_weight is None:
        raise errors.InvalidArgument(
            f"{_BLOCK}weightDevice {device.major}:{device.minor} has neither weight nor leafWeight"
        )


def hugetlb(limits: tuple[HugepageLimit, ...]) -> list[Setting]:
    """Huge pages by page size. Raises InvalidArgument for what is no page size."""
    return huge_pages(limits, "limit_in_bytes")


def huge_pages(limits: tuple[HugepageLimit, ...], file: str) -> list[Setting]:
    """Both files of each size: reservations, where this kernel counts them (Linux 5.7), and faults."""
    return [
        Setting(
            controller="hugetlb",
            file=f"hugetlb.{page_size(limit)}.{kind}{file}",
            text=str(limit.limit),
            prop="linux.resources.hugepageLimits",
            optional=bool(kind),
        )
        for limit in limits
        for kind in ("rsvd.", "")
    ]


def page_size(limit: HugepageLimit) -> str:
    """The page size as the kernel writes it in file names: `64KB`, `2MB`, `1GB`. Raises InvalidArgument."""
    size = limit.page_size
    digits, unit = size[:-2], size[-2:]
    if not (digits.isascii() and digits.isdecimal() and digits[0] != "0" and unit in ("KB", "MB", "GB")):
        raise errors.InvalidArgument(
            f"linux.resources.hugepageLimits has the page size {size!r}", hint="such as 64KB, 2MB or 1GB"
        )
    return size


def network(asked: NetworkResources) -> list[Setting]:
    """Class and priorities of network traffic; v1 only."""
    out = []
    if asked.class_id is not None:
        out.append(
            Setting(
                controller="net_cls",
                file="net_cls.classid",
                text=str(asked.class_id),
                prop="linux.resources.network.classID",
            )
        )
    for entry in asked.priorities:
        if not entry.name or any(c.isspace() for c in entry.name):
            raise errors.InvalidArgument(f"linux.resources.network.priorities names the interface {entry.name!r}")
        out.append(
            Setting(
                controller="net_prio",
                file="net_prio.ifpriomap",
                text=f"{entry.name} {entry.priority}",
                prop="linux.resources.network.priorities",
            )
        )
    return out


def rdma(entries: tuple[tuple[str, Rdma], ...]) -> list[Setting]:
    """RDMA handles and objects by device. The same on v1 and v2."""
    out = []
    for device, limit in entries:
        if not device or any(c.isspace() for c in device):
            raise errors.InvalidArgument(f"linux.resources.rdma names the device {device!r}")
        words = [device]
        if limit.hca_handles is not None:
            words.append(f"hca_handle={limit.hca_handles}")
        if limit.hca_objects is not None:
            words.append(f"hca_object={limit.hca_objects}")
        if len(words) == 1:
            raise errors.InvalidArgument(f"linux.resources.rdma.{device} has neither hcaHandles nor hcaObjects")
        out.append(
            Setting(controller="rdma", file="rdma.max", text=" ".join(words), prop=f"linux.resources.rdma.{device}")
        )
    return out
