"""Id-mapped mounts: bind mounts whose owners are shown through a map of their own.

Holds: `prepare`, by the creator: the kernel asks for rights over the file system that a process inside a user
namespace no longer has. Does not hold: attaching (`rootfs.py`).
Source: config.md "mounts" (uidMappings, gidMappings, idmap, ridmap), mount_setattr(2) "ID-mapped mounts".
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux import process
from atoll.linux.userns import write_maps
from atoll.runtime import mount_options
from atoll.runtime.rootfs import clone_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.rollback import Rollback
    from atoll.spec.runtime import IDMapping, Linux, Mount


def wanted(entry: Mount) -> bool:
    """Whether a mount is to be id-mapped."""
    return bool(entry.uid_mappings or "idmap" in entry.options or "ridmap" in entry.options)


def check(mounts: tuple[Mount, ...], linux: Linux) -> None:
    """Refuse what makes no sense. Raises InvalidArgument naming the mount."""
    for index, entry in enumerate(mounts):
        if bool(entry.uid_mappings) != bool(entry.gid_mappings):
            raise errors.InvalidArgument(f"mounts[{index}]: uidMappings and gidMappings are needed together")
        if not wanted(entry):
            continue
        if not (entry.type == "bind" or "bind" in entry.options or "rbind" in entry.options):
            raise errors.InvalidArgument(f"mounts[{index}]: only a bind mount can be id-mapped")
        if not entry.uid_mappings and not linux.uid_mappings:
            raise errors.InvalidArgument(f"mounts[{index}]: idmap without mappings, in a container without any")


def prepare(mounts: tuple[Mount, ...], linux: Linux, bundle: str, undo: Rollback) -> tuple[tuple[int, int], ...]:
    """A detached, id-mapped tree for each mount that wants one: its index in `mounts` and descriptor. Raises
    AtollError."""
    found = []
    for index, entry in enumerate(mounts):
        if wanted(entry):
            fd = _prepare_one(entry, linux, bundle)
            undo.push(os.close, fd)
            found.append((index, fd))
    return tuple(found)


def _prepare_one(entry: Mount, linux: Linux, bundle: str) -> int:
    options = mount_options.parse(entry.options)
    namespace = user_namespace(entry.uid_mappings or linux.uid_mappings, entry.gid_mappings or linux.gid_mappings)
    try:
        source = os.path.join(bundle, entry.source or "")
        tree = clone_source(source, options)
        try:
            m.mount_setattr(
                tree, set=m.MOUNT_ATTR_IDMAP, userns_fd=namespace, recursive=options.idmap == "ridmap", subject=source
            )
        except BaseException:
            os.close(tree)
            raise
        return tree
    except OSError as error:
        raise errors.from_os_error(
            error,
            f"map the ids of the mount on {entry.destination}",
            hint="it takes rights over the source's file system, and a type of it that supports it",
        ) from error
    finally:
        os.close(namespace)


def user_namespace(uids: tuple[IDMapping, ...], gids: tuple[IDMapping, ...]) -> int:
    """A descriptor of a user namespace with these maps; nobody lives in it."""
    pid, pidfd = process.clone3(process.CLONE_NEWUSER)
    if pid == 0:
        os.read(_never(), 1)
        os._exit(0)
    try:
        write_maps(
            pid,
            [(one.container_id, one.host_id, one.size) for one in uids],
            [(one.container_id, one.host_id, one.size) for one in gids],
        )
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.from_os_error(error, "make the user namespace of an id-mapped mount") from error
    finally:
        process.pidfd_send_signal(pidfd, process.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)


def _never() -> int:
    """A descriptor that is never readable: both ends of a pipe are this process's."""
    return os.pipe2(os.O_CLOEXEC)[0]
