"""One container's cgroup, whatever the host has: the room's front door.

Holds: `Cgroup`. Does not hold: the single steps (`v1.py`, `v2.py`, `devices.py`, `settings.py`, `tree.py`).
The container joins every v1 hierarchy and the unified one: a limit of a parent cgroup holds in each, statistics
count only what is inside, and the unified tree kills and freezes as one.
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.runtime.cgroups import devices, making, settings, tree, v1, v2
from atoll.runtime.cgroups.paths import clean, directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.cgroups.detect import Hierarchy, Mount
    from atoll.runtime.cgroups.settings import Setting
    from atoll.runtime.cgroups.stats import CgroupStats
    from atoll.runtime.cgroups.systemd import Scope
    from atoll.spec.runtime import Resources

    V1Dirs = tuple[tuple[tuple[str, ...], str], ...]


class Cgroup:
    """Directories in the v1 hierarchies (`v1`: controllers and directory) and in the unified tree (`unified`).

    Without any (rootless, nothing delegated, no limits asked) it is `empty`: joining and removing do nothing.
    """

    __slots__ = ("enabled", "path", "rootless", "scope", "unified", "v1")

    def __init__(
        self,
        *,
        path: str,
        v1: V1Dirs = (),
        unified: str | None = None,
        enabled: tuple[str, ...] = (),
        rootless: bool = False,
        scope: Scope | None = None,
    ) -> None:
        self.path = path
        self.v1 = v1
        self.unified = unified
        self.enabled = enabled  # the controllers that the unified directory has
        self.rootless = rootless
        self.scope = scope  # systemd's unit, if it makes and ends the cgroup

    # --- making ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str,
        resources: Resources,
        hierarchy: Hierarchy,
        *,
        rootless: bool = False,
        scope: Scope | None = None,
        holder: int = 0,
    ) -> Cgroup:
        """Make the cgroup with its limits; no process is in it yet. On failure all that was made is removed.

        `path` absolute counts from the top of each hierarchy, relative from this process's own cgroup. Rootless,
        hierarchies that may not be written are left out. An existing cgroup without processes is taken over, or one
        with the process `holder` alone: that of `scope`, which systemd has made.
        Raises InvalidArgument, Unsupported, Denied, Conflict, Exhausted naming the property or the path.
        """
        path = clean(path)
        v1_places, unified_place = directories(path, hierarchy)
        with Rollback() as undo:
            # 1 The directories; a limit of a parent holds from here on.
            made = []
            for mount, place in v1_places:
                if making.make(place, mount, undo, skip_refused=rootless, holder=holder):
                    made.append((mount.controllers, place))
            unified = None
            if (
                unified_place is not None
                and hierarchy.unified is not None
                and making.make(unified_place, hierarchy.unified, undo, skip_refused=rootless, holder=holder)
            ):
                unified = unified_place
            self = cls(path=path, v1=tuple(made), unified=unified, rootless=rootless, scope=scope)
            # 2 v1 cpusets start empty and take no process so.
            for mount, place in v1_places:
                if "cpuset" in mount.controllers and self.directory("cpuset") == place:
                    making.fill_cpuset(place, mount.path)
            # 3 v2 controllers, before their files exist.
            if unified is not None and hierarchy.unified is not None:
                self._enable(hierarchy.unified, resources)
            # 4 Devices before anything runs; first among the limits because it is the one of security.
            self._limit_devices(resources)
            # 5 The limits.
            self._apply(self._settings(resources, update=False), hierarchy)
            undo.release()
        return self

    @classmethod
    def planned(cls, path: str, hierarchy: Hierarchy, scope: Scope | None = None) -> Cgroup:
        """What `create` would make at most, nothing of it made: to be noted before. Raises InvalidArgument."""
        path = clean(path)
        v1_places, unified = directories(path, hierarchy)
        v1 = tuple([(mount.controllers, place) for mount, place in v1_places])
        return cls(path=path, v1=v1, unified=unified, scope=scope)

    def present(self) -> Cgroup:
        """What is there now of one that was `planned`."""
        v1 = tuple([one for one in self.v1 if os.path.isdir(one[1])])
        unified = self.unified if self.unified and os.path.isdir(self.unified) else None
        return Cgroup(path=self.path, v1=v1, unified=unified, scope=self.scope)

    def update(self, resources: Resources, hierarchy: Hierarchy | None = None) -> None:
        """Change the limits that are given; others stay. Raises as `create`, FailedPrecondition for a memory limit
        below what is in use (v1 always, v2 with `checkBeforeUpdate`)."""
        self._check_usage(resources)
        todo = self._settings(resources, update=True)
        if self.scope is not None:  # first, or systemd would undo what is written below
            from atoll.runtime.cgroups import systemd

            systemd.change(self.scope, resources, unified=not self.v1)
        if resources.devices:
            self._limit_devices(resources)
        self._apply(todo, hierarchy)

    def _settings(self, resources: Resources, *, update: bool) -> list[Setting]:
        """What is to be written where: each controller by the version of the hierarchy it lives in."""
        out: list[Setting] = []
        if resources.memory is not None:
            if self._on_v2("memory"):
                present = self._present_memory_limit() if update else None
                out += v2.memory(resources.memory, update=update, present_limit=present)
            else:
                out += v1.memory(resources.memory, update=update)
        if resources.cpu is not None:
            if self._on_v2("cpu"):
                out += v2.cpu(resources.cpu, present_max=self._read("cpu", "cpu.max") if update else "")
            else:
                out += v1.cpu(resources.cpu)
            out += v1.cpuset(resources.cpu)
        if resources.pids is not None:
            out += v1.pids(resources.pids)
        if resources.block_io is not None:
            out += v2.block_io(resources.block_io) if self._on_v2("blkio") else v1.block_io(resources.block_io)
        if resources.hugepage_limits:
            limits = resources.hugepage_limits
            out += v2.hugetlb(limits) if self._on_v2("hugetlb") else v1.hugetlb(limits)
        if resources.network is not None:
            out += v1.network(resources.network) if self.v1 or self.unified is None else v2.network(resources.network)
        if resources.rdma:
            out += v1.rdma(resources.rdma)
        if resources.unified:
            asked = v2.unified(resources.unified)
            for setting in asked:
                if self.unified is None or (self.v1 and self._v1_directory(setting.controller) is not None):
                    raise errors.Unsupported(
                        f"{setting.prop} needs cgroup v2, but this host has {setting.controller} in v1",
                        hint="use the property of its own, such as linux.resources.memory",
                    )
            out += asked
        return out

    def _apply(self, todo: list[Setting], hierarchy: Hierarchy | None) -> None:
        def place(controller: str) -> str | None:
            found = self.directory(controller)
            if found is None and hierarchy is not None and hierarchy.unified is not None and self.unified is not None:
                holder = tree.blocked_by_processes(hierarchy.unified.path, self.unified, controller)
                if holder is not None:
                    raise errors.FailedPrecondition(
                        f"the {controller} controller cannot be handed down from {holder}: processes live in it",
                        hint="name a parent cgroup without processes of its own, or move them into one below it",
                    )
            return found

        settings.apply(todo, place, rootless=self.rootless)

    def _enable(self, top: Mount, resources: Resources) -> None:
        """Hand v2 controllers down: all that can be limited on a pure v2 host (statistics want them), beside v1 only
        what is asked for."""
        assert self.unified is not None
        wanted = frozenset(top.controllers) & tree.KNOWN
        if self.v1 and wanted:
            asked = {name.partition(".")[0] for name, _ in resources.unified}
            if resources.hugepage_limits:
                asked.add("hugetlb")
            wanted &= asked
        have = tree.enable(top.path, self.unified, wanted) if wanted else frozenset[str]()
        self.enabled = tuple(sorted(have))

    def _limit_devices(self, resources: Resources) -> None:
        # Changing them takes CAP_SYS_ADMIN even in a delegated subtree; an ordinary user's container cannot use more
        # devices than its user may anyway.
        if self.rootless:
            return
        place = self._v1_directory("devices")
        if place is not None:
            making.limit_devices_v1(place, devices.rules_for(resources.devices))
        elif self.unified is not None and not self.v1:
            making.limit_devices_v2(self.unified, devices.rules_for(resources.devices))

    # --- where things are -----------------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """No cgroup at all."""
        return not self.v1 and self.unified is None

    def directory(self, controller: str) -> str | None:
        """The directory that has a controller (v2's `io` and v1's `blkio` are one), None if none has."""
        found = self._v1_directory(controller)
        if found is None and self.unified is not None:
            name = "io" if controller == "blkio" else controller
            if name in self.enabled or controller == "cgroup":
                return self.unified
        return found

    def _v1_directory(self, controller: str) -> str | None:
        name = "blkio" if controller == "io" else controller
        for controllers, place in self.v1:
            if name in controllers:
                return place
        return None

    def _on_v2(self, controller: str) -> bool:
        if self._v1_directory(controller) is not None:
            return False
        return self.unified is not None and (not self.v1 or self.directory(controller) is not None)

    def open_dir(self) -> int | None:
        """A descriptor of the unified directory for CLONE_INTO_CGROUP, or None. The caller closes it."""
        if self.unified is None:
            return None
        return os.open(self.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    # --- processes ------------------------------------------------------------------------------------------------

    def add(self, pid: int, *, unified: bool = True, below: str = "", beside: int = 0) -> None:
        """Move a process in, with all its threads. `unified` False if CLONE_INTO_CGROUP has put it there already.

        `below` names a cgroup inside the container's (exec --cgroup). `beside` is the container's init: where the
        container has made cgroups of its own and holds processes only in those, the newcomer joins the init's.
        Raises NotFound if the process or cgroup is gone, Denied, FailedPrecondition, InvalidArgument.
        """
        inner = "/" + clean(below).strip("/") if below.strip("/") else ""
        line = str(pid)
        for _, place in self.v1:
            self._join(f"{place}{inner}", line, 0)
        if self.unified is not None and unified:
            self._join(f"{self.unified}{inner}", line, beside)

    def _join(self, place: str, line: str, beside: int) -> None:
        try:
            settings.write(f"{place}/cgroup.procs", line)
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.EOPNOTSUPP) and beside:
                self._join(self._cgroup_of(beside), line, 0)
                return
            raise making.explain_join(error, place, line) from error

    def _cgroup_of(self, pid: int) -> str:
        """Where in the unified tree a process of this container is. Raises FailedPrecondition if outside."""
        from atoll.runtime.cgroups import detect

        assert self.unified is not None
        for mount in [detect.detect().unified]:
            place = detect.own_directory(pid, mount) if mount is not None else None
            if place is not None and (place + "/").startswith(self.unified + "/"):
                return place
        raise errors.FailedPrecondition(f"process {pid} is not in cgroup {self.unified}, nothing to join beside it")

    def pids(self) -> list[int]:
        """The container's processes, those of nested cgroups included, ascending. Raises OSError."""
        place = self._any_directory()
        return [] if place is None else tree.pids(place)

    def _any_directory(self) -> str | None:
        if self.unified is not None:
            return self.unified
        for name in ("freezer", "pids", "memory", "devices"):
            if (found := self._v1_directory(name)) is not None:
                return found
        return self.v1[0][1] if self.v1 else None

    def kill(self, *, timeout: float = 10.0) -> bool:
        """SIGKILL to every process of the tree, forks under way included. False if there is no cgroup to kill by.

        With cgroup.kill it returns at once, the processes are then dying; without, when none is left.
        Raises Timeout, OSError.
        """
        if self.unified is not None and tree.kill_at_once(self.unified):
            return True
        place = self._any_directory()
        if place is None:
            return False
        freezer, unified = self._freezer()
        tree.kill_one_by_one(place, freezer, unified=unified, timeout=timeout)
        return True

    def _freezer(self) -> tuple[str | None, bool]:
        """What to freeze by: (directory, whether it is the unified one)."""
        if self.unified is not None and os.path.exists(f"{self.unified}/cgroup.freeze"):
            return self.unified, True
        return self._v1_directory("freezer"), False

    def freezer_directory(self) -> str | None:
        """Where the whole container can be frozen, for CRIU; None for nowhere."""
        return self._freezer()[0]

    def freeze(self, *, timeout: float = 10.0) -> None:
        """Stop all processes; returns when they stand still. Raises Unsupported, Denied, Timeout, OSError."""
        place, unified = self._freezer()
        if place is None:
            if self.rootless:
                raise settings.missing("freezer", "pause", rootless=True)
            raise errors.Unsupported("pause needs the freezer of cgroup v1 or cgroup v2, which this container lacks")
        tree.freeze(place, unified=unified, timeout=timeout)

    def thaw(self) -> None:
        """Let all processes run again. Raises OSError."""
        place, unified = self._freezer()
        if place is not None:
            tree.thaw(place, unified=unified)

    def frozen(self) -> bool:
        """Whether all processes stand still. Raises OSError."""
        place, unified = self._freezer()
        return place is not None and tree.frozen(place, unified=unified)

    # --- numbers --------------------------------------------------------------------------------------------------

    def stats(self) -> CgroupStats:
        """What the container uses, at this moment. What the host does not count is None. Raises OSError."""
        from atoll.runtime.cgroups import stats

        return stats.read_stats(self)

    def oom_kills(self) -> int:
        """How many processes the kernel killed for want of memory since the cgroup was made; 0 if it is gone or
        has no memory controller. Raises OSError."""
        place = self.directory("memory")
        if place is None:
            return 0
        if self._on_v2("memory"):
            return _counter(f"{place}/memory.events", "oom_kill")  # counts those of nested cgroups too
        kills = _counter(f"{place}/memory.oom_control", "oom_kill")
        below = tree.walk(place)[1:]
        return kills + sum(_counter(f"{nested}/memory.oom_control", "oom_kill") for nested in below)

    def open_oom_events(self) -> tuple[int, int] | None:
        """A descriptor and the poll(2) mask that fires when the kernel runs out of memory for the container, or None.

        v1: an eventfd registered at cgroup.event_control (readable; read 8 bytes). v2: memory.events itself
        (POLLPRI; read it again). The caller closes it. Raises OSError.
        """
        import select

        place = self.directory("memory")
        if place is None:
            return None
        if self._on_v2("memory"):
            return os.open(f"{place}/memory.events", os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI
        control = os.open(f"{place}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with Rollback() as undo:
                event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                undo.push(os.close, event)
                settings.write(f"{place}/cgroup.event_control", f"{event} {control}")
                undo.release()
        finally:
            os.close(control)
        return event, select.POLLIN

    def give(self, uid: int, gid: int) -> None:
        """Hand the unified cgroup to the container's own root (config-linux.md, "Cgroup ownership"): the directory
        and the files the kernel lists for delegation. Raises OSError."""
        if self.unified is None:
            return
        try:
            names = settings.read("/sys/kernel/cgroup/delegate").split()
        except FileNotFoundError:
            names = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"]
        for name in ["", *names]:
            try:
                os.chown(f"{self.unified}/{name}", uid, gid, follow_symlinks=False)
            except FileNotFoundError:
                continue

    # --- the end --------------------------------------------------------------------------------------------------

    def delete(self, *, timeout: float = 5.0) -> None:
        """Remove the directories, nested ones included; kills nothing. All are tried, the first error is raised:
        FailedPrecondition if processes still live there, OSError."""
        first: Exception | None = None
        if self.scope is not None:
            from atoll.runtime.cgroups import systemd

            try:
                systemd.stop(self.scope)
            except errors.AtollError as error:
                first = error
        for place in [*[place for _, place in self.v1], *([self.unified] if self.unified is not None else [])]:
            try:
                tree.remove(place, timeout=timeout if first is None else 0.0)
            except (OSError, errors.AtollError) as error:
                first = first or error
        if first is not None:
            raise first

    # --- the record -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """What the runtime's state keeps."""
        return {
            "path": self.path,
            "v1": [[list(controllers), place] for controllers, place in self.v1],
            "unified": self.unified,
            "enabled": list(self.enabled),
            "rootless": self.rootless,
            "scope": None if self.scope is None else self.scope.to_json(),
        }

    @classmethod
    def from_json(cls, wire: object) -> Cgroup:
        """The cgroup of a record. Raises Corrupt for one of another shape."""
        try:
            assert isinstance(wire, dict)
            pairs = tuple((tuple(str(c) for c in controllers), str(place)) for controllers, place in wire["v1"])
            unified = None if wire["unified"] is None else str(wire["unified"])
            places = [place for _, place in pairs] + ([unified] if unified is not None else [])
            if not all(place.startswith("/") and ".." not in place.split("/") for place in places):
                raise ValueError("a directory that is not absolute")
            return cls(
                path=str(wire["path"]),
                v1=pairs,
                unified=unified,
                enabled=tuple(str(name) for name in wire["enabled"]),
                rootless=bool(wire["rootless"]),
                scope=_scope(wire.get("scope")),
            )
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise errors.Corrupt(f"damaged record of a cgroup: {type(error).__name__} {error}") from None

    # --- present values -------------------------------------------------------------------------------------------

    def _read(self, controller: str, file: str) -> str:
        place = self.directory(controller)
        try:
            return "" if place is None else settings.read(f"{place}/{file}")
        except FileNotFoundError:
            return ""

    def _present_memory_limit(self) -> int:
        text = self._read("memory", "memory.max")
        return int(text) if text.isdecimal() else v1.UNLIMITED

    def _check_usage(self, resources: Resources) -> None:
        memory = resources.memory
        if memory is None or not memory.check_before_update or (memory.limit or 0) <= 0:
            return
        file = "memory.current" if self._on_v2("memory") else "memory.usage_in_bytes"
        used = self._read("memory", file)
        if used.isdecimal() and memory.limit is not None and int(used) > memory.limit:
            raise errors.FailedPrecondition(
                f"linux.resources.memory.limit {memory.limit} is below the {used} bytes in use",
                hint="free memory in the container, raise the limit, or update without checkBeforeUpdate",
            )


def _scope(wire: Any) -> Scope | None:
    if wire is None:
        return None
    from atoll.runtime.cgroups.systemd import Scope

    return Scope(**wire)


def _counter(path: str, name: str) -> int:
    try:
        for line in settings.read(path).split("\n"):
            key, _, value = line.partition(" ")
            if key == name and value.isdecimal():
                return int(value)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
    return 0
