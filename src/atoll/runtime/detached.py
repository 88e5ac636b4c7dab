"""Mounts that only another mount namespace can make, as detached trees: made by a child, handed back by descriptor.

Holds: `mapped_overlay` (an overlay whose layers are shown through the container's id map), `tree_of_process` (a place
in another container's mounts). Does not hold: attaching (`rootfs.py`), id-mapped binds (`idmap.py`).
Sources: mount_setattr(2) "ID-mapped mounts", overlayfs.rst, open_tree(2): a tree is only cloned from the caller's own
mount namespace, while a detached one may be attached in any.
"""

from __future__ import annotations

import _socket
import os
import struct

from atoll.base import errors, jsontext
from atoll.linux import capability, process
from atoll.linux import mount as m
from atoll.linux.overlay import attach_overlay
from atoll.linux.root import Root
from atoll.runtime.idmap import user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.spec.rootfs import Overlay
    from atoll.spec.runtime import Linux

_MOST_SAID = 4096


def mapped_overlay(step: Overlay, linux: Linux, run: str) -> int:
    """The overlay of `step`, detached: what belongs to id 0 on disk is shown as the container's root, and what that
    one writes belongs to 0. `run` is a directory to mount on, in a namespace that nobody else sees. Raises
    AtollError."""
    namespace = user_namespace(linux.uid_mappings, linux.gid_mappings)
    try:
        owner = linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id
        return _made_by_child(lambda: _overlay(step, namespace, run, owner), "map the ids of the image's layers")
    finally:
        os.close(namespace)


def _overlay(step: Overlay, namespace: int, run: str, owner: tuple[int, int]) -> int:
    # 1. What follows is seen by nobody.
    process.unshare(process.CLONE_NEWNS)
    m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
    # 2. Places for the layers, in memory: overlay takes no layer that is not mounted (clone_private_mount, Linux 6.14
    #    and before).
    place = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    m.move_mount(m.new_filesystem("tmpfs", [("mode", "700")]), place, run)
    # 3. Each layer through the map. Upper and work must be of one mount, so their parent is mapped.
    lower = [_mapped(path, f"{run}/{number}", namespace) for number, path in enumerate(step.lower)]
    upper = work = None
    if step.upper is not None and step.work is not None:
        parent = os.path.dirname(step.upper)
        writable = _mapped(parent, f"{run}/writable", namespace)
        upper, work = writable + step.upper.removeprefix(parent), writable + step.work.removeprefix(parent)
    # 4. The overlay, by the rights of the host's root: it reads the attributes that hide files as the layers have
    #    them.
    os.mkdir(f"{run}/overlay", 0o755)
    _become_owner(owner)
    with Root.open(f"{run}/overlay") as top:
        tree = attach_overlay(lower, upper, work, top.fd, volatile=step.volatile)
        if tree is not None:
            os.close(tree)
    return m.open_tree(f"{run}/overlay", m.OPEN_TREE_CLONE | m.AT_RECURSIVE)


def _become_owner(owner: tuple[int, int]) -> None:
    """Overlay works in the upper layer as whoever mounts it: that must be somebody of the map, since a mapped mount
    takes no files of others (EOVERFLOW). The capabilities stay."""
    _, permitted, inheritable = capability.capget()
    os.setegid(owner[1])
    os.seteuid(owner[0])
    capability.capset(permitted, permitted, inheritable)


def _mapped(path: str, place: str, namespace: int) -> str:
    tree = m.open_tree(path, m.OPEN_TREE_CLONE)
    try:
        m.mount_setattr(tree, set=m.MOUNT_ATTR_IDMAP, userns_fd=namespace, subject=path)
        os.mkdir(place, 0o755)
        with Root.open(place) as at:
            m.move_mount(tree, at.fd, place)
    finally:
        os.close(tree)
    return place


def tree_of_process(pid: int, path: str) -> int:
    """What process `pid` has at `path`, detached: looked up from its root, by descriptors that cannot leave it.
    Raises AtollError."""

    def entered() -> int:
        spaces = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("user", "mnt")]
        if os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"):
            process.setns(spaces[0], process.CLONE_NEWUSER)
        process.setns(spaces[1], process.CLONE_NEWNS)
        with Root.open("/") as root:
            found = root.open_at(path, os.O_PATH)
        return m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | m.AT_RECURSIVE, dir_fd=found)

    return _made_by_child(entered, f"take over {path} of process {pid}")


def _made_by_child(make: Callable[[], int], what: str) -> int:
    """The descriptor that `make` gives in a child. Raises AtollError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        pid, pidfd = process.clone3(0)
        if pid == 0:
            _tell(theirs, make, what)
        theirs.close()
        try:
            said, ancillary, _, _ = ours.recvmsg(_MOST_SAID, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        finally:
            os.waitpid(pid, 0)
            os.close(pidfd)
        if ancillary:
            fd: int = struct.unpack("i", ancillary[0][2][:4])[0]
            return fd
        if not said:
            raise errors.Internal(f"cannot {what}: the child that was to do it ended without a word")
        raise errors.from_json(jsontext.loads(said))
    finally:
        ours.close()
        theirs.close()


def _tell(end: _socket.socket, make: Callable[[], int], what: str) -> None:
    try:
        tree = make()
        end.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", tree))])
    except OSError as error:
        hint = "it takes Linux 5.19, and a file system that supports id-mapped mounts"
        wrapped = errors.from_os_error(error, what, hint=hint)
        end.send(jsontext.dumps(wrapped.to_json()).encode()[:_MOST_SAID])
    except BaseException:  # noqa: BLE001 - a clone must never return into its parent's code
        pass
    finally:
        os._exit(0)
