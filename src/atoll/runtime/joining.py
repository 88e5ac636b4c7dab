"""Namespaces by path: a short-lived process enters them, and the container's init is cloned inside.

Holds: `open_namespaces`, `clone_joined`. A process in another pid namespace can only be made, not moved, and a
namespace that the creator's user namespace owns must be entered before a new user namespace takes the rights over it
away; so the entering process E stands between the creator P and the init C, which CLONE_PARENT makes P's own child.

    P creator                         E entering process                 C init
    J1 clone3 into the cgroup    ──►  J2 setns, each in its turn
    J4 takes C's pidfd, reaps E  ◄──  J3 clone3 with CLONE_PARENT   ──►  C1 onwards as in `sync.py`
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.linux import process
from atoll.runtime import sync
from atoll.runtime.plan import Join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.base.rollback import Rollback
    from atoll.spec.runtime import Namespace

FLAGS = {
    "mount": process.CLONE_NEWNS,
    "pid": process.CLONE_NEWPID,
    "network": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "user": process.CLONE_NEWUSER,
    "cgroup": process.CLONE_NEWCGROUP,
    "time": process.CLONE_NEWTIME,
}
_NAMES = {"mount": "mnt", "network": "net"}


def open_namespaces(namespaces: tuple[Namespace, ...], undo: Rollback) -> tuple[int, tuple[Join, ...]]:
    """The CLONE_ flags of the new ones, and the others opened and checked to be of their kind.

    Raises NotFound, InvalidArgument naming the path: config-linux.md, "the runtime MUST generate an error".
    """
    flags, joins = 0, []
    for namespace in namespaces:
        flag = FLAGS[namespace.type]
        if not namespace.path:
            flags |= flag
            continue
        try:
            fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.from_os_error(error, f"open the {namespace.type} namespace") from error
        undo.push(os.close, fd)
        kind = _NAMES.get(namespace.type, namespace.type)
        if not os.readlink(f"/proc/self/fd/{fd}").startswith((f"{kind}:[", f"{kind}_for_children:[")) and (
            _kind_by_ioctl(fd) != flag
        ):
            raise errors.InvalidArgument(f"linux.namespaces: {namespace.path} is no {namespace.type} namespace")
        if _is_own(fd, kind):
            continue  # ours already: entering it again needs rights that we may not have
        joins.append(Join(fd=fd, flag=flag, subject=namespace.path))
    return flags, tuple(joins)


def _kind_by_ioctl(fd: int) -> int:
    """NS_GET_NSTYPE, ioctl_nsfs(2): for a bind mount, whose link shows a path."""
    from atoll.linux.nsfs import get_nstype

    try:
        return get_nstype(fd)
    except OSError:
        return -1


def _is_own(fd: int, kind: str) -> bool:
    mine, other = os.stat(f"/proc/self/ns/{kind}"), os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino)


def clone_joined(joins: tuple[Join, ...], flags: int, cgroup_fd: int, body: Callable[[], None]) -> tuple[int, int]:
    """Clone a child of the caller's that is in the namespaces of `joins` and in new ones by `flags`; it runs `body`,
    which must not return. Returns its (pid, pidfd). Raises AtollError."""
    ours, theirs = sync.pair()
    try:
        helper, helper_fd = process.clone3(0, cgroup_fd=cgroup_fd)
        if helper == 0:
            ours.close()
            code = 125
            try:
                _enter(joins)
                pid, pidfd = process.clone3(flags | process.CLONE_PARENT)
                if pid == 0:
                    theirs.close()
                    body()
                sync.send(theirs, {"at": "cloned", "pid": pid}, pidfd)
                code = 0
            except OSError as error:
                wrapped = errors.from_os_error(error, "enter the container's namespaces")
                sync.send(theirs, {"error": wrapped.to_json()})
            finally:
                os._exit(code)
        theirs.close()
        os.close(helper_fd)
        try:
            message, received = sync.receive(ours)
        finally:
            os.waitpid(helper, 0)
        if message is None or received is None:
            raise errors.Internal("the process that enters the namespaces ended at once")
        return int(message["pid"]), received
    finally:
        ours.close()


def _enter(joins: tuple[Join, ...]) -> None:
    """The namespaces that the present user namespace owns first, then the user namespace, then those that it owns;
    the mount namespace last of each round, because paths change with it."""
    waiting = sorted(joins, key=lambda join: (join.flag == process.CLONE_NEWUSER, join.flag == process.CLONE_NEWNS))
    user = next((join for join in joins if join.flag == process.CLONE_NEWUSER), None)
    refused = []
    for join in waiting:
        if join is user:
            continue
        try:
            process.setns(join.fd, join.flag, join.subject)
        except OSError as error:
            if error.errno != errno.EPERM or user is None:
                raise
            refused.append(join)
    if user is not None:
        process.setns(user.fd, user.flag, user.subject)
        for join in refused:
            process.setns(join.fd, join.flag, join.subject)
