"""doctor: one page on what works on this host for this user, each line with the command that mends it."""

from __future__ import annotations

import os
import pwd

from atoll.engine.doctor import kernel, levels, networks, storage, users
from atoll.engine.doctor.findings import BAD, Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.doctor.findings import Finding
    from atoll.engine.engine import Engine


def examine(engine: Engine) -> list[Finding]:
    """All findings, by area, what containers need first. What can be tried is tried, in children that are thrown
    away. Raises OSError only where the data root cannot be written."""
    host = Host(engine.uid)
    try:
        name = pwd.getpwuid(engine.uid).pw_name
    except KeyError:
        name = str(engine.uid)
    return [
        *levels.levels(host, engine.paths.data, engine.config.vm_kernel),
        *kernel.kernel(host, os.uname().release),
        *kernel.cgroups(host),
        *kernel.modules(host),
        *users.namespaces(host),
        *users.ranges(host, engine.idmap, name),
        *users.limits(host),
        *storage.storage(host, engine.paths.data),
        *networks.networks(host),
        *levels.programs(host),
    ]


def works(findings: list[Finding]) -> bool:
    """Whether containers work here at all."""
    return not any(one.outcome == BAD for one in findings)
