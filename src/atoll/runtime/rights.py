"""Who the process becomes and what is left to it: limits, labels, groups, user, capabilities, its security filter.

Holds: each step. Does not hold: their order, which is the whole point (`init.py`).
"""

from __future__ import annotations

import errno
import os
import resource

from atoll.base import errors
from atoll.linux import capability, process, seccomp
from atoll.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from atoll.runtime.identity import Identity
    from atoll.runtime.plan import InitPlan
    from atoll.spec.runtime import Capabilities, Process


def become_root() -> None:
    """Id 0 of the user namespace, if it has one. Raises OSError."""
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the map has no 0; the capabilities are there all the same
            raise


def set_oom_score(proc: Process) -> None:
    """`process.oomScoreAdj`. Raises Denied."""
    if proc.oom_score_adj is None:
        return
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(proc.oom_score_adj))
    except PermissionError:
        raise errors.Denied(
            f"cannot set process.oomScoreAdj to {proc.oom_score_adj}: lowering it needs CAP_SYS_RESOURCE",
            hint="leave it out or raise the value",
        ) from None


def join_keyring(name: str) -> None:
    """A session keyring of its own. Raises OSError."""
    try:
        process.join_session_keyring(name)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EDQUOT, errno.EPERM):  # as runc: a kernel without keys is fine
            raise


_LOCKS = 10  # of Linux 2.4 and without effect since, but getrlimit(2) has it; Python's module does not


def set_rlimit(name: str, soft: int, hard: int) -> None:
    """One of `process.rlimits`. Raises InvalidArgument, Denied."""
    number = _LOCKS if name == "RLIMIT_LOCKS" else getattr(resource, name, None)
    if not isinstance(number, int) or not name.startswith("RLIMIT_"):
        raise errors.InvalidArgument(f"process.rlimits: no limit named {name}")
    infinity = (1 << 64) - 1
    values = (-1 if soft >= infinity else soft, -1 if hard >= infinity else hard)
    try:
        resource.setrlimit(number, values)
    except (ValueError, PermissionError) as error:
        now = resource.getrlimit(number)[1]
        raise errors.Denied(
            f"cannot set {name} to {soft}:{hard}: {error}",
            hint=f"the most allowed here is {'unlimited' if now == -1 else now}; more needs CAP_SYS_RESOURCE",
        ) from None


def set_label(proc: Process, proc_fd: int) -> None:
    """For execve, while procfs still lets us (CVE-2019-19921: never through the container's own /proc)."""
    from atoll.linux import lsm

    try:
        if proc.apparmor_profile:
            lsm.set_exec_label(proc_fd, proc.apparmor_profile, apparmor=True)
        if proc.selinux_label:
            lsm.set_exec_label(proc_fd, proc.selinux_label, apparmor=False)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"the AppArmor profile {proc.apparmor_profile} is not loaded",
            hint="load it: apparmor_parser --replace FILE",
        ) from error
    except OSError as error:
        raise errors.from_os_error(error, "set the security label of the process") from error


def set_groups(plan: InitPlan, identity: Identity) -> None:
    """The supplementary groups. Raises Denied where setgroups(2) is."""
    groups = sorted(set(identity.groups))
    try:
        os.setgroups(groups)
    except PermissionError:
        # A single-id map of an ordinary user denies setgroups (user_namespaces(7)); what was asked for by name is
        # an error, what came by default (none) is what the namespace shows anyway.
        if groups and plan.process.user.additional_gids:
            raise errors.Denied(
                "cannot set additional groups: this user namespace denies setgroups",
                hint="install newuidmap and newgidmap (package uidmap) and give the user a range in /etc/subgid",
            ) from None


def set_gid(identity: Identity) -> None:
    """All three group ids. Raises Denied for one that is not mapped."""
    try:
        os.setresgid(identity.gid, identity.gid, identity.gid)
    except OSError as error:
        raise _unmapped(error, "group", identity.gid) from None


def set_uid(identity: Identity) -> None:
    """All three user ids. Raises Denied for one that is not mapped."""
    try:
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise _unmapped(error, "user", identity.uid) from None


def _unmapped(error: OSError, what: str, number: int) -> errors.AtollError:
    # setresuid(2), EINVAL: the id is not valid in this user namespace.
    if error.errno != errno.EINVAL:
        return errors.from_os_error(error, f"become {what} {number}")
    return errors.Denied(
        f"cannot become {what} {number}: this container's user namespace does not map it",
        hint="an ordinary user has ids beside his own with newuidmap and newgidmap (package uidmap) and ranges in "
        "/etc/subuid and /etc/subgid",
    )


def set_capabilities(caps: Capabilities, end: socket) -> None:
    """What can be granted is; the rest is a warning (config.md, "Runtimes SHOULD NOT fail")."""
    mask = capability.mask_of
    _, ours, _ = capability.capget()
    bounding = mask(caps.bounding)
    wanted = [mask(names) for names in (caps.permitted, caps.effective, caps.inheritable, caps.ambient)]
    permitted = wanted[0] & ours
    effective = wanted[1] & permitted
    inheritable = wanted[2] & ours & bounding
    ambient = wanted[3] & permitted & inheritable  # it needs both, capabilities(7)
    capability.capset(effective, permitted, inheritable)
    capability.set_ambient(ambient)
    for kind, asked, got in zip(
        ("permitted", "effective", "inheritable", "ambient"),
        wanted,
        (permitted, effective, inheritable, ambient),
        strict=True,
    ):
        if asked & ~got:
            names = ", ".join(capability.names_of(asked & ~got))
            sync.send(end, {"at": "warning", "text": f"process.capabilities.{kind}: {names} cannot be granted"})
    unknown = {*caps.permitted, *caps.effective, *caps.inheritable, *caps.bounding, *caps.ambient} - capability.KNOWN
    if unknown:
        sync.send(end, {"at": "warning", "text": f"process.capabilities: unknown here: {', '.join(sorted(unknown))}"})


def install_filter(plan: InitPlan, end: socket) -> None:
    """The filter, and its notify descriptor to the creator if it has one."""
    assert plan.seccomp is not None
    listener = seccomp.seccomp_set_mode_filter(plan.seccomp, plan.seccomp_flags)
    if plan.seccomp_flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        sync.send(end, {"at": "listener"}, listener)
        os.close(listener)
