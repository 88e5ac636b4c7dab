"""Taking ports of the host: bound before anything of the container is made, so that a conflict is told first.

Holds: `take`, which chooses and binds, `rules_for`. Does not hold: who carries packets (`network/firewall.py` by the
kernel; the helper what the kernel cannot carry: IPv6's loopback, a family the container has no address of).
A bound socket is also what keeps other programs of the host off the port.
"""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from atoll.base import errors, files
from atoll.engine.networks import rows
from atoll.engine.networks.rows import Endpoint, Taken
from atoll.network import addresses
from atoll.network.firewall import Published
from atoll.network.ports import PROTOCOLS, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine

_TRIES = 64


class Held:
    """Ports taken for a container: rows, and the sockets that hold them, by (protocol, address, port, six)."""

    def __init__(self) -> None:
        self.ports: list[Taken] = []
        self.sockets: dict[tuple[str, str, int, bool], socket] = {}

    def close(self) -> None:
        """Let the sockets go (a helper that has copies goes on holding the ports)."""
        for one in self.sockets.values():
            one.close()
        self.sockets.clear()


def take(engine: Engine, container: str, wanted: tuple[Port, ...]) -> Held:
    """Take the host's ports. Raises Conflict in Docker's words, Denied for a low port as an ordinary user."""
    held = Held()
    _check_rows(engine, container, wanted)
    try:
        for port in wanted:
            held.ports.append(_take_one(container, port, held))
        rows.take_ports(engine.store, held.ports)
    except BaseException:
        held.close()
        raise
    return held


def _check_rows(engine: Engine, container: str, wanted: tuple[Port, ...]) -> None:
    """A port that another container has is said to be so, rather than to be in use by somebody."""
    known = [one for one in rows.ports_of(engine.store) if one.container != container]
    for port in wanted:
        for one in known:
            same = one.protocol == port.protocol and one.port == port.host and not port.within
            if same and (not one.address or not port.address or one.address == port.address):
                raise rows.PortTaken(one, one.container)


def _take_one(container: str, port: Port, held: Held) -> Taken:
    candidates = list(range(port.host or 0, (port.within or port.host or 0) + 1))
    if not port.host:
        candidates = [0] * _TRIES
    last: OSError | None = None
    for candidate in candidates:
        try:
            number = _bind_all(port, candidate, held)
        except OSError as error:
            last = error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES) or (error.errno == errno.EACCES and port.host):
                break
            continue
        return Taken(
            protocol=port.protocol, address=port.address, port=number, container=container, inner=port.container
        )
    assert last is not None
    raise _explain(last, port)


def _explain(error: OSError, port: Port) -> errors.AtollError:
    where = f"{port.address or '0.0.0.0'}:{port.host}"
    if error.errno == errno.EADDRINUSE:
        return errors.Conflict(
            f"failed to bind host port for {where}:{port.key}: address already in use",
            hint="another program of this host has it: 'ss -lntup' shows which",
        )
    if error.errno == errno.EACCES:
        return errors.Denied(
            f"cannot publish {where}: an ordinary user may not bind ports below net.ipv4.ip_unprivileged_port_start",
            hint=f"take a port of {_first_unprivileged()} or more, or have root run: "
            f"sysctl -w net.ipv4.ip_unprivileged_port_start={port.host}",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return errors.InvalidArgument(f"cannot publish {where}: this host has no such address")
    return errors.from_os_error(error, f"publish {where}")


def _first_unprivileged() -> str:
    try:
        return files.read_text("/proc/sys/net/ipv4/ip_unprivileged_port_start").strip()
    except OSError:
        return "1024"


def _bind_all(port: Port, number: int, held: Held) -> int:
    """One socket for each family that the address stands for; the port's number."""
    families = [AF_INET6] if ":" in port.address else [AF_INET]
    if not port.address and os.path.exists("/proc/net/if_inet6"):
        families.append(AF_INET6)
    made: list[tuple[int, socket]] = []
    try:
        for family in families:
            try:
                one = bind(family, port.protocol, port.address, number)
            except OSError as error:
                if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT) and port.protocol == "sctp":
                    continue  # the kernel's module is not there: rules carry it all the same
                if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and family == AF_INET6 and made:
                    continue
                raise
            made.append((family, one))
            number = number or one.getsockname()[1]
    except OSError:
        for _, one in made:
            one.close()
        raise
    if not number:
        number = 49152 + os.urandom(2)[0] * 64
    for family, one in made:
        held.sockets[port.protocol, port.address, number, family == AF_INET6] = one
    return number


def bind(
    family: int, protocol: str, address: str, number: int, make: Callable[[int, int, int], socket] = socket
) -> socket:
    """A socket on a port of the host; `make` makes it, for a process that is elsewhere. Raises OSError."""
    kind = SOCK_DGRAM if protocol == "udp" else SOCK_STREAM
    one = make(family, kind | SOCK_CLOEXEC, PROTOCOLS[protocol])
    try:
        if protocol != "udp":
            # Connections of an earlier container in TIME_WAIT keep nobody off; a listener does.
            one.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6:
            one.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        one.bind((address or ("::" if family == AF_INET6 else "0.0.0.0"), number))
        if protocol == "tcp":
            one.listen(1024)  # two sockets may be bound with SO_REUSEADDR, but only one may listen
    except OSError:
        one.close()
        raise
    return one


def rules_for(ports: list[Taken], endpoint: Endpoint) -> tuple[Published, ...]:
    """What the kernel is to carry to a container."""
    found = []
    for one in ports:
        address = addresses.parse(one.address) if one.address else b""
        for to in endpoint.addresses:
            if not address or len(address) == len(to):
                found.append(
                    Published(protocol=one.protocol, address=address, port=one.port, to=to, to_port=one.inner)
                )
    return tuple(found)
