"""The clone itself: a process in its namespaces and cgroup, its id maps, and its end if the creation fails.

Holds: `clone`, `map_ids`, `end`. Does not hold: entering namespaces by path (`joining.py`), what runs in the clone
(`init.py`).
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.linux import process
from atoll.linux.userns import write_maps
from atoll.runtime import joining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.plan import Join
    from atoll.spec.runtime import Linux


def clone(flags: int, joins: tuple[Join, ...], cgroup: Cgroup | None, body: Callable[[], None]) -> tuple[int, int]:
    """A child in new namespaces (`flags`), in those of `joins` and in `cgroup`; it runs `body`, which must not
    return. Its (pid, pidfd). Raises AtollError."""
    directory = cgroup.open_dir() if cgroup is not None else None
    try:
        try:
            return _clone_in(flags, joins, -1 if directory is None else directory, body)
        except OSError as error:
            if directory is None or error.errno not in (errno.ENOSYS, errno.E2BIG, errno.EINVAL):
                raise
            return _clone_in(flags, joins, -1, body)  # before Linux 5.7; `add` moves it then
    except OSError as error:
        hint = None
        if error.errno in (errno.EPERM, errno.ENOSPC, errno.EUSERS) and flags & process.CLONE_NEWUSER:
            hint = "user namespaces may be limited here: see /proc/sys/user/max_user_namespaces and 'atoll info'"
        raise errors.from_os_error(error, "create the container's namespaces", hint=hint) from error
    finally:
        if directory is not None:
            os.close(directory)


def _clone_in(flags: int, joins: tuple[Join, ...], cgroup_fd: int, body: Callable[[], None]) -> tuple[int, int]:
    if joins:
        return joining.clone_joined(joins, flags, cgroup_fd, body)
    pid, pidfd = process.clone3(flags, cgroup_fd=cgroup_fd)
    if pid == 0:
        body()
    return pid, pidfd


def map_ids(pid: int, linux: Linux, helpers: tuple[str, str] | None) -> None:
    """Write the child's id maps, by newuidmap and newgidmap (`helpers`) if given. Raises AtollError."""
    uids = [(m.container_id, m.host_id, m.size) for m in linux.uid_mappings]
    gids = [(m.container_id, m.host_id, m.size) for m in linux.gid_mappings]
    try:
        write_maps(
            pid,
            uids,
            gids,
            newuidmap=helpers[0] if helpers else None,
            newgidmap=helpers[1] if helpers else None,
            # An ordinary user's own map costs the namespace its setgroups(2) (CVE-2014-8989).
            deny_setgroups=helpers is None and os.geteuid() != 0,
        )
    except OSError as error:
        hint = "an ordinary user may map its own id, and the ranges of /etc/subuid and /etc/subgid by newuidmap"
        raise errors.from_os_error(error, "write the id maps of the user namespace", hint=hint) from error


def end(pidfd: int, pid: int, made: list[Cgroup]) -> None:
    """Undo of the clone: kill, reap, close."""
    try:
        process.pidfd_send_signal(pidfd, process.SIGKILL)
    except ProcessLookupError:
        pass
    for cgroup in made:
        cgroup.kill()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    os.close(pidfd)
