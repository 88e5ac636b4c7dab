"""Which rungs and engines there are, in order.

Holds: `RUNGS`, `ladder`, `find_runtimes`.
"""

from __future__ import annotations

from atoll.compare.rungs.bundles import LADDER, SECCOMP, Bundled
from atoll.compare.rungs.engines import Containerd, Docker, Podman
from atoll.compare.rungs.levels import Level
from atoll.compare.rungs.plain import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.place import Place
    from atoll.compare.rungs.way import Way

LEVELS = ("container", "gvisor", "vm")
RUNGS = ("process", *LADDER, *LEVELS)
RUNTIMES = ("docker", "podman", "ctr", "crun", "runc")


def ladder(place: Place) -> list[Way]:
    """Every rung of the ladder, from no wall to a kernel of its own."""
    return [Plain(place), *[Bundled(place, brick) for brick in LADDER], *[Level(place, name) for name in LEVELS]]


def find_runtimes(place: Place) -> list[Way]:
    """Every other engine that this knows how to run, installed or not."""
    from atoll.engine.doctor.findings import Host

    host = Host(place.uid)
    raw = [Bundled(place, SECCOMP, runtime=name, program=host.program(name) or "") for name in ("crun", "runc")]
    return [Docker(place), Podman(place), Containerd(place), *raw]
