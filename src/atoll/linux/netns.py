"""Netlink sockets inside another network namespace: setns(2) there, a socket, and back.

Holds: `sockets_in` (a namespace this process may enter as it is) and `sockets_through` (one that lies in a user
namespace: a child goes in and hands its sockets out). Does not hold: what is said through them.
"""

from __future__ import annotations

import array
import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socketpair

from atoll.linux import process
from atoll.linux.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def sockets_in(ns: int, protocols: Sequence[int]) -> list[Netlink]:
    """A netlink socket for each protocol, in the namespace of the descriptor `ns`. This thread is elsewhere for a
    moment. Raises OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    made: list[Netlink] = []
    try:
        process.setns(ns, process.CLONE_NEWNET, "enter the network namespace")
        try:
            made = [Netlink(protocol) for protocol in protocols]
        finally:
            process.setns(home, process.CLONE_NEWNET, "leave the network namespace")
    finally:
        os.close(home)
    return made


def sockets_through(pid: int, make: Callable[[], list[int]]) -> list[int]:
    """What `make` gives, descriptors, in a child that has entered the user and network namespaces of `pid`. One
    thread at a time. Raises OSError: what the child met."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ours.close()
            pidfd = process.pidfd_open(pid)
            try:
                process.setns(pidfd, process.CLONE_NEWUSER, "enter the user namespace")
            except OSError as error:
                if error.errno != 22:  # EINVAL: it is our own
                    raise
            process.setns(pidfd, process.CLONE_NEWNET, "enter the network namespace")
            fds = array.array("i", make())
            theirs.sendmsg([b"y"], [(SOL_SOCKET, SCM_RIGHTS, fds)])
            code = 0
        except OSError as error:
            theirs.send(f"{error.errno or 5} {error.filename or ''}".encode())
        finally:
            os._exit(code)
    theirs.close()
    try:
        word, rights, _, _ = ours.recvmsg(4096, 256, 0x40000000)  # MSG_CMSG_CLOEXEC
    finally:
        ours.close()
        os.waitpid(child, 0)
    if word != b"y":
        number, _, what = word.decode(errors="replace").partition(" ")
        code = int(number) if number.isdigit() else 5
        raise OSError(code, os.strerror(code), what or f"namespaces of {pid}")
    found = array.array("i")
    for _, _, data in rights:
        found.frombytes(data)
    return list(found)
