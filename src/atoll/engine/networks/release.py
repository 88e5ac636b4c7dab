"""After a container's end: its addresses, ports, links and rules are given back. Idempotent; killed at any step the
next call (by the next command that misses something, or `system check`) does the rest.

Holds: `release`. The rows go last: they are what says that there is something to do.
"""

from __future__ import annotations

from atoll.base import errors, files
from atoll.engine.events import note
from atoll.engine.networks import outer, publish, rows
from atoll.engine.networks.attach import FILE
from atoll.network import bridge as bridges
from atoll.network import firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.rows import Endpoint
    from atoll.network.bridge import Host


def release(engine: Engine, container: str) -> None:
    """Give back what the container has of networks. Raises AtollError."""
    endpoints = [one for one in rows.of_container(engine.store, container) if one.mac]
    ports = rows.ports_of(engine.store, container)
    if not endpoints and not ports:
        return
    host = outer.host_if_any(engine)
    try:
        # 1. Nobody finds it any more.
        for one in endpoints:
            withdraw(host, one, ports)
        # 2. Its link goes with its network namespace, whose processes have ended; to wait for the kernel here would
        #    take longer than all the rest. What it could send from is nobody's now.
        for one in reversed(endpoints):
            _forget(engine, host, one)
        _lift(engine, host, container, endpoints)
        # 3. The rows.
        rows.give_back(engine.store, container)
        follow_policies(engine, host, endpoints)
        # 4. Those who answer for it are told; the last one out takes the bridge along.
        for one in endpoints:
            settle_network(engine, one.network)
            _note(engine, one)
    finally:
        if host is not None:
            host.close()


def follow_policies(engine: Engine, host: Host | None, endpoints: list[Endpoint]) -> None:
    """Those who may have reached it by its labels reach nobody by its addresses. Raises AtollError."""
    if host is None:
        return
    networks = [row for one in endpoints if (row := rows.by_id(engine.store, one.network)) is not None]
    if any(row.network.policy for row in networks) or rows.has_policies(engine.store):
        from atoll.engine.networks import netpolicies

        netpolicies.follow(engine, {row.id for row in networks}, host=host)


def withdraw(host: Host | None, endpoint: Endpoint, ports: list[rows.Taken]) -> None:
    """Take its publications away; with no host there are none."""
    wanted = publish.rules_for(ports, endpoint)
    if not wanted or host is None:
        return
    try:
        host.take_away(firewall.published(wanted))
    except OSError as error:
        raise errors.from_os_error(error, "take the container's ports back") from error


def _lift(engine: Engine, host: Host | None, container: str, endpoints: list[Endpoint]) -> None:
    """No policy any more, if it had one; a bundle that does not say so any more may have had one."""
    if host is None:
        return
    try:
        if b'"egress":' not in files.read_bytes(f"{engine.paths.container(container)}/{FILE}"):
            return
    except OSError:
        pass
    from atoll.engine.networks import policy

    policy.lift(host, container, endpoints)


def _forget(engine: Engine, host: Host | None, endpoint: Endpoint) -> None:
    row = rows.by_id(engine.store, endpoint.network)
    if row is not None and row.network.driver == "cni":
        from atoll.engine.networks import cni

        cni.detach(engine, endpoint.container, row.id)
    if row is not None and row.network.driver == "bridge" and host is not None:
        bridges.forget(host, endpoint.port(routed=False))


def _note(engine: Engine, one: Endpoint) -> None:
    row = rows.by_id(engine.store, one.network)
    if row is not None:
        how = {"name": row.name, "type": row.network.driver}
        note.note(engine, "network", "disconnect", row.id, container=one.container, **how)


def settle_network(engine: Engine, network: str) -> None:
    """After somebody left: the helper is told, an empty network's bridge goes."""
    row = rows.by_id(engine.store, network)
    if row is None:
        return
    from atoll.engine.networks import helpers

    helpers.tell_if_there(engine, row)
