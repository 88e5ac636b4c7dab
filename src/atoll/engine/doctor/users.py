"""Doctor's look at user namespaces, subordinate ids and the limits of this process."""

from __future__ import annotations

import os
import resource

from atoll.engine.doctor.findings import BAD, GOOD, NOTE, POOR, Finding
from atoll.engine.doctor.trials import as_ordinary, attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.doctor.findings import Host
    from atoll.spec.idmap import RootlessMap

NOBODY = 65534
_SWITCHES = (
    ("user.max_user_namespaces", 0, "sysctl -w user.max_user_namespaces=15000"),
    ("kernel.unprivileged_userns_clone", 0, "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel.apparmor_restrict_unprivileged_userns", 1, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
)
_FILES_WANTED = 4096


def namespaces(host: Host) -> list[Finding]:
    """Whether an ordinary user may have containers here, tried as one."""
    said = attempt(_enter)
    fix = ""
    for name, value, command in _SWITCHES:
        if host.sysctl(name) == value:
            fix, said = command, said and f"{name} is {value}"
    if said is None:
        return [Finding(area="users", title="user namespaces", outcome=GOOD, said="an ordinary user may make them")]
    outcome = BAD if host.uid else POOR
    said = f"an ordinary user may not make them: {said}"
    return [Finding(area="users", title="user namespaces", outcome=outcome, said=said, fix=fix)]


def _enter() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    as_ordinary()


def ranges(host: Host, idmap: RootlessMap | None, name: str) -> list[Finding]:
    """The ids that this user's containers get; root's need none."""
    helpers = host.program("newuidmap") is not None and host.program("newgidmap") is not None
    if idmap is None:
        return [
            Finding(
                area="users",
                title="subordinate ids",
                outcome=GOOD if helpers else NOTE,
                said="newuidmap is installed for ordinary users" if helpers else "ordinary users get one id each",
                fix="" if helpers else host.install("uidmap"),
            )
        ]
    if not idmap.single:
        said = attempt(lambda: _map(idmap))
        count = sum(one.count for one in idmap.uid_map)
        if said is None:
            return [
                Finding(
                    area="users", title="subordinate ids", outcome=GOOD, said=f"{count} user ids, mapped in a trial"
                )
            ]
        return [
            Finding(
                area="users",
                title="subordinate ids",
                outcome=BAD,
                said=f"granted, but newuidmap fails: {said}",
                fix="as root: chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap",
            )
        ]
    grant = f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
    return [
        Finding(
            area="users",
            title="subordinate ids",
            outcome=POOR,
            said="containers have one user id: files of others are recorded, not owned",
            fix=grant if helpers else f"as root: {host.install('uidmap')}, then {grant.partition(': ')[2]}",
        )
    ]


def _map(idmap: RootlessMap) -> None:
    from atoll.linux import userns

    userns.enter(**idmap.ways())


def limits(host: Host) -> list[Finding]:
    """What bounds how many containers there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = hard != resource.RLIM_INFINITY and hard < _FILES_WANTED
    found = [
        Finding(
            area="limits",
            title="open files",
            outcome=POOR if few else GOOD,
            said=f"{soft}, at most {hard}",
            fix=f"raise 'nofile' in /etc/security/limits.conf to {_FILES_WANTED} or more" if few else "",
        )
    ]
    pid_max = host.sysctl("kernel.pid_max")
    if pid_max is not None:
        few = pid_max < 65536
        found.append(
            Finding(
                area="limits",
                title="processes",
                outcome=NOTE if few else GOOD,
                said=f"{pid_max} on this host",
                fix="sysctl -w kernel.pid_max=4194304" if few else "",
            )
        )
    return found
