"""audit limits: what the kernel enforces on each running container, ancestors included, and who is under it.

Holds: `audit`, `Finding`. Does not hold: setting limits at creation (`runtime/cgroups`). What is found is noted in
the journal; with `repair` a file that was rewritten is written again and a process that was moved out is moved back.
What an ancestor does not allow is told: it is not ours to change.
Sources: cgroup-v2.rst (memory.max, pids.max, cpu.max), cgroup-v1 (memory.limit_in_bytes, cpu.cfs_quota_us).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers.plan import resources
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.events import note
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRecord
    from atoll.engine.store import ContainerRow
    from atoll.runtime.cgroups.detect import Hierarchy

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PERIOD = 100_000
_NONE = float("inf")


class Finding(Value):
    """Something that is not as it was asked for. `limit` is memory, pids, cpu or processes."""

    container: str
    name: str
    limit: str
    what: str
    repaired: bool = False


def audit(engine: Engine, *, repair: bool = False) -> list[Finding]:
    """All findings on this user's running containers; with `repair` what can be put right is. Raises what reading
    the store does."""
    hierarchy = detect()
    found = _of_pods(engine, hierarchy, repair=repair)
    for row in engine.store.containers():
        if not is_up(state_of(engine, row.id)):
            continue
        try:
            found += _of_container(engine, row, hierarchy, repair=repair)
        except (errors.NotFound, errors.FailedPrecondition, FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    for one in found:
        action = "audit-repair" if one.repaired else "audit"
        note.note(engine, "container", action, one.container, name=one.name, limit=one.limit, finding=one.what)
    return found


def _of_pods(engine: Engine, hierarchy: Hierarchy, *, repair: bool) -> list[Finding]:
    """The limits of pods as a whole; those of a pod that does not run are nobody's."""
    from atoll.engine.pods import cgroup as cgroups
    from atoll.engine.pods import rows

    found = []
    for row in rows.every(engine.store):
        cgroup = cgroups.known(engine, row.id) if row.record.limited else None
        if cgroup is None or not any(is_up(state_of(engine, one.id)) for one in engine.store.in_pod(row.id)):
            continue
        wrong = []
        for limit, asked in _asked(row.record):
            directory, _ = _places(cgroup, hierarchy, limit)
            real = _value(directory, limit) if directory is not None else _NONE
            if real != asked:
                what = f"asked for {_shown(limit, asked)} for all of the pod, the kernel has {_shown(limit, real)}"
                wrong.append(Finding(container=row.id, name=row.name, limit=limit, what=what, repaired=repair))
        if wrong and repair:
            cgroup.update(cgroups.resources(row.record, hierarchy).replace(devices=()))
        found += wrong
    return found


def _of_container(engine: Engine, row: ContainerRow, hierarchy: Hierarchy, *, repair: bool) -> list[Finding]:
    record, run = Record.from_text(row.record), engine.paths.container_run(row.id)
    known = state.read(run)
    if known.cgroup is None:
        return []
    cgroup = Cgroup.from_json(known.cgroup)
    found: list[Finding] = []

    def add(limit: str, what: str) -> None:
        found.append(Finding(container=row.id, name=row.name, limit=limit, what=what))

    changed = False
    for limit, asked in _asked(record):
        directory, top = _places(cgroup, hierarchy, limit)
        if directory is None:
            add(limit, f"asked for {_shown(limit, asked)}, but it is in no {limit} cgroup")
            continue
        real = _value(directory, limit)
        if real != asked:
            changed = True
            add(limit, f"asked for {_shown(limit, asked)}, the kernel has {_shown(limit, real)}")
        above, place = _ancestors(directory, top, limit)
        # A pod's limit was asked for with the pod, and is looked at there.
        of_pod = row.pod is not None and place.endswith(f"/pod-{row.pod}")
        if above < asked and not of_pod:
            add(limit, f"asked for {_shown(limit, asked)}, but {place} allows {_shown(limit, above)} at most")
    if repair and changed:
        engine.driver.update(run, resources(record, devices=False, unified=not hierarchy.v1))
        found = [one.replace(repaired=True) if ", the kernel has " in one.what else one for one in found]
    for pid in _outside(cgroup, known.pid, record):
        moved = False
        if repair:
            try:
                cgroup.add(pid)
                moved = True
            except (OSError, errors.AtollError):  # it has ended, or is not ours to move
                pass
        what = f"process {pid} was moved out of the container's cgroup"
        found.append(Finding(container=row.id, name=row.name, limit="processes", what=what, repaired=moved))
    return found


def _asked(record: Record | PodRecord) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    if record.memory:
        found.append(("memory", record.memory // _PAGE * _PAGE))
    if record.pids_limit and getattr(record, "pids_by", "cgroup") == "cgroup":
        found.append(("pids", record.pids_limit))
    if record.cpus:
        found.append(("cpu", record.cpus * _PERIOD // 10**9 / _PERIOD))
    return found


def _places(cgroup: Cgroup, hierarchy: Hierarchy, limit: str) -> tuple[str | None, str]:
    mount = hierarchy.find(limit)
    return cgroup.directory(limit), mount.path if mount is not None else "/"


def _ancestors(directory: str, top: str, limit: str) -> tuple[float, str]:
    """The lowest limit above a cgroup, and whose it is."""
    lowest, whose = _NONE, ""
    place = os.path.dirname(directory)
    while place.startswith(top) and place != top:
        here = _value(place, limit)
        if here < lowest:
            lowest, whose = here, place
        place = os.path.dirname(place)
    return lowest, whose


def _value(directory: str, limit: str) -> float:
    """What a cgroup's own files say: bytes, processes, CPUs; infinity for no limit."""
    if limit == "pids":
        return _number(_read(f"{directory}/pids.max"))
    if limit == "memory":
        text = _read(f"{directory}/memory.max") or _read(f"{directory}/memory.limit_in_bytes")
        value = _number(text)
        return _NONE if value >= 1 << 62 else value
    text = _read(f"{directory}/cpu.max")
    if text:
        quota, _, period = text.partition(" ")
    else:
        quota, period = _read(f"{directory}/cpu.cfs_quota_us"), _read(f"{directory}/cpu.cfs_period_us")
    if quota in ("", "max", "-1") or not period:
        return _NONE
    return int(quota) / int(period)


def _number(text: str) -> float:
    return _NONE if text in ("", "max", "-1") else int(text)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _outside(cgroup: Cgroup, init: int, record: Record) -> list[int]:
    """The processes of the container's pid namespace that none of its cgroups counts."""
    if record.sharing is not None and record.sharing.pid not in ("", "private"):
        return []
    ours = os.stat(f"/proc/{init}/ns/pid").st_ino
    inside: set[int] | None = None
    for controller in ("pids", "memory", "cpu"):
        directory = cgroup.directory(controller)
        if directory is not None:
            members = _members(directory)
            inside = members if inside is None else inside & members
    if inside is None:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in inside and _namespace(int(name)) == ours:
            found.append(int(name))
    return sorted(found)


def _members(directory: str) -> set[int]:
    found: set[int] = set()
    for place, _, _ in os.walk(directory):
        found |= {int(word) for word in _read(f"{place}/cgroup.procs").split()}
    return found


def _namespace(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] == b"Z":  # a zombie is in no cgroup any more
                return None
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _shown(limit: str, value: float) -> str:
    if value == _NONE:
        return "no limit"
    if limit == "memory":
        from atoll.base import units

        return units.show_binary(int(value))
    return f"{value:g} {'CPUs' if limit == 'cpu' else 'processes'}"
