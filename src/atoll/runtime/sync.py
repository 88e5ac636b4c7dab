"""What the creator and the init of a container say to one another.

One SOCK_SEQPACKET pair, closed by execve, one JSON message a packet. The numbers stand again in `create.py` (P) and
`init.py` (C), and in `exec.py`.

    P creator (monitor or atoll-runtime)              C init
    ---------------------------------------------     ---------------------------------------------------
    P0 notes the cgroup that it makes
    P1 clone3 into the namespaces
    P2 writes the id maps
    P3 {"go": "mapped"}                          ──►  C1 waits for P3
       makes (v1) and joins the cgroup                C2 becomes the namespace's root; mounts, and before those of
       {"go": "joined"}                          ──►     cgroups, or at their end, its cgroup namespace
    P4 runs prestart and createRuntime hooks     ◄──  C3 {"at": "hooks"}          (only if there are such hooks)
       {"go": "hooked"}                          ──►  C4 createContainer hooks, pivot_root, identity, rights
    P5 takes the terminal, records "created"     ◄──  C5 {"at": "ready"} (+ the terminal's master)
       {"go": "recorded"}                        ──►  C6 opens <run>/exec.fifo for writing: waits for start
    P6 end of file: the program runs             ◄──  C7 execve closes the socket
       or an error, and the child's exit status  ◄──     {"error": {...}}

An error may come from C at any step; C then exits with 125, or 126 and 127 as shells do for a program that cannot
be run or found. If P dies, C reads end of file and exits.
"""

from __future__ import annotations

import struct
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 64 * 1024


def pair() -> tuple[socket, socket]:
    """The creator's end and the init's, both close-on-exec. Raises OSError."""
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)


def send(end: socket, message: dict[str, Any], fd: int | None = None) -> None:
    """One message, with a descriptor if given. Raises OSError (EPIPE: the other side is gone)."""
    ancillary = [] if fd is None else [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", fd))]
    # MSG_NOSIGNAL: an init that its creator has left would die by SIGPIPE instead of with its exit code.
    end.sendmsg([jsontext.dumps(message).encode()], ancillary, MSG_NOSIGNAL)


def receive(end: socket) -> tuple[dict[str, Any] | None, int | None]:
    """The next message and its descriptor; (None, None) at the end of file. Raises the error the other side sent."""
    try:
        data, ancillary, _, _ = end.recvmsg(LIMIT, 64, MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # It ended with a message of ours unread. The kernel says so once, before what the other side said last.
        data, ancillary, _, _ = end.recvmsg(LIMIT, 64, MSG_CMSG_CLOEXEC)
    fd: int | None = None
    for level, kind, content in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS and len(content) >= 4:
            fd = struct.unpack("i", content[:4])[0]
    if not data:
        return None, None
    message = jsontext.loads(data)
    if "error" in message:
        raise errors.from_json(message["error"])
    return message, fd


def expect(end: socket, key: str, value: str) -> int | None:
    """Wait for one message and return its descriptor. Raises the other side's error, Internal if it went away."""
    message, fd = receive(end)
    if message is None:
        raise errors.Internal(f"the other side ended before it said {value!r}")
    if message.get(key) != value:
        raise errors.Internal(f"out of step: expected {key}={value}, got {message!r}")
    return fd
