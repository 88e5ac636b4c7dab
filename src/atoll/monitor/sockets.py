"""Path sockets of the run root: safe directories, long paths, peers of the same uid, descriptors in messages.

Holds: `check_directory`, `listen`, `connect`, `check_peer`, sending and receiving with SCM_RIGHTS. Does not hold:
framing (`protocol.py`). Only path sockets: an abstract one is in reach of every container that shares the host's
network (CVE-2020-15257). `_socket` directly: the `socket` module costs 9 ms (it imports `enum` and `selectors`).
unix(7).
"""

from __future__ import annotations

import os
import stat
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from _struct import pack, unpack

from atoll.base import errors

SUN_PATH_MAX = 107


def check_directory(path: str) -> None:
    """Make sure that a directory for sockets is ours alone: made 0700 if absent, otherwise no link, our uid and
    nobody else's to enter. Raises Denied, OSError."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        os.makedirs(path, 0o700, exist_ok=True)
        found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise errors.Denied(
            f"the run root {path} is not a directory of this user", hint="remove it or set ATOLL_RUN_ROOT"
        )
    if found.st_mode & 0o077:
        raise errors.Denied(f"the run root {path} is open to other users", hint=f"chmod 700 {path}")


def _reach(path: str) -> tuple[str, int]:
    """A name for `path` that fits into sun_path, and a descriptor to close after its use (or -1)."""
    if len(os.fsencode(path)) <= SUN_PATH_MAX:
        return path, -1
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/{name}", fd


def listen(path: str, backlog: int = 4096) -> socket:
    """A listening socket bound to `path`, which must not exist, in a directory that is ours alone. As many may wait
    there as the kernel allows (net.core.somaxconn): eight hundred at once are no fault. Raises OSError."""
    server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    name, fd = _reach(path)
    try:
        server.bind(name)
        server.listen(backlog)
    except BaseException:
        server.close()
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return server


def connect(path: str, seconds: int = 10) -> socket:
    """A blocking connection to whoever listens at `path`, who must be of our uid; waits for room in the backlog.

    Raises OSError (ENOENT, ECONNREFUSED: nobody there), Unavailable (no room in `seconds`), Denied.
    """
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    fd = -1
    try:
        name, fd = _reach(path)
        # Not `settimeout`, which makes the socket non-blocking: then a full backlog is an error at once (unix(7)).
        peer.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("ll", seconds, 0))
        peer.connect(name)
        peer.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("ll", 0, 0))
        check_peer(peer)
    except BlockingIOError:
        peer.close()
        raise errors.Unavailable(f"too many commands wait at {path}") from None
    except BaseException:
        peer.close()
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return peer


def accept(listener: int) -> socket:
    """The next connection at a listening descriptor, close-on-exec. Raises OSError; check_peer is the caller's next
    step."""
    server = socket(AF_UNIX, SOCK_STREAM, 0, listener)
    try:
        fd, _ = server._accept()  # type: ignore[attr-defined]
    finally:
        server.detach()
    return socket(AF_UNIX, SOCK_STREAM, 0, fd)


def check_peer(peer: socket) -> int:
    """The pid at the other end, whose uid is ours (SO_PEERCRED: as of connect or listen). Raises Denied."""
    pid, uid, _ = unpack("iII", peer.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise errors.Denied(f"a process of user {uid} is at the other end of the socket")
    return int(pid)


def send_with_fds(peer: socket, data: bytes, fds: tuple[int, ...]) -> None:
    """Send all of `data`, the descriptors with its first byte. Blocking. Raises OSError."""
    rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
    sent = peer.sendmsg([data], rights)
    if sent < len(data):
        peer.sendall(memoryview(data)[sent:])


def receive_with_fds(peer: socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Up to `size` bytes, and the descriptors that came with them, close-on-exec; b"" at the end.

    The kernel closes those beyond `most`. Raises OSError.
    """
    data, ancillary, _, _ = peer.recvmsg(size, CMSG_LEN(4 * most), MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            count = len(content) // 4
            fds += unpack(f"{count}i", content[: 4 * count])
    return data, fds
