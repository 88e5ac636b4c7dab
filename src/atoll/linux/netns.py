"""Acting inside another network namespace: this thread for a moment, a child, or this process for good.

Holds: `inside`, `sockets_in`, `run_inside`, `enter`, `owner`. Does not hold: what is said through the sockets. Who
may enter a network namespace: whoever has CAP_SYS_ADMIN in the user namespace that owns it *and* in his own
(setns(2)). An ordinary user has that only after entering the owner, for good; so a short-lived child does, and passes
sockets back.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)

from atoll.base.errors import AtollError
from atoll.linux import process
from atoll.linux.netlink import Netlink
from atoll.linux.nsfs import get_userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

_MOST = 16
_WORDS = 1000


def sockets_in(ns: int, protocols: Sequence[int]) -> list[Netlink]:
    """A netlink socket for each protocol, in the namespace of the descriptor `ns`. This thread is elsewhere for a
    moment, or a child is. Raises OSError."""
    try:
        return inside(ns, lambda: [Netlink(protocol) for protocol in protocols])
    except PermissionError:
        made = run_inside(ns, lambda: [Netlink(protocol).detach() for protocol in protocols])
        return [Netlink(protocol, fd) for protocol, fd in zip(protocols, made, strict=True)]


def inside(ns: int, call: Callable[[], T]) -> T:
    """What `call` gives in the namespace of the descriptor `ns`. This thread is elsewhere for a moment. Raises
    OSError (EPERM to an ordinary user: `run_inside` is for him)."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        process.setns(ns, process.CLONE_NEWNET, "enter the network namespace")
        try:
            return call()
        finally:
            process.setns(home, process.CLONE_NEWNET, "leave the network namespace")
    finally:
        os.close(home)


def owner(ns: int) -> int:
    """A descriptor of the user namespace that owns the namespace `ns`. Raises OSError (EPERM: not below our own)."""
    return get_userns(ns)


def enter(ns: int) -> None:
    """Move this process, which has one thread, into the namespace `ns`, by way of its owner where its rights ask for
    that; there is no way back then. Raises OSError."""
    try:
        process.setns(ns, process.CLONE_NEWNET, "enter the network namespace")
        return
    except PermissionError:
        pass
    user = owner(ns)
    try:
        process.setns(user, process.CLONE_NEWUSER, "enter the user namespace of a network")
    finally:
        os.close(user)
    process.setns(ns, process.CLONE_NEWNET, "enter the network namespace")


def run_inside(ns: int, work: Callable[[], Sequence[int]]) -> list[int]:
    """Do some work in a child that is in the namespace of the descriptor `ns`: the descriptors that it gives,
    close-on-exec. Raises OSError, also the child's."""
    return run_in_child(lambda: _entered(ns, work))


def _entered(ns: int, work: Callable[[], Sequence[int]]) -> Sequence[int]:
    enter(ns)
    return work()


def run_in_child(work: Callable[[], Sequence[int]]) -> list[int]:
    """The same where the child is to go elsewhere by itself. Raises OSError, also the child's."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    child = os.fork()
    if child == 0:
        ours.close()
        try:
            given = work()
            theirs.sendmsg(
                [b"ok"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(given)}i", *given))] if given else []
            )
        except OSError as error:
            words = f"{error.errno or errno.EIO} {error.strerror} {error.filename or ''}"
            theirs.send(words.encode(errors="replace")[:_WORDS])
        except AtollError as error:
            theirs.send(f"{errno.EPERM} {error}".encode(errors="replace")[:_WORDS])
        finally:
            os._exit(0)
    theirs.close()
    try:
        data, fds = received(ours)
    finally:
        ours.close()
        os.waitpid(child, 0)
    if data != b"ok":
        number, _, words = data.decode(errors="replace").partition(" ")
        raise OSError(int(number) if number else errno.ECHILD, words or "the child in the namespace ended")
    return fds


def received(peer: socket, most: int = _MOST) -> tuple[bytes, list[int]]:
    """One message and the descriptors in it. Raises OSError."""
    data, ancillary, _, _ = peer.recvmsg(1 << 16, CMSG_LEN(4 * most), MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += struct.unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
    return data, fds
