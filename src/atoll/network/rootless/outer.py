"""Asking for this user's outer namespace.

Holds: `Outer`, `find`, `ensure`. Does not hold: the process that answers (`keeper.py`, where the messages are drawn).
"""

from __future__ import annotations

import os
from _socket import socket

from atoll.base import errors
from atoll.base.launch import argv
from atoll.linux import netns
from atoll.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from atoll.network.bridge import Host
from atoll.network.helper import start
from atoll.network.rootless import uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MODULE = "atoll.network.rootless.keeper"
NAME = "outer.sock"
PATIENCE = 10.0


class Outer:
    """A connection to the keeper. `net` is a descriptor of the namespace, which stays as long as this is open;
    `fresh`: it was made for us."""

    def __init__(self, peer: socket, net: int, *, fresh: bool) -> None:
        self.peer, self.net, self.fresh = peer, net, fresh
        self.stock: list[int] = []

    def host(self) -> Host:
        """What bridges are made with; closing it closes this. Raises AtollError."""
        try:
            if len(self.stock) == 2:
                route, filters = Netlink(NETLINK_ROUTE, self.stock[0]), Netlink(NETLINK_NETFILTER, self.stock[1])
                self.stock.clear()
            else:
                route, filters = netns.sockets_in(self.net, (NETLINK_ROUTE, NETLINK_NETFILTER))
        except OSError as error:
            raise errors.from_os_error(error, "enter this user's outer network namespace") from error
        return Host(
            route,
            filters,
            run_inside=lambda work: netns.run_inside(self.net, work),
            ready=self.await_uplink,
            release=self.close,
            mtu=uplink.MTU,
        )

    def await_uplink(self) -> str:
        """The kind of the way out, once it has come; "none" if none can be had. Raises Unavailable."""
        return self._ask("ready")[0]

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket:
        """A socket of the host's network. Raises OSError."""
        try:
            _, fds = self._ask(f"socket {family} {kind} {protocol}")
        except errors.Unavailable as error:
            raise OSError(97, str(error)) from None
        return socket(family, kind, protocol, fds[0])

    def end(self) -> None:
        """Have it go, if nobody else is on it. Raises Unavailable."""
        self._ask("end")

    def _ask(self, words: str) -> tuple[str, list[int]]:
        try:
            self.peer.send(words.encode())
            data, fds = netns.received(self.peer)
        except OSError as error:
            raise errors.Unavailable(f"the keeper of this user's networks does not answer: {error}") from None
        if not data or data.startswith(b"error"):
            said = data.decode(errors="replace").removeprefix("error ") or "it has ended"
            raise errors.Unavailable(f"the keeper of this user's networks: {said}")
        return data.decode(), fds

    def close(self) -> None:
        """Let go of it."""
        for fd in self.stock:
            os.close(fd)
        self.stock.clear()
        if self.net >= 0:
            os.close(self.net)
            self.net = -1
        self.peer.close()


def find(folder: str) -> Outer | None:
    """The namespace, if there is one; `folder` is where helpers' sockets are. Raises AtollError."""
    peer = _connect(folder)
    return None if peer is None else _hold(peer, fresh=False)


def ensure(folder: str, environ: Mapping[str, str], wanted: str) -> Outer:
    """The namespace, made if there is none. Raises AtollError."""
    for _ in range(3):  # one that is just ending is gone a moment later
        peer = _connect(folder)
        fresh = peer is None
        try:
            return _hold(peer or _start(folder, environ, wanted), fresh=fresh)
        except errors.Unavailable:
            if fresh:
                raise
    raise errors.Unavailable("the keeper of this user's networks does not answer")


def _hold(peer: socket, *, fresh: bool) -> Outer:
    made = Outer(peer, -1, fresh=fresh)
    try:
        _, (made.net, *made.stock) = made._ask("hold")
    except BaseException:
        peer.close()
        raise
    return made


def _connect(folder: str) -> socket | None:
    try:
        return start.connect(f"{folder}/{NAME}", PATIENCE)
    except OSError as error:
        raise errors.from_os_error(error, "reach the keeper of this user's networks") from error


def _start(folder: str, environ: Mapping[str, str], wanted: str) -> socket:
    os.makedirs(folder, 0o700, exist_ok=True)
    try:
        peer = start.begin(
            f"{folder}/{NAME}",
            f"{folder}/lock",
            lambda listener: _execute(folder, environ, wanted, listener),
            PATIENCE,
        )
    except OSError as error:
        raise errors.from_os_error(error, "start the keeper of this user's networks") from error
    if peer is None:
        raise errors.Unavailable("the keeper of this user's networks does not listen")
    return peer


def _execute(folder: str, environ: Mapping[str, str], wanted: str, listener: int) -> None:
    start.execute(argv(folder, wanted, module=MODULE), environ, f"{os.path.dirname(folder)}/faults.log", (listener,))
