"""`linux.intelRdt`: a class of service of the processor's caches and memory bandwidth, by the resctrl file system.

Holds: `check`, `apply`, `join`, `update`, `remove`. Imported only for a container that asks for it.
Source: config-linux.md "IntelRdt", the kernel's arch/x86/resctrl. A class is a directory, what it may use its
`schemata`, who is in it its `tasks`; a directory of `mon_groups` counts for a part of its tasks.
"""

from __future__ import annotations

import os

from atoll.base import errors, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.base.rollback import Rollback
    from atoll.spec.runtime import IntelRdt

_OWN = frozenset(("", ".", "..", "info", "mon_data", "mon_groups"))


def mounted() -> str | None:
    """Where resctrl is mounted (proc_pid_mountinfo(5)), None if it is not."""
    for line in files.read_text("/proc/self/mountinfo").split("\n"):
        left, _, right = line.partition(" - ")
        if right.startswith("resctrl "):
            return left.split(" ")[4]
    return None


def check(asked: IntelRdt, top: str | None) -> None:
    """Refuse what cannot be. Raises Unsupported without resctrl or its monitoring, InvalidArgument."""
    if top is None:
        raise errors.Unsupported(
            "linux.intelRdt: no resctrl file system is mounted",
            hint="mount it (mount -t resctrl resctrl /sys/fs/resctrl) if the processor has Intel RDT or its like",
        )
    if asked.clos_id is not None and (asked.clos_id in _OWN or "/" in asked.clos_id or "\n" in asked.clos_id):
        raise errors.InvalidArgument(f"linux.intelRdt.closID: {asked.clos_id!r} cannot name a class of service")
    bandwidth = asked.mem_bw_schema or "MB:"
    if not bandwidth.startswith("MB:") or "\n" in bandwidth:
        raise errors.InvalidArgument("linux.intelRdt.memBwSchema: one line that begins with MB: is needed")
    for index, line in enumerate(asked.schemata):
        if "\n" in line or ":" not in line:
            raise errors.InvalidArgument(
                f"linux.intelRdt.schemata[{index}]: {line!r} is no line such as L3:0=7f0;1=1f"
            )
    if (asked.enable_cmt or asked.enable_mbm or asked.enable_monitoring) and not os.path.isdir(f"{top}/info/L3_MON"):
        raise errors.Unsupported("linux.intelRdt: this processor or kernel has no monitoring")


def lines_of(asked: IntelRdt) -> tuple[str, ...]:
    """What is to be written to `schemata`, in its order: memBwSchema replaces a bandwidth line of l3CacheSchema, and
    `schemata` comes last."""
    cache = [line for line in (asked.l3_cache_schema or "").split("\n") if line.strip()]
    if asked.mem_bw_schema:
        cache = [line for line in cache if not line.lstrip().startswith("MB:")] + [asked.mem_bw_schema]
    return (*cache, *asked.schemata)


def apply(asked: IntelRdt, container_id: str, pid: int, undo: Rollback) -> dict[str, Any]:
    """Put a process into its class, made if need be. Returns the record: `tasks` are the directories that its
    processes are in, `made` those to be removed at the end. Raises AtollError; what was made goes by `undo`."""
    top = mounted()
    check(asked, top)
    place = f"{top}/{asked.clos_id or container_id}"
    lines = lines_of(asked)
    made: list[str] = []
    tasks = [place]
    try:
        there = os.path.isdir(place)
        if there and lines and asked.clos_id is not None:
            _compare(place, lines)
        elif not there:
            if asked.clos_id is not None and not lines:
                raise errors.NotFound(f"linux.intelRdt.closID: there is no class of service {asked.clos_id}")
            _make(place, made, undo)
            _write_schemata(place, lines)
        elif lines:
            _write_schemata(place, lines)
        if asked.enable_monitoring or ((asked.enable_cmt or asked.enable_mbm) and asked.clos_id is not None):
            tasks.append(f"{place}/mon_groups/{container_id}")
            _make(tasks[-1], made, undo)
        join(tasks, pid)
    except OSError as error:
        raise errors.from_os_error(error, "apply linux.intelRdt") from error
    return {"tasks": tasks, "made": made}


def join(tasks: list[str], pid: int) -> None:
    """Move a process into its class and monitoring group. Raises OSError."""
    for place in tasks:
        _write(f"{place}/tasks", str(pid))


def update(record: Any, lines: list[str]) -> None:
    """Other `schemata` for a container that exists. Raises AtollError."""
    try:
        _write_schemata(record["tasks"][0], tuple(lines))
    except OSError as error:
        raise errors.from_os_error(error, "change linux.intelRdt") from error


def remove(record: Any) -> None:
    """Remove what `apply` made; what is gone is fine. Raises OSError."""
    for place in reversed(record["made"]):
        try:
            os.rmdir(place)
        except FileNotFoundError:
            continue


def _make(place: str, made: list[str], undo: Rollback) -> None:
    os.mkdir(place, 0o755)
    undo.push(os.rmdir, place)
    made.append(place)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def _write_schemata(place: str, lines: tuple[str, ...]) -> None:
    for line in lines:  # one at a time: the kernel says of each what it thinks
        try:
            _write(f"{place}/schemata", line)
        except OSError as error:
            raise OSError(error.errno, f"{line!r}: {_last_word(place) or error.strerror}", place) from None


def _last_word(place: str) -> str:
    """info/last_cmd_status: why the kernel refused the last write."""
    try:
        return files.read_text(f"{os.path.dirname(place)}/info/last_cmd_status").strip()
    except OSError:
        return ""


def _compare(place: str, lines: tuple[str, ...]) -> None:
    present = _parsed(files.read_text(f"{place}/schemata").split("\n"))
    for resource, wanted in _parsed(list(lines)).items():
        have = present.get(resource, {})
        for domain, value in wanted.items():
            if have.get(domain) != value:
                raise errors.Conflict(
                    f"linux.intelRdt: class {os.path.basename(place)} has {resource}:{domain}={have.get(domain)}, "
                    f"not {value}",
                    hint="leave the schemata out to take the class as it is, or name another closID",
                )


def _parsed(lines: list[str]) -> dict[str, dict[str, str]]:
    """`L3:0=7f0;1=1f` → {"L3": {"0": "7f0", "1": "1f"}}; leading zeros say nothing."""
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        resource, colon, rest = line.strip().partition(":")
        if colon:
            pairs = [pair.partition("=") for pair in rest.split(";") if "=" in pair]
            found.setdefault(resource.strip(), {}).update(
                {domain.strip(): value.strip().lower().lstrip("0") or "0" for domain, _, value in pairs}
            )
    return found
