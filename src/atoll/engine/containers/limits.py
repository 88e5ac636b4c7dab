"""What a container may use, beyond `--memory`, `--cpus` and `--pids-limit`: the rarer limits.

Holds: `Limits` (kept in the record), the flags' texts, `check` (against each other and the host), `resources` and
`rlimits` (the runtime's document). Does not hold: writing them anywhere (`runtime/cgroups`). Loaded only for a
container that has one of them.
Sources: Docker's reference of `run` ("Runtime constraints on resources"), cgroups(7), getrlimit(2).
"""

from __future__ import annotations

import os
import stat

from atoll.base import errors, units
from atoll.base.value import Value
from atoll.spec import codec
from atoll.spec import runtime as oci
from atoll.spec.codec import flag, int64, list_of, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atoll.engine.containers.plan import Facts
    from atoll.engine.requests import RunRequest

RLIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_UNLIMITED = (1 << 64) - 1


class Ulimit(Value):
    """`--ulimit`: `name` as in `nofile`; -1 for no limit."""

    name: str
    soft: int
    hard: int
    WIRE = {"name": text, "soft": int64, "hard": int64}


class DeviceValue(Value):
    """A weight or a rate (bytes or operations a second) of one block device."""

    path: str
    major: int
    minor: int
    value: int
    WIRE = {"path": text, "major": int64, "minor": int64, "value": int64}


_devices = list_of(codec.record(DeviceValue))


class Limits(Value):
    """Bytes, microseconds, and numbers as the flags of the same names take them; None is "not given"."""

    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    oom_score_adj: int | None = None
    shm_size: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: tuple[DeviceValue, ...] = ()
    device_read_bps: tuple[DeviceValue, ...] = ()
    device_write_bps: tuple[DeviceValue, ...] = ()
    device_read_iops: tuple[DeviceValue, ...] = ()
    device_write_iops: tuple[DeviceValue, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    WIRE = {
        "cpu_shares": int64,
        "cpu_period": int64,
        "cpu_quota": int64,
        "cpu_rt_period": int64,
        "cpu_rt_runtime": int64,
        "cpuset_cpus": text,
        "cpuset_mems": text,
        "memory_swap": int64,
        "memory_reservation": int64,
        "memory_swappiness": int64,
        "oom_kill_disable": flag,
        "oom_score_adj": int64,
        "shm_size": int64,
        "blkio_weight": int64,
        "blkio_weight_device": _devices,
        "device_read_bps": _devices,
        "device_write_bps": _devices,
        "device_read_iops": _devices,
        "device_write_iops": _devices,
        "ulimits": list_of(codec.record(Ulimit)),
    }


# --- from the flags' texts ------------------------------------------------------------------------------------------


def parse_ulimit(entry: str) -> Ulimit:
    """`nofile=1024[:2048]`; -1 is no limit. Raises InvalidArgument in Docker's words."""
    name, equals, values = entry.partition("=")
    if not equals:
        raise errors.InvalidArgument(f"invalid ulimit argument: {entry}", hint="write e.g. nofile=1024:2048")
    if name not in RLIMITS:
        raise errors.InvalidArgument(f"invalid ulimit type: {name}", hint="known are " + ", ".join(sorted(RLIMITS)))
    soft_text, colon, hard_text = values.partition(":")
    if ":" in hard_text:
        raise errors.InvalidArgument(
            f"too many limit value arguments - {values}, can only have up to two, soft[:hard]"
        )
    soft = _rlimit_value(entry, soft_text)
    hard = _rlimit_value(entry, hard_text) if colon else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise errors.InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name=name, soft=soft, hard=hard)


def _rlimit_value(entry: str, word: str) -> int:
    if word in ("-1", "unlimited"):
        return -1
    if not word.isascii() or not word.isdecimal() or len(word) > 18:
        raise errors.InvalidArgument(f"invalid ulimit argument: {entry}: '{word}' is no number")
    return int(word)


def parse_device_value(entry: str, value_of: Callable[[str, str], int]) -> DeviceValue:
    """`/dev/sda:VALUE` for a block device of this host. Raises InvalidArgument, NotFound."""
    path, colon, value = entry.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise errors.InvalidArgument(f"bad format: {entry}", hint="write /dev/NAME:VALUE")
    number = value_of(value, entry)
    try:
        info = os.stat(path)
    except OSError as error:
        raise errors.from_os_error(error, "look at the block device") from error
    if not stat.S_ISBLK(info.st_mode):
        raise errors.InvalidArgument(f"{path} is not a block device")
    return DeviceValue(path=path, major=os.major(info.st_rdev), minor=os.minor(info.st_rdev), value=number)


def weight_of(word: str, entry: str) -> int:
    """A weight of block I/O: 0 (none) or 10 to 1000. Raises InvalidArgument."""
    if not word.isascii() or not word.isdecimal() or len(word) > 6 or not (word == "0" or 10 <= int(word) <= 1000):
        raise errors.InvalidArgument(f"invalid weight for device: {entry}", hint="a number from 10 to 1000")
    return int(word)


def bytes_of(word: str, entry: str) -> int:
    """A rate in bytes, e.g. `1mb`. Raises InvalidArgument."""
    try:
        return units.parse_size(word)
    except errors.InvalidArgument:
        raise errors.InvalidArgument(
            f"invalid rate for device: {entry}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def count_of(word: str, entry: str) -> int:
    """A rate in operations. Raises InvalidArgument."""
    if not word.isascii() or not word.isdecimal() or len(word) > 18:
        raise errors.InvalidArgument(
            f"invalid rate for device: {entry}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return int(word)


def parse_list(entry: str, flag_name: str, most: int) -> str:
    """A list of CPUs or memory nodes (`0-3,5`), none above `most`. Raises InvalidArgument."""
    for part in entry.split(","):
        low, dash, high = part.partition("-")
        numbers = [low, high] if dash else [low]
        if any(not n.isascii() or not n.isdecimal() or len(n) > 6 for n in numbers):
            raise errors.InvalidArgument(f"invalid value '{entry}' for --{flag_name}", hint="write e.g. 0-3,5")
        if dash and int(low) > int(high):
            raise errors.InvalidArgument(f"invalid value '{entry}' for --{flag_name}: {part} runs backwards")
        if int(numbers[-1]) > most:
            what = "CPUs" if flag_name == "cpuset-cpus" else "memory nodes"
            raise errors.InvalidArgument(
                f"Requested {what} are not available - requested {entry}, available: 0-{most}", hint="see lscpu"
            )
    return entry


def parse_memory_swap(entry: str) -> int:
    """Memory and swap together; -1 for no limit. Raises InvalidArgument."""
    return -1 if entry == "-1" else units.parse_size(entry, "memory-swap limit")


def devices_of(entries: Sequence[str], value_of: Callable[[str, str], int]) -> tuple[DeviceValue, ...]:
    """Several of `parse_device_value`."""
    return tuple([parse_device_value(entry, value_of) for entry in entries])


# --- judged ---------------------------------------------------------------------------------------------------------


def check(limits: Limits, request: RunRequest, facts: Facts, need: Callable[[str, str, Facts], None]) -> list[str]:
    """What contradicts itself or the host is refused; `need(flag, controller, facts)` refuses what is not delegated.
    Returns warnings: what the host takes with less than was asked. Raises InvalidArgument, Denied."""
    _check_cpu(limits, request, facts)
    _check_memory(limits, request)
    for name, controller in _CONTROLLERS:
        value = getattr(limits, name)
        if value not in (None, (), False, 0, ""):
            need("--" + name.replace("_", "-"), controller, facts)
    score = limits.oom_score_adj
    if score is not None:
        if not -1000 <= score <= 1000:
            raise errors.InvalidArgument(
                f"Invalid value {score}, range for oom score adj is [-1000, 1000]",
                hint="see proc_pid_oom_score_adj(5)",
            )
        if facts.uid != 0 and score < facts.oom_score_adj:
            raise errors.Denied(
                f"cannot set --oom-score-adj to {score}: an ordinary user may not go below the present "
                f"{facts.oom_score_adj}",
                hint="leave it out, give a higher value, or run as root",
            )
    return _clamped(limits, facts)


_CONTROLLERS = (
    ("cpu_shares", "cpu"),
    ("cpu_period", "cpu"),
    ("cpu_quota", "cpu"),
    ("cpu_rt_period", "cpu"),
    ("cpu_rt_runtime", "cpu"),
    ("cpuset_cpus", "cpuset"),
    ("cpuset_mems", "cpuset"),
    ("memory_swap", "memory"),
    ("memory_reservation", "memory"),
    ("memory_swappiness", "memory"),
    ("oom_kill_disable", "memory"),
    ("blkio_weight", "blkio"),
    ("blkio_weight_device", "blkio"),
    ("device_read_bps", "blkio"),
    ("device_write_bps", "blkio"),
    ("device_read_iops", "blkio"),
    ("device_write_iops", "blkio"),
)


def _check_cpu(limits: Limits, request: RunRequest, facts: Facts) -> None:
    if request.cpus and (limits.cpu_period or limits.cpu_quota):
        other = "CPU Period" if limits.cpu_period else "CPU Quota"
        raise errors.InvalidArgument(
            f"Conflicting options: Nano CPUs and {other} cannot both be set", hint="give --cpus alone"
        )
    if limits.cpu_shares is not None and limits.cpu_shares and not 2 <= limits.cpu_shares <= 262144:
        raise errors.InvalidArgument(f"invalid --cpu-shares {limits.cpu_shares}: from 2 to 262144")
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1_000_000:
        raise errors.InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if limits.cpu_quota and 0 < limits.cpu_quota < 1000:
        raise errors.InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if limits.cpu_rt_runtime and limits.cpu_rt_period and limits.cpu_rt_runtime > limits.cpu_rt_period:
        raise errors.InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")
    if limits.cpuset_cpus:
        parse_list(limits.cpuset_cpus, "cpuset-cpus", facts.highest_cpu)
    if limits.cpuset_mems:
        parse_list(limits.cpuset_mems, "cpuset-mems", facts.highest_node)
    if limits.blkio_weight and not 10 <= limits.blkio_weight <= 1000:
        raise errors.InvalidArgument("range of blkio weight is from 10 to 1000")


def _check_memory(limits: Limits, request: RunRequest) -> None:
    swap = limits.memory_swap
    if swap is not None and swap != 0 and not request.memory:
        raise errors.InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swap and swap > 0 and request.memory and swap < request.memory:
        raise errors.InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
            hint="it is memory and swap together",
        )
    reservation = limits.memory_reservation
    if reservation and reservation < 6 << 20:
        raise errors.InvalidArgument("Minimum memory reservation allowed is 6MB")
    if reservation and request.memory and reservation > request.memory:
        raise errors.InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if limits.memory_swappiness is not None and not -1 <= limits.memory_swappiness <= 100:
        raise errors.InvalidArgument(
            f"Invalid value: {limits.memory_swappiness}, valid memory swappiness range is 0-100"
        )


def _clamped(limits: Limits, facts: Facts) -> list[str]:
    """Raising a hard limit takes CAP_SYS_RESOURCE over the host: without it there is what there is, said so."""
    known = dict(facts.rlimits)
    warnings = []
    for one in limits.ulimits:
        most = known.get(one.name, -1)
        if not facts.may_raise_rlimits and most >= 0 and (one.hard < 0 or one.hard > most):
            asked = "unlimited" if one.hard < 0 else one.hard
            warnings.append(
                f"--ulimit {one.name}={asked}: only {most} is allowed here (raising it takes CAP_SYS_RESOURCE); "
                f"the container gets {most}"
            )
    return warnings


# --- the runtime's document -----------------------------------------------------------------------------------------


def rlimits(limits: Limits, facts: Facts) -> tuple[oci.Rlimit, ...]:
    """`process.rlimits`, none above what may be given."""
    known = dict(facts.rlimits)
    found: dict[str, oci.Rlimit] = {}
    for one in limits.ulimits:
        hard = _UNLIMITED if one.hard < 0 else one.hard
        soft = _UNLIMITED if one.soft < 0 else one.soft
        most = known.get(one.name, -1)
        if not facts.may_raise_rlimits and 0 <= most < hard:
            hard, soft = most, min(soft, most)
        found[one.name] = oci.Rlimit(type=f"RLIMIT_{one.name.upper()}", soft=soft, hard=hard)
    return tuple(found.values())


def resources(limits: Limits, base: oci.Resources, *, unified: bool) -> oci.Resources:
    """`base`, which has the usual limits, with these added. On cgroup v2 (`unified`) what only v1 knows, a
    swappiness and a switch for the OOM killer, is left out."""
    memory = base.memory or oci.Memory()
    if limits.memory_swap:
        memory = memory.replace(swap=limits.memory_swap)
    memory = memory.replace(reservation=limits.memory_reservation or None)
    if not unified:
        swappiness = limits.memory_swappiness
        memory = memory.replace(
            swappiness=swappiness if swappiness is not None and swappiness >= 0 else None,
            disable_oom_killer=True if limits.oom_kill_disable else None,
        )
    cpu = base.cpu or oci.CPU()
    cpu = cpu.replace(
        shares=limits.cpu_shares or None,
        period=limits.cpu_period or cpu.period,
        quota=limits.cpu_quota or cpu.quota,
        realtime_period=limits.cpu_rt_period or None,
        realtime_runtime=limits.cpu_rt_runtime or None,
        cpus=limits.cpuset_cpus or None,
        mems=limits.cpuset_mems or None,
    )
    block = oci.BlockIO(
        weight=limits.blkio_weight or None,
        weight_device=tuple(
            [oci.WeightDevice(major=d.major, minor=d.minor, weight=d.value) for d in limits.blkio_weight_device]
        ),
        throttle_read_bps_device=_throttles(limits.device_read_bps),
        throttle_write_bps_device=_throttles(limits.device_write_bps),
        throttle_read_iops_device=_throttles(limits.device_read_iops),
        throttle_write_iops_device=_throttles(limits.device_write_iops),
    )
    return base.replace(
        memory=None if memory == oci.Memory() else memory,
        cpu=None if cpu == oci.CPU() else cpu,
        block_io=None if block == oci.BlockIO() else block,
    )


def _throttles(devices: tuple[DeviceValue, ...]) -> tuple[oci.ThrottleDevice, ...]:
    return tuple([oci.ThrottleDevice(major=d.major, minor=d.minor, rate=d.value) for d in devices])
