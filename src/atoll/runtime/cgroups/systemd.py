"""The systemd driver: a container's cgroup as a transient scope that systemd makes, for `--systemd-cgroup`.

Holds: `Scope` (what `slice:prefix:name` stands for), `start`, `change`, `stop`. Does not hold: what a scope is told
of limits (`units.py`), the wire (`dbus.py`), the limits that are written to the cgroup itself, as without systemd
(`cgroup.py`): systemd is told the same, so that it does not undo them.
Source: org.freedesktop.systemd1(5), systemd.scope(5), systemd's "Control Group APIs and Delegation".
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.runtime.cgroups import dbus, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from atoll.spec.runtime import Resources

    T = TypeVar("T")

_SERVICE, _PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_ERRORS = "org.freedesktop.systemd1."
_ATTEMPTS = 3


class Scope(Value):
    """A unit of systemd's (`user`: of this user's own): its name, its slice, and its cgroup from the top."""

    unit: str
    slice: str
    path: str
    user: bool = False

    @property
    def holds_process(self) -> bool:
        """Whether systemd puts the process in: into a scope, not into a slice."""
        return not self.unit.endswith(".slice")

    def to_json(self) -> dict[str, Any]:
        """What the cgroup's record keeps."""
        return {"unit": self.unit, "slice": self.slice, "path": self.path, "user": self.user}


def scope_of(cgroups_path: str | None, container_id: str, *, user: bool) -> Scope:
    """The scope for `linux.cgroupsPath`. Raises InvalidArgument for another form, Unavailable without a bus."""
    slice_, unit = units.names(cgroups_path, container_id, user=user)
    top = _with_bus(user, _top) if user else ""
    below = "" if unit.endswith(".slice") else f"/{unit}"
    return Scope(unit=unit, slice=slice_, path=f"{top}{units.expand(slice_)}{below}", user=user)


def _top(bus: dbus.Bus) -> str:
    """The cgroup of this user's own systemd."""
    found = bus.call(_SERVICE, _PATH, "org.freedesktop.DBus.Properties", "Get", "ss", _MANAGER, "ControlGroup")
    return str(found[0][1]).rstrip("/")


def start(
    scope: Scope,
    pid: int,
    container_id: str,
    resources: Resources,
    annotations: tuple[tuple[str, str], ...],
    *,
    unified: bool,
) -> None:
    """Have systemd make the scope with process `pid` in it; returns when it is there. Raises Unavailable, Denied,
    Conflict for a unit in use, FailedPrecondition."""
    asked = [*units.base(scope.unit, scope.slice, pid, container_id, unified=unified)]
    asked += units.limits(resources, unified=unified) + units.from_annotations(annotations)

    def call(bus: dbus.Bus) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                _job(bus, scope.unit, "StartTransientUnit", "ssa(sv)a(sa(sv))", scope.unit, "replace", asked, [])
                return
            except dbus.Refused as error:
                # The failed unit of an earlier container of that name: forgotten, it makes room.
                if error.name != f"{_ERRORS}UnitExists" or attempt == _ATTEMPTS - 1:
                    raise
                _reset(bus, scope.unit)

    _with_bus(scope.user, call)


def change(scope: Scope, resources: Resources, *, unified: bool) -> None:
    """Tell systemd the limits that are given, until the unit ends. Raises as `start`."""
    asked = units.limits(resources, unified=unified, update=True)
    if asked:
        _with_bus(
            scope.user,
            lambda bus: bus.call(_SERVICE, _PATH, _MANAGER, "SetUnitProperties", "sba(sv)", scope.unit, True, asked),
        )


def stop(scope: Scope) -> None:
    """Stop and forget the unit; one that is gone is fine, as is a systemd that is. Raises as `start`."""

    def call(bus: dbus.Bus) -> None:
        try:
            _job(bus, scope.unit, "StopUnit", "ss", scope.unit, "replace")
        except dbus.Refused as error:
            if error.name != f"{_ERRORS}NoSuchUnit":
                raise
        _reset(bus, scope.unit)

    _with_bus(scope.user, call)


def _reset(bus: dbus.Bus, unit: str) -> None:
    try:
        bus.call(_SERVICE, _PATH, _MANAGER, "ResetFailedUnit", "s", unit)
    except dbus.Refused as error:
        if error.name != f"{_ERRORS}NoSuchUnit":
            raise


def _job(bus: dbus.Bus, unit: str, member: str, signature: str, *values: Any) -> None:
    """Have a job done, and wait for its end: JobRemoved tells how it went."""
    rule = f"type='signal',sender='{_SERVICE}',path='{_PATH}',interface='{_MANAGER}',member='JobRemoved'"
    bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", rule)
    bus.call(_SERVICE, _PATH, _MANAGER, "Subscribe")
    (job,) = bus.call(_SERVICE, _PATH, _MANAGER, member, signature, *values)
    while True:
        removed = bus.signal("JobRemoved")
        if removed[1] == job:
            if removed[3] not in ("done", "skipped"):
                raise errors.FailedPrecondition(f"systemd's job for {unit} ended with {removed[3]!r}")
            return


def _with_bus(user: bool, work: Callable[[dbus.Bus], T]) -> T:
    """Do `work` over a connection of its own, and turn what goes wrong into words."""
    address = dbus.user_address() if user else dbus.system_address()
    try:
        bus = dbus.Bus(address)
    except (OSError, ValueError, dbus.Refused) as error:
        raise errors.Unavailable(
            f"systemd not running on this host, cannot use systemd cgroups manager: {error} ({address})",
            hint="leave --systemd-cgroup out, or run a systemd and its bus",
        ) from error
    try:
        return work(bus)
    except dbus.Refused as error:
        kind: type[errors.AtollError] = errors.FailedPrecondition
        if error.name in (f"{_ERRORS}UnitExists",):
            kind = errors.Conflict
        elif error.name.endswith((".AccessDenied", ".InteractiveAuthorizationRequired")):
            kind = errors.Denied
        raise kind(f"systemd refused: {error}") from error
    except (OSError, ValueError) as error:
        raise errors.Unavailable(f"systemd did not answer: {error} ({address})") from error
    finally:
        bus.close()
