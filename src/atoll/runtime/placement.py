"""Where and when the process runs: scheduler, I/O priority, CPUs, memory nodes, execution domain.

Holds: `check` (what can be known before), `apply` (in the init). Imported only for a process that asks for some of
it. Source: config.md "scheduler", "ioPriority", "execCPUAffinity"; config-linux.md "memoryPolicy", "personality".
"""

from __future__ import annotations

from atoll.base import errors
from atoll.linux import process, schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import IOPriority, Linux, MemoryPolicy, Personality, Process, Scheduler

MODES = schedule.MPOL_MODES
MODE_FLAGS = schedule.MPOL_FLAGS
_PERSONAS = {"LINUX": 0x0000, "LINUX32": 0x0008}
_MOST = 1 << 16  # CPUs or nodes; far above what kernels are built for


def check(proc: Process, linux: Linux | None) -> None:
    """Refuse what no kernel takes. Raises InvalidArgument naming the property."""
    if proc.scheduler is not None:
        _check_scheduler(proc.scheduler)
    if proc.io_priority is not None:
        _check_io(proc.io_priority)
    affinity = proc.exec_cpu_affinity
    if affinity is not None:
        for name, text in (("initial", affinity.initial), ("final", affinity.final)):
            if text is not None:
                parse_list(text, f"process.execCPUAffinity.{name}")
    if linux is not None and linux.memory_policy is not None:
        _check_policy(linux.memory_policy)
    if linux is not None and linux.personality is not None and linux.personality.flags:
        raise errors.InvalidArgument("linux.personality.flags: none is defined; leave the array empty")


def _check_scheduler(asked: Scheduler) -> None:
    if asked.policy not in schedule.SCHED_POLICIES:
        raise errors.InvalidArgument(
            f"process.scheduler.policy: {asked.policy!r}", hint="one of " + ", ".join(schedule.SCHED_POLICIES)
        )
    for flag in asked.flags:
        if flag not in schedule.SCHED_FLAGS:
            raise errors.InvalidArgument(
                f"process.scheduler.flags: {flag!r}", hint="of " + ", ".join(schedule.SCHED_FLAGS)
            )
    if asked.nice is not None and not -20 <= asked.nice <= 19:
        raise errors.InvalidArgument(f"process.scheduler.nice: {asked.nice} is not from -20 to 19")
    if asked.priority and asked.policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise errors.InvalidArgument("process.scheduler.priority: only for SCHED_FIFO and SCHED_RR")
    if (asked.runtime or asked.deadline or asked.period) and asked.policy != "SCHED_DEADLINE":
        raise errors.InvalidArgument("process.scheduler: runtime, deadline and period are for SCHED_DEADLINE alone")


def _check_io(asked: IOPriority) -> None:
    if asked.class_ not in schedule.IOPRIO_CLASSES:
        raise errors.InvalidArgument(
            f"process.ioPriority.class: {asked.class_!r}", hint="one of " + ", ".join(schedule.IOPRIO_CLASSES)
        )
    if not 0 <= asked.priority <= 7:
        raise errors.InvalidArgument(f"process.ioPriority.priority: {asked.priority} is not from 0 to 7")


def _check_policy(asked: MemoryPolicy) -> None:
    if asked.mode not in MODES:
        raise errors.InvalidArgument(f"linux.memoryPolicy.mode: {asked.mode!r}", hint="one of " + ", ".join(MODES))
    for flag in asked.flags:
        if flag not in MODE_FLAGS:
            raise errors.InvalidArgument(f"linux.memoryPolicy.flags: {flag!r}", hint="of " + ", ".join(MODE_FLAGS))
    if asked.nodes:
        parse_list(asked.nodes, "linux.memoryPolicy.nodes")


def parse_list(text: str, path: str) -> set[int]:
    """CPUs or nodes such as `0-3,7`. Raises InvalidArgument naming the JSON path."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise errors.InvalidArgument(f"{path}: {text!r} is no list such as 0-3,7")
        low, high = int(first), int(last or first)
        if low > high or high >= _MOST:
            raise errors.InvalidArgument(f"{path}: {part!r} is no range")
        found.update(range(low, high + 1))
    return found


def apply(proc: Process, linux: Linux | None) -> None:
    """Carry it out in the calling process, while it still has its rights. Raises AtollError."""
    try:
        if linux is not None and linux.personality is not None:
            _set_personality(linux.personality)
        if linux is not None and linux.memory_policy is not None:
            _set_policy(linux.memory_policy)
        if proc.io_priority is not None:
            schedule.ioprio_set(schedule.IOPRIO_CLASSES[proc.io_priority.class_], proc.io_priority.priority)
        if proc.scheduler is not None:
            _set_scheduler(proc.scheduler)
    except OSError as error:
        raise errors.from_os_error(error, "place the process (scheduler, ioPriority, memoryPolicy)") from error


def _set_personality(asked: Personality) -> None:
    process.personality(_PERSONAS[asked.domain])


def _set_policy(asked: MemoryPolicy) -> None:
    mode = MODES[asked.mode]
    for flag in asked.flags:
        mode |= MODE_FLAGS[flag]
    schedule.set_mempolicy(mode, parse_list(asked.nodes, "linux.memoryPolicy.nodes") if asked.nodes else set())


def _set_scheduler(asked: Scheduler) -> None:
    flags = 0
    for flag in asked.flags:
        flags |= schedule.SCHED_FLAGS[flag]
    schedule.sched_setattr(
        schedule.SCHED_POLICIES[asked.policy],
        flags=flags,
        nice=asked.nice or 0,
        priority=asked.priority or 0,
        runtime=asked.runtime or 0,
        deadline=asked.deadline or 0,
        period=asked.period or 0,
    )
