"""The helper of a network, `atoll:[net] NAME`: names, forwards, and what egress policies open.

Holds: `main` (its start, and the two processes that replace one another), `Worker` (what it does about the store's
word). Does not hold: the mechanisms (`atoll.network.helper`), how it is told (`helpers.py`).

    atoll:[net] NAME   the worker: everything
    atoll:[net+] NAME  its spare: waits for its end, and becomes the worker when that was no clean one; when the spare
                       is killed, the worker forks another
It ends when nobody is on the network.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from atoll.base import clock, errors, jsontext
from atoll.engine.networks import attach, publish, resolver, rows
from atoll.engine.networks.outside import Outside
from atoll.linux import netns, nflog
from atoll.linux.netlink import NETLINK_NETFILTER, Netlink
from atoll.network import addresses, egress, firewall
from atoll.network.addresses import link_local
from atoll.network.bridge import Host
from atoll.network.dns.zone import Book, Zone
from atoll.network.helper.gate import Gate
from atoll.network.helper.loop import READ, Loop
from atoll.network.helper.pair import Pair
from atoll.network.helper.proxy import Proxy
from atoll.network.helper.relay import TcpForward, UdpForward
from atoll.network.helper.resolver import Resolver
from atoll.network.rootless.rules import OUTGOING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.records import Networking
    from atoll.engine.networks.rows import Endpoint, NetworkRow, Taken

LISTENER = 3
IDLE_SECONDS = 1.0
PATIENCE = 10.0
"""How long a helper that a command started waits to be told: that command may have been killed."""
_LIMIT = 1 << 16
_LOG_MAX = 1 << 20
_AGAIN_SECONDS = 0.3


def main(argv: list[str]) -> int:
    """`serve NETWORK NAME [outer]`, with the control socket as descriptor 3; of an ordinary user 4 is the outer
    network namespace."""
    if os.fork():
        return 0
    os.setsid()
    outside = argv[2:3] == ["outer"]
    os.closerange(LISTENER + 1 + outside, 1 << 16)
    os.set_inheritable(LISTENER, False)
    os.chdir("/")
    import _signal  # type: ignore[import-not-found]

    for number in (1, 2, 13, 15):  # hang-ups and log-outs are no reason; its network being empty is
        _signal.signal(number, _signal.SIG_IGN)
    if outside:
        netns.enter(LISTENER + 1)
        os.close(LISTENER + 1)
    Pair(
        (f"atoll:[net] {argv[1]}", f"atoll:[net+] {argv[1]}"),
        lambda pair, again: Worker(argv[0], argv[1], outside=outside).work(pair, again=again),
        (LISTENER,),
    ).live()
    return 0


class Worker:
    """The network's servant; `refresh` makes it what the store says."""

    def __init__(self, network: str, name: str, *, outside: bool = False) -> None:
        self.network, self.name = network, name
        self.loop = Loop()
        self.outside = Outside(self.loop) if outside else None
        self.book = Book()
        self.control = socket(AF_UNIX, SOCK_SEQPACKET, 0, os.dup(LISTENER))
        self.control.setblocking(False)
        self.path = self.control.getsockname()
        self.door = os.stat(self.path).st_ino if os.path.exists(self.path) else 0
        self.gate: Gate | None = None
        self.proxy: Proxy | None = None
        self.resolver = Resolver(self.loop, self.book, ())
        if self.outside is not None:
            self.resolver.outward = self.outside.socket
        self.handed: dict[tuple[str, str, int, bool], socket] = {}
        self.forwards: dict[tuple[str, str, int, bool], tuple[bytes, int, TcpForward | UdpForward | socket]] = {}
        self.bundles: dict[str, str] = {}
        self.told: dict[tuple[str, str, str], float] = {}
        self.patience = 20
        self.log: nflog.Log | None = None
        self.owners: dict[bytes, str] = {}
        self.detours: set[bytes] = set()

    # -- being told

    def work(self, pair: Pair, *, again: bool) -> None:
        """Until nobody is on the network. `again`: nobody is about to tell what there is to do."""
        pair.guard(self.loop)
        self.run(again=again)
        pair.over()

    def run(self, *, again: bool) -> None:
        """The same, without a spare."""
        self.loop.watch(self.control.fileno(), READ, self._told)
        self.loop.later(0.0 if again else PATIENCE, self._refresh_quietly)
        self.loop.run()
        for gateway in list(self.detours):
            self._detour(gateway, 0)
        self._leave_door()

    def _leave_door(self) -> None:
        """Nobody finds the socket any more, unless another helper has made its own in its place."""
        try:
            if os.stat(self.path).st_ino == self.door:
                os.unlink(self.path)
        except OSError:
            pass

    def _told(self, events: int) -> None:
        """Take all who wait, read the store once for them, answer all."""
        waiting = []
        while True:
            try:
                fd, _ = self.control._accept()  # type: ignore[attr-defined]
            except OSError:
                break
            peer = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
            peer.settimeout(2.0)
            try:
                self._take(*peer.recvmsg(_LIMIT, 4096, 0x40000000)[:2])
            except (OSError, ValueError, KeyError):
                peer.close()
                continue
            waiting.append(peer)
        answer = self._refresh_quietly() if self.loop.running else ""
        for peer in waiting:
            try:
                peer.send(answer.encode() or b"ok")
            except OSError:
                pass
            peer.close()

    def _take(self, data: bytes, rights: list[tuple[int, int, bytes]]) -> None:
        fds = [fd for _, _, raw in rights for (fd,) in struct.iter_unpack("i", raw)]
        said = jsontext.loads(data) if data else {"sockets": []}
        if said.get("do") == "end":
            self._leave_door()
            self._close_forwards(set())
            self.loop.stop()
        listed = said["sockets"]
        for (protocol, address, port, six), fd in zip(listed, fds, strict=True):
            self.handed[protocol, address, port, six] = socket(fileno=fd)

    def _refresh_quietly(self) -> str:
        """`refresh`; what failed, in words."""
        try:
            return self.refresh()
        except (errors.AtollError, OSError) as error:
            self._end_if_forsaken()
            return str(error) or type(error).__name__
        finally:
            for one in self.handed.values():
                one.close()
            self.handed.clear()

    # -- the store's word

    def refresh(self) -> str:
        """Be what the store says. Words about what could not be, "" for all well."""
        from atoll.engine.engine import Engine

        engine = Engine(os.environ, os.geteuid(), os.getegid())
        try:
            row = rows.by_id(engine.store, self.network)
            members = rows.of_network(engine.store, self.network) if row is not None else []
            if row is None or not members:
                self._close_forwards(set())
                self.loop.later(IDLE_SECONDS, self._end_if_idle)
                return ""
            wishes = {one.container: self._wishes(engine, one) for one in members}
            self._fill(engine, row, members, wishes)
            problems = self._listen(row, wishes)
            problems += self._limit(engine, members, wishes)
            self._judge(engine, row, members)
            problems += self._forward(engine, row, members)
        finally:
            engine.store.close()
        return "; ".join(problems)

    def _end_if_idle(self) -> None:
        from atoll.engine.engine import Engine

        try:
            engine = Engine(os.environ, os.geteuid(), os.getegid())
            try:
                if not rows.of_network(engine.store, self.network):
                    self.loop.stop()
            finally:
                engine.store.close()
        except (errors.AtollError, OSError):
            self._end_if_forsaken()

    def _end_if_forsaken(self) -> None:
        """The store was removed from under it: nobody will ever tell it anything again."""
        if os.path.isdir(os.environ["ATOLL_DATA_ROOT"]):
            self.loop.later(PATIENCE, self._end_if_idle)
        else:
            self.loop.stop()

    def _wishes(self, engine: Engine, one: Endpoint) -> tuple[Networking | None, tuple[str, ...]]:
        self.bundles[one.container] = engine.paths.container(one.container)
        try:
            return attach.load(engine.paths.container(one.container))
        except errors.AtollError:
            return None, ()

    def _fill(
        self,
        engine: Engine,
        row: NetworkRow,
        members: list[Endpoint],
        wishes: dict[str, tuple[Networking | None, tuple[str, ...]]],
    ) -> None:
        """Names: of this network, and of the others that its members are on, too."""
        book = self.book
        book.zones.clear()
        book.clients.clear()
        book.containers.clear()
        book.upstreams.clear()
        book.inside.clear()
        containers = engine.store.containers()
        names: dict[str, tuple[str, ...]] = {one.id: (one.name,) for one in containers}
        if any(one.pod for one in containers):
            from atoll.engine.pods.names import add_names

            add_names(engine.store, containers, names)
        others: dict[str, tuple[str, ...]] = {}
        for one in members:
            others[one.container] = tuple(
                [other.network for other in rows.of_container(engine.store, one.container) if other.mac]
            )
        for network in {row.id, *[network for found in others.values() for network in found]}:
            known = row if network == row.id else rows.by_id(engine.store, network)
            if known is None or not known.network.names:
                continue
            zone = book.zones[network] = Zone(known.name)
            for one in rows.of_network(engine.store, network):
                own = (*names.get(one.container, ()), *one.wish.aliases, one.container[:12])
                zone.add(tuple(dict.fromkeys([name for name in own if name])), one.addresses)
        for one in members:
            networking = wishes[one.container][0]
            for address in one.addresses:
                book.clients[address] = others[one.container]
                book.containers[address] = one.container
                if networking is not None and networking.dns:
                    book.upstreams[address] = networking.dns
                if row.network.internal:
                    book.inside.add(address)
        book.version += 1
        self.resolver.changed()
        self.resolver.upstreams = self.resolvers().servers

    def _listen(self, row: NetworkRow, wishes: dict[str, tuple[Networking | None, tuple[str, ...]]]) -> list[str]:
        host = self.resolvers()
        if not any(n is not None and attach.needs_names(row, n, host) for n, _ in wishes.values()):
            return []
        problems = []
        for gateway in [one for one in row.network.bridge.gateways if not self.resolver.listens(one)]:
            try:
                self._answer_at(gateway)
            except (errors.AtollError, OSError) as error:
                problems.append(f"cannot answer for names at {addresses.show(gateway)}:53: {error}")
        return problems

    def _answer_at(self, gateway: bytes) -> None:
        """At port 53; where another program of the host has all its addresses, the kernel leads questions to us."""
        port = 0
        try:
            self.resolver.listen(gateway)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            port = self.resolver.listen_anywhere(gateway)
        self._detour(gateway, port)  # one of a helper that was killed goes

    def _detour(self, gateway: bytes, port: int) -> None:
        """Questions to the gateway go to this port of it; 0: they don't any more."""
        wanted = firewall.published(
            tuple(
                [
                    firewall.Published(protocol=one, address=gateway, port=53, to=gateway, to_port=port or 53)
                    for one in ("udp", "tcp")
                ]
            )
        )
        host = Host.here()
        try:
            host.take_away(wanted)
            if port:
                host.commit(wanted.add())
                self.detours.add(gateway)
            else:
                self.detours.discard(gateway)
        finally:
            host.close()

    def resolvers(self) -> resolver.Resolvers:
        """The host's name servers."""
        found = resolver.of_host()
        return found if self.outside is None else found.replace(alone=self.outside.is_tcp_only())

    def _addresses(self, engine: Engine, container: str) -> list[bytes]:
        """All of a container's, on other networks too: it may ask by one and go out by another."""
        found = rows.of_container(engine.store, container)
        return [address for one in found if one.mac for address in one.addresses]

    def _limit(
        self, engine: Engine, members: list[Endpoint], wishes: dict[str, tuple[Networking | None, tuple[str, ...]]]
    ) -> list[str]:
        limited = {
            one.container: egress.parse(networking.egress)
            for one in members
            if (networking := wishes[one.container][0]) is not None and networking.egress
        }
        if limited and self.gate is None:
            self.gate = Gate(Netlink(NETLINK_NETFILTER), 0, self._refused)
            self.proxy = Proxy(self.loop, self.gate, self.resolver.outward)
            self.proxy.listen()
            self.resolver.gate = self.gate
            self._hear()
        if self.gate is not None:
            known = {one: self._addresses(engine, one) for one in limited}
            self.gate.containers = {address: one for one, own in known.items() for address in own}
            self.gate.policies = {address: limited[one] for one, own in known.items() for address in own}
        return []

    def _judge(self, engine: Engine, row: NetworkRow, members: list[Endpoint]) -> None:
        """Policies between containers: who is told what they refuse."""
        self.owners = {address: one.container for one in members for address in one.addresses}
        self.owners |= {link_local(one.mac): one.container for one in members if one.mac}
        if row.network.policy or rows.has_policies(engine.store):
            self._hear()

    def _hear(self) -> None:
        """Of packets that rules refuse."""
        if self.log is None:
            self.log = log = nflog.Log(egress.log_group(self.network))
            self.loop.watch(log.fileno(), READ, lambda events: self._packets(log))

    def _packets(self, log: nflog.Log) -> None:
        for prefix, packet in log.packets():
            if len(packet) < 24:
                continue
            six = packet[0] >> 4 == 6
            source, target = (packet[8:24], packet[24:40]) if six else (packet[12:16], packet[16:20])
            at = 40 if six else (packet[0] & 15) * 4
            protocol = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}.get(packet[6] if six else packet[9], "ip")
            what = f"{protocol} {addresses.show(target) if len(target) in (4, 16) else '?'}"
            if protocol in ("tcp", "udp") and len(packet) >= at + 4:
                what += f":{int.from_bytes(packet[at + 2 : at + 4], 'big')}"
            if prefix in ("policy-in", "policy-out"):
                self._refused_by_policy(prefix, source, target, what)
                continue
            container = self.gate.containers.get(source, "") if self.gate is not None else ""
            self._refused(container, what, "no rule allows it")

    def _refused_by_policy(self, prefix: str, source: bytes, target: bytes, what: str) -> None:
        """To the log of the container whose policy it is."""
        if prefix == "policy-out":
            self._refused(self.owners.get(source, ""), what, f"no policy of network {self.name} lets it out")
        elif len(source) in (4, 16):
            reason = f"no policy of network {self.name} lets {addresses.show(source)} in"
            self._refused(self.owners.get(target, ""), what, reason)

    def _refused(self, container: str, what: str, reason: str) -> None:
        """One line in the container's own file; the same again only after a second, and no file without end."""
        now = time.monotonic()
        if now - self.told.get((container, what, reason), -9.0) < 1.0 or container not in self.bundles:
            return
        if len(self.told) > 4096:
            self.told.clear()
        self.told[container, what, reason] = now
        line = jsontext.dumps({"time": clock.rfc3339(time.time_ns()), "refused": what, "reason": reason}) + "\n"
        path = f"{self.bundles[container]}/egress.log"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size > _LOG_MAX:
                    os.rename(path, path + ".1")
                os.write(fd, line.encode())
            finally:
                os.close(fd)
        except OSError:  # the container has just been removed
            pass

    # -- ports

    def _forward(self, engine: Engine, row: NetworkRow, members: list[Endpoint]) -> list[str]:
        by_container = {one.container: one for one in members}
        wanted: dict[tuple[str, str, int, bool], tuple[Taken, bytes]] = {}
        for port in rows.ports_of(engine.store):
            endpoint = by_container.get(port.container)
            if endpoint is None or not endpoint.addresses or not _is_way_out(engine, port.container, row.id):
                continue
            for six in (False, True):
                if port.address and (":" in port.address) != six:
                    continue
                to = (endpoint.address6 if six else endpoint.address) or endpoint.address or endpoint.address6
                assert to is not None
                if (
                    self.outside is None
                    and len(to) != (16 if six else 4)
                    and self._is_closed(engine, row, port.container)
                ):
                    to = b""  # what comes by us would come from this host, whom no policy holds off
                wanted[port.protocol, port.address, port.port, six] = (port, to)
        self._close_forwards(set(wanted), {key: (to, port.inner) for key, (port, to) in wanted.items()})
        problems = []
        for key, (port, to) in wanted.items():
            if key in self.forwards:
                continue
            try:
                make = socket if self.outside is None else self.outside.socket
                bound = self.handed.pop(key, None) or publish.bind(10 if key[3] else 2, key[0], key[1], key[2], make)
            except OSError as error:
                if key[3] and error.errno in (97, 99):  # no IPv6 here
                    continue
                if key[0] == "sctp":
                    continue
                if error.errno == errno.EADDRINUSE and self.outside is not None and self.patience:
                    self.patience -= 1  # a helper in a lost namespace may hold it a moment longer
                    self.loop.later(_AGAIN_SECONDS, self._refresh_quietly)
                    continue
                problems.append(f"cannot hold port {port.port}/{port.protocol}: {error.strerror}")
                continue
            self.forwards[key] = (to, port.inner, self._start(bound, key[0], to, port.inner))
        return problems

    def _is_closed(self, engine: Engine, row: NetworkRow, container: str) -> bool:
        """Whether a policy says who may come in."""
        if not row.network.policy and not rows.has_policies(engine.store):
            return False
        from atoll.engine.networks import netpolicies

        return "in" in netpolicies.names_for(engine, self.network, container)

    def _start(self, bound: socket, protocol: str, to: bytes, inner: int) -> TcpForward | UdpForward | socket:
        mark = OUTGOING if self.outside is not None else 0
        if not to:
            return bound  # nobody else has the port, and nobody is led on
        if protocol == "tcp":
            return TcpForward(self.loop, bound, to, inner, mark=mark)
        return UdpForward(self.loop, bound, to, inner, mark=mark) if protocol == "udp" else bound

    def _close_forwards(
        self,
        wanted: set[tuple[str, str, int, bool]],
        targets: dict[tuple[str, str, int, bool], tuple[bytes, int]] | None = None,
    ) -> None:
        for key, (to, inner, forward) in list(self.forwards.items()):
            if key not in wanted or (targets is not None and targets[key] != (to, inner)):
                forward.close()
                del self.forwards[key]


def _is_way_out(engine: Engine, container: str, network: str) -> bool:
    """Whether this network is the one by which the container's ports are published: its first with a gateway."""
    for one in rows.of_container(engine.store, container):
        row = rows.by_id(engine.store, one.network)
        if row is not None and one.mac and row.network.driver == "cni":
            return False  # by its plug-ins
        if row is not None and one.mac and not row.network.internal and any(p.gateway for p in row.network.pools):
            return one.network == network
    return False
