"""The sealed interpreter: the program that inits fork from cannot be written from inside a container.

Holds: `sealed_python`, `is_sealed`. CVE-2019-5736: a container opened `/proc/self/exe` of the process that entered it
and overwrote the runtime on the host; here that file is the host's Python. So the interpreter is executed from a
detached overlay without an upper layer (or a detached read-only mount where an overlay is refused): a mount of no
namespace, which nothing can remount, reached only through `exe` links, on which every write fails with EROFS.
"""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socketpair

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux import process
from atoll.linux.overlay import new_overlay


def is_sealed() -> bool:
    """Whether this process's own program lies on a read-only mount."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def sealed_python() -> int:
    """A descriptor of this interpreter inside a detached read-only mount, to be executed by `execveat` with
    `sys.executable` as its first argument. Close-on-exec. Raises AtollError.
    """
    program = os.path.realpath(sys.executable)
    directory, name = os.path.split(program)
    try:
        tree = _detached(directory) if os.geteuid() == 0 else _detached_by_helper(directory)
    except OSError as error:
        raise errors.from_os_error(
            error,
            "seal the interpreter",
            hint="mounts (rootless: user namespaces) must be allowed here; 'atoll info' tells",
        ) from error
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)
    return fd


def _detached(directory: str) -> int:
    """A detached read-only mount of a host directory."""
    try:
        empty = m.new_filesystem("tmpfs", [("size", "4096"), ("nr_inodes", "1")], m.MOUNT_ATTR_RDONLY)
        try:
            # An overlay without an upper layer wants two lower ones: an empty one is the second.
            return new_overlay((directory, f"/proc/self/fd/{empty}"), None, None)
        finally:
            os.close(empty)
    except OSError:
        tree = m.open_tree(directory, m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        try:
            m.mount_setattr(tree, set=m.MOUNT_ATTR_RDONLY, propagation=m.MS_PRIVATE, recursive=True)
        except BaseException:
            os.close(tree)
            raise
        return tree


def _detached_by_helper(directory: str) -> int:
    """The same for an ordinary user: made by a child in a user namespace, whose mount outlives it by descriptor."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    pid, pidfd = process.clone3(process.CLONE_NEWUSER | process.CLONE_NEWNS)
    if pid == 0:
        try:
            fd = _detached(directory)
            theirs.sendmsg([b"0"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", fd))])
        except OSError as error:
            theirs.send(str(error.errno or 1).encode())
        finally:
            os._exit(0)
    os.close(pidfd)
    theirs.close()
    try:
        data, ancillary, _, _ = ours.recvmsg(16, 64, MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    for level, kind, content in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            received: int = struct.unpack("i", content[:4])[0]
            return received
    code = int(data or b"1")
    raise OSError(code, os.strerror(code))
