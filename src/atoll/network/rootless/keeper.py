"""`atoll:[outer]`: keeps an ordinary user's outer namespace, its way out, and hands out what others need of them.

Holds: `main`, `Keeper`. Does not hold: who asks (`outer.py`), bridges (`network/bridge.py`).

    who asks                                     keeper, in the host's namespaces, owner of the outer ones
    "hold"                                  →
                                            ←    the outer network namespace; it stays as long as the connection does;
                                                 with it route and filter sockets in there, if some are in stock
    "ready"                                 →
                                            ←    the kind of the uplink, once it has come
    "socket FAMILY TYPE PROTOCOL"           →
                                            ←    a socket of the host's network
    "end"                                   →
                                            ←    "ok", and it goes if nobody holds it and no container is on it

It goes by itself when for a while nobody has held it and no container's port was there. It and its spare,
`atoll:[outer+]`, replace one another (`helper/pair.py`); both have the namespaces' descriptors, which keep them. If
both are killed at once the namespaces may end, and the next command makes new ones (`engine/networks/outer.py`).
"""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket

from atoll.base import errors, files
from atoll.linux import netns, process, rtnetlink
from atoll.linux.netlink import NETLINK_NETFILTER, NETLINK_ROUTE
from atoll.network.firewall import PORT_PREFIX
from atoll.network.helper.loop import GONE, READ, Loop
from atoll.network.helper.pair import Pair
from atoll.network.rootless import rules, uplink
from atoll.network.rootless.uplink import Uplink

LISTENER = 3
IDLE_SECONDS = 30.0
NOTE = "uplink"
"""A file beside the socket: pid and start time of the uplink's process, for a keeper that finds one of another's."""
_STEP = 0.004
_PATIENCE = 5.0
_STOCK, _STOCK_SECONDS = 2, 0.05
_FIRST = 10
"""The descriptors that a program is given, above those that it has anyway."""


def main(argv: list[str]) -> int:
    """`keeper FOLDER WANTED`, with the listening socket as descriptor 3; the user's standard error is told faults."""
    if os.fork():
        return 0
    os.setsid()
    os.closerange(LISTENER + 1, 1 << 16)
    os.set_inheritable(LISTENER, False)
    os.chdir("/")
    import _signal  # type: ignore[import-not-found]

    for number in (1, 2, 13, 15):
        _signal.signal(number, _signal.SIG_IGN)
    try:
        end_stray(argv[0])
        user, net = make_outer()
    except OSError as error:
        _refuse(f"make a network namespace: {error.strerror}")
        return 1
    Pair(
        ("atoll:[outer]", "atoll:[outer+]"),
        lambda pair, again: Keeper(argv[0], argv[1], user, net).run(pair, again=again),
        (LISTENER, user, net),
    ).live()
    return 0


def make_outer() -> tuple[int, int]:
    """A user namespace with this user alone in it, and a network namespace of it, made ready: their descriptors.
    Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()

    def work() -> list[int]:
        process.prctl(process.PR_SET_DUMPABLE, 1)
        process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNET)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "wb", buffering=0) as file:
                file.write(text.encode())
        rules.prepare()
        return [os.open(f"/proc/self/ns/{one}", os.O_RDONLY | os.O_CLOEXEC) for one in ("user", "net")]

    user, net = netns.run_in_child(work)
    return user, net


def end_stray(folder: str) -> None:
    """End the uplink of a keeper that was killed together with its spare. Raises OSError."""
    try:
        pid, started = files.read_text(f"{folder}/{NOTE}").split()
        pidfd = process.pidfd_open(int(pid))
    except (OSError, ValueError):
        return
    try:
        if process.start_time(int(pid)) == int(started):
            process.pidfd_send_signal(pidfd, process.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        os.close(pidfd)


def _refuse(words: str) -> None:
    """Tell whoever has asked by now, and nobody after."""
    control = socket(AF_UNIX, SOCK_SEQPACKET, 0, LISTENER)
    control.settimeout(1.0)
    try:
        os.unlink(control.getsockname())
        while True:
            fd, _ = control._accept()  # type: ignore[attr-defined]
            peer = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
            peer.send(b"error " + words.encode())
            peer.close()
    except OSError:
        return


class Keeper:
    """The worker. `folder` is where its socket is, `wanted` a kind of uplink or "auto"."""

    def __init__(self, folder: str, wanted: str, user: int, net: int) -> None:
        self.folder, self.wanted, self.user, self.net = folder, wanted, user, net
        self.loop = Loop()
        self.control = socket(AF_UNIX, SOCK_SEQPACKET, 0, os.dup(LISTENER))
        self.control.setblocking(False)
        self.path = self.control.getsockname()
        self.route = netns.sockets_in(net, (NETLINK_ROUTE,))[0]
        self.peers: dict[int, socket] = {}
        self.waiting: list[socket] = []
        self.stock: list[tuple[int, ...]] = []
        self.stocking = False
        self.kind = ""
        self.uplink = -1

    def run(self, pair: Pair, *, again: bool) -> None:
        """Until nobody needs it. `again`: in place of one that was killed, whose uplink may still run."""
        pair.guard(self.loop)
        self.loop.watch(self.control.fileno(), READ, self._accept)
        self.loop.later(0, lambda: self._resume() if again else self._start(self._candidates()))
        self.loop.later(IDLE_SECONDS, self._look_idle)
        self.loop.run()
        pair.over()
        self._end_uplink()

    # -- who asks

    def _accept(self, events: int) -> None:
        while True:
            try:
                fd, _ = self.control._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            peer = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
            peer.setblocking(False)
            self.peers[fd] = peer
            self.loop.watch(fd, READ, lambda events, peer=peer: self._asked(peer, events))  # type: ignore[misc]

    def _asked(self, peer: socket, events: int) -> None:
        try:
            words = peer.recv(200).split()
            if not words or (events & GONE and not words):
                self._forget(peer)
            elif words[0] == b"hold":
                self._give(peer)
            elif words[0] == b"ready":
                self.waiting.append(peer)
                self._tell()
            elif words[0] == b"socket":
                made = socket(int(words[1]), int(words[2]) | SOCK_CLOEXEC, int(words[3]))
                _send(peer, b"ok", made.fileno())
                made.close()
            elif words[0] == b"end":
                if len(self.peers) < 2 and not self._ports():
                    self._stop()
                _send(peer, b"ok")
        except BlockingIOError:
            return
        except (OSError, ValueError, IndexError) as fault:
            try:
                _send(peer, f"error {fault}".encode())
            except OSError:
                pass
            self._forget(peer)

    def _give(self, peer: socket) -> None:
        """Sockets are made between commands: each takes a child that goes there."""
        pair = self.stock.pop() if self.stock else ()
        _send(peer, b"ok", self.net, *pair)
        for fd in pair:
            os.close(fd)
        if not self.stocking:
            self.stocking = True
            self.loop.later(_STOCK_SECONDS, self._fill_stock)

    def _fill_stock(self) -> None:
        self.stocking = False
        while len(self.stock) < _STOCK:
            route, filters = netns.sockets_in(self.net, (NETLINK_ROUTE, NETLINK_NETFILTER))
            self.stock.append((route.detach(), filters.detach()))

    def _forget(self, peer: socket) -> None:
        if self.peers.pop(peer.fileno(), None) is None:
            return
        self.loop.forget(peer.fileno())
        if peer in self.waiting:
            self.waiting.remove(peer)
        peer.close()

    def _tell(self) -> None:
        if not self.kind:
            return
        for peer in self.waiting:
            try:
                _send(peer, self.kind.encode())
            except OSError:
                continue
        self.waiting.clear()

    # -- its end

    def _ports(self) -> bool:
        return any(one.name.startswith(PORT_PREFIX) for one in rtnetlink.links(self.route))

    def _look_idle(self) -> None:
        if not self.peers and not self._ports():
            self._stop()
            return
        self.loop.later(IDLE_SECONDS, self._look_idle)

    def _stop(self) -> None:
        """Nobody can ask from here on; who is in the backlog hears that it is gone, and asks a new one."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        self.loop.stop()

    # -- the way out

    def _candidates(self) -> list[Uplink]:
        return list(uplink.usable(os.environ, self.wanted))

    def _resume(self) -> None:
        """After one that was killed: its uplink's process may be there."""
        try:
            pid, started = files.read_text(f"{self.folder}/{NOTE}").split()
            kind = files.read_text(f"{self.folder}/{NOTE}.kind")
            if process.start_time(int(pid)) == int(started):
                self._watch(process.pidfd_open(int(pid)), kind)
                self.kind = kind
                self._tell()
                return
        except (OSError, ValueError):
            pass
        self._start(self._candidates())

    def _start(self, candidates: list[Uplink]) -> None:
        """The first of them; the next where its link does not come."""
        if not candidates:
            self.kind = "none"
            self._tell()
            return
        chosen, rest = candidates[0], candidates[1:]
        try:
            self.route.send([rtnetlink.delete_link(uplink.LINK)])
            if chosen.kind == uplink.FORWARDER:
                from atoll.network.rootless.forwarder import Forwarder

                self.own = Forwarder(self.loop, self.net, self.route)
                self.kind = chosen.kind
                self._tell()
                return
            pidfd = self._execute(chosen)
        except (OSError, errors.AtollError) as fault:
            print(f"net helper: {chosen.kind}: {fault}", file=sys.stderr)  # noqa: T201 - the faults file
            self._start(rest)
            return
        self._await(chosen, pidfd, rest, int(_PATIENCE / _STEP))

    def _await(self, chosen: Uplink, pidfd: int, rest: list[Uplink], rounds: int) -> None:
        if _has_ended(pidfd) or rounds <= 0:
            _kill(pidfd)
            os.close(pidfd)
            self._start(rest)
        elif uplink.is_whole(self.route):
            uplink.settle(self.route, chosen)
            self.kind = chosen.kind
            files.write_atomic(f"{self.folder}/{NOTE}.kind", chosen.kind)
            self._watch(pidfd, chosen.kind)
            self._tell()
        else:
            self.loop.later(_STEP, lambda: self._await(chosen, pidfd, rest, rounds - 1))

    def _watch(self, pidfd: int, kind: str) -> None:
        """Another one when it ends; after a second, so that one that always ends costs little."""
        self.uplink = pidfd

        def gone(events: int) -> None:
            self.loop.forget(pidfd)
            os.close(pidfd)
            self.uplink, self.kind = -1, ""
            _reap()
            self.loop.later(1.0, lambda: self._start(self._candidates()))

        self.loop.watch(pidfd, READ, gone)

    def _execute(self, chosen: Uplink) -> int:
        """Its pidfd; what it says goes to a file. It is noted before it has made anything. Raises OSError."""
        said = os.open(
            f"{self.folder}/{NOTE}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            actions = [
                *[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)],
                *[(os.POSIX_SPAWN_DUP2, self.user, _FIRST + 90), (os.POSIX_SPAWN_DUP2, self.net, _FIRST + 91)],
            ]
            command = uplink.command(chosen, _FIRST + 90, _FIRST + 91)
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsigdef=(1, 2, 13, 15))
        finally:
            os.close(said)
            os.close(null)
        pidfd = process.pidfd_open(pid)
        files.write_atomic(f"{self.folder}/{NOTE}", f"{pid} {process.start_time(pid)}")
        return pidfd

    def _end_uplink(self) -> None:
        if self.uplink >= 0:
            _kill(self.uplink)
        for name in (NOTE, NOTE + ".kind", NOTE + ".log"):
            files.unlink_if_present(f"{self.folder}/{name}")


def _kill(pidfd: int) -> None:
    try:
        process.pidfd_send_signal(pidfd, process.SIGKILL)
    except ProcessLookupError:
        pass


def _has_ended(pidfd: int) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _send(peer: socket, data: bytes, *fds: int) -> None:
    peer.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else [])
