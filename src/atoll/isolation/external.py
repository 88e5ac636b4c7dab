"""Levels made of another OCI runtime: runc, crun, runsc (`gvisor`), or any by name or path.

Holds: `KNOWN`, `find`, `command_of`, `ExternalDriver`, `ls` (what this host has). Does not hold: how such a runtime
is driven (`monitor/foreign.py`), which platform gVisor runs on (`gvisor.py`). A monitor keeps the container company
as with our own runtime, and its record has the same shape: so all that is asked of a container that exists is
`ContainerDriver`'s.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.isolation.container import ContainerDriver
from atoll.isolation.gvisor import with_platform
from atoll.isolation.protocol import Attachment, Availability, ContainerPlan

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KNOWN: dict[str, tuple[str, ...]] = {
    "runc": ("runc",),
    "crun": ("crun",),
    "youki": ("youki",),
    "kata": ("kata-runtime",),
    # The platform is replaced by the best that works here (`gvisor.py`).
    "gvisor": ("runsc", "--platform", "ptrace", "--network", "sandbox", "--ignore-cgroups=false"),
}
"""Level or runtime by name: program and global flags."""
ROOT_ONLY = "other OCI runtimes are for root; an ordinary user has 'container'"
ALIASES = {"runsc": "gvisor"}
_NEVER_FREEZES = frozenset(("gvisor",))
"""Those whose processes trace one another: a freezer that stops the tracer first never ends."""


class Level(Value):
    """One level of isolation on this host."""

    name: str
    program: str
    ok: bool
    reason: str | None = None


def find(name: str, search: str | None = None) -> tuple[str, ...]:
    """The command line of a runtime by name or path. Raises Unsupported, for a path NotFound: a level that is not
    there is never replaced by another."""
    words = KNOWN.get(ALIASES.get(name, name), (name,))
    program = words[0]
    if "/" in program:
        if not os.path.isfile(program) or not os.access(program, os.X_OK):
            raise errors.NotFound(f"the OCI runtime {program} is not there, or is no program")
        return (os.path.abspath(program), *words[1:])
    for folder in (search or SEARCH).split(":"):
        path = f"{folder}/{program}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return (path, *words[1:])
    raise errors.Unsupported(
        f"isolation level {name!r} is not on this host: there is no program '{program}'",
        hint=f"install {program}, or name another: 'atoll isolation ls' lists what there is",
    )


def command_of(name: str, data_root: str) -> tuple[str, ...]:
    """The command line of a runtime for containers of the store at `data_root`: gVisor's with the platform that is
    the best here. Raises as `find`."""
    return with_platform(find(name), data_root)


class ExternalDriver(ContainerDriver):
    """As `ContainerDriver`; `runtime` is a name or a path."""

    def __init__(
        self, run_root: str, data_root: str, *, runtime: str, spawner: str | None = None, door: str | None = None
    ) -> None:
        super().__init__(run_root, data_root, spawner=spawner, door=door)
        self.name = runtime

    def probe(self) -> Availability:
        """Whether the program is there, and this user may use it."""
        if os.geteuid() != 0:
            return Availability(ok=False, reason=ROOT_ONLY)
        try:
            find(self.name)
        except errors.AtollError as error:
            return Availability(ok=False, reason=str(error))
        return super().probe()

    def create(self, plan: ContainerPlan, *, promise: bool = False, start: bool = False) -> Attachment:
        """Through a monitor, which calls the runtime. Raises NotFound, Unsupported for a level that is not there."""
        available = self.probe()
        if not available.ok:
            raise errors.Unsupported(f"isolation level {self.name!r}: {available.reason}")
        runtime = command_of(self.name, self._data_root)
        from atoll.monitor import runsc

        if runsc.is_it(runtime[0]):
            plan = plan.replace(spec=runsc.without_filter(plan.spec, runtime))
        return super().create(plan.replace(runtime=runtime), promise=promise, start=start)


def check_pause(program: str) -> None:
    """Raises Unsupported for a runtime whose containers cannot stand still."""
    name = os.path.basename(program)
    if ALIASES.get(name, name) in _NEVER_FREEZES:
        raise errors.Unsupported(f"a container of {name} cannot be paused")


def settle(name: str) -> str:
    """The level to record for one that is asked for. Raises NotFound, Unsupported; never another level."""
    if name in (ContainerDriver.name, "vm"):
        return name
    if os.geteuid() != 0:
        raise errors.Unsupported(f"isolation level {name!r}: {ROOT_ONLY}", hint="--isolation container")
    find(name)
    return name


def _machines() -> str:
    """The drivers of machines that are here, or the usual one."""
    from atoll.vm.drivers import probed

    return ", ".join([name for name, one in probed().items() if one.ok]) or "qemu"


def ls(data_root: str = "") -> list[Level]:
    """Our own levels and every known one, with why it cannot be had; kernels of machines are below `data_root`."""
    from atoll.isolation.vm import VmDriver

    own, machine = ContainerDriver("", "").probe(), VmDriver("", data_root).probe()
    found = [Level(name="container", program="atoll-runtime", ok=own.ok, reason=own.reason)]
    found.append(Level(name="vm", program=_machines(), ok=machine.ok, reason=machine.reason))
    for name, words in KNOWN.items():
        probed = ExternalDriver("", "", runtime=name).probe()
        try:
            program = find(name)[0]
        except errors.AtollError:
            program = words[0]
        found.append(Level(name=name, program=program, ok=probed.ok, reason=probed.reason))
    return found
