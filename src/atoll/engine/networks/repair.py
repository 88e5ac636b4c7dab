"""Networks as they should be: tables made again, what ended containers left given back, links of nobody removed.

Holds: `rebuild`, `sweep`, `check`. A command that misses something calls the first two; `system check` the third.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.state import state_of
from atoll.engine.locks import is_busy
from atoll.engine.networks import outer, publish, rows
from atoll.engine.networks.release import release
from atoll.isolation.protocol import CREATED, PAUSED, RUNNING
from atoll.linux import rtnetlink
from atoll.network import firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.network.bridge import Host


def rebuild(engine: Engine, host: Host) -> None:
    """Fill fresh tables from the store: they were flushed, or this is the first start since boot. Raises
    AtollError."""
    living = rows.holders(engine.store)
    if not living:
        return
    if not outer.is_host(engine):
        from atoll.engine.networks import reattach

        reattach.all_living(engine, host)
        _follow(engine, host)
        return
    try:
        for row in rows.every(engine.store):
            found = rtnetlink.link(host.route, row.network.link) if row.network.driver == "bridge" else None
            if found is None or not found.up:
                continue
            known = row.network.bridge
            host.commit(
                firewall.bridge(known.name, known.subnets, internal=known.internal, masquerade=known.masquerade).add()
            )
            for one in rows.of_network(engine.store, row.id):
                port = one.port(routed=False)
                host.commit(firewall.port(port.link, port.mac, port.addresses).add())
                ports = rows.ports_of(engine.store, one.container)
                host.commit(firewall.published(publish.rules_for(ports, one)).add())
        _policies(engine, host, living)
        _follow(engine, host)
    except OSError as error:
        raise errors.from_os_error(error, "fill the nftables tables again") from error


def _policies(engine: Engine, host: Host, living: set[str]) -> None:
    from atoll.engine.networks import attach, policy

    for container in living:
        try:
            networking, _ = attach.load(engine.paths.container(container))
        except errors.AtollError:
            continue
        if networking.egress:
            there = [one for one in rows.of_container(engine.store, container) if one.mac]
            policy.apply(host, container, there, networking.egress)


def _follow(engine: Engine, host: Host) -> None:
    from atoll.engine.networks import netpolicies

    netpolicies.follow(engine, {row.id for row in rows.every(engine.store)}, host=host)


def is_living(engine: Engine, container: str) -> bool:
    """Whether a container may hold addresses: it runs, or a command is working on it."""
    if is_busy(engine.paths.container(container)):
        return True
    try:
        return state_of(engine, container).status in (CREATED, RUNNING, PAUSED) and _has_run(engine, container)
    except errors.NotFound:
        return False


def _has_run(engine: Engine, container: str) -> bool:
    import os

    return os.path.isdir(engine.paths.container_run(container))


def has_ended(engine: Engine, container: str) -> bool:
    """Whether a container whose lock the caller holds has no processes."""
    if not _has_run(engine, container):
        return True
    try:
        return state_of(engine, container).status not in (CREATED, RUNNING, PAUSED)
    except errors.NotFound:
        return True


def sweep(engine: Engine) -> list[str]:
    """Give back what containers have that live no more; their ids."""
    found = [one for one in sorted(rows.holders(engine.store)) if not is_living(engine, one)]
    for one in found:
        release(engine, one)
    return found


def remind(engine: Engine) -> None:
    """Tell every helper to look at the store: a command that was killed may have changed it and told nobody, and one
    of them may hold a port for a container that has left its network."""
    from atoll.engine.networks import helpers

    for row in rows.every(engine.store):
        if row.network.driver != "cni":
            helpers.tell_if_there(engine, row)


def check(engine: Engine, *, repair: bool) -> list[str]:
    """What is wrong with networks, in words; with `repair` mended. Raises AtollError."""
    found = []
    if repair:
        remind(engine)
    for one in sorted(rows.holders(engine.store)):
        if not is_living(engine, one):
            found.append(f"container {one[:12]} has ended and still has addresses or ports")
            if repair:
                release(engine, one)
    if outer.is_host(engine):
        found += _plugins(engine)
    elif outer_lost := _outer_is_lost(engine):
        if repair:
            _renew_outer(engine)
        return [*found, outer_lost]
    try:
        host = outer.host_if_any(engine)
    except errors.AtollError:
        return found
    if host is None:
        return found
    try:
        found += _tables(engine, host, repair)
        found += _links(engine, host, repair)
    finally:
        host.close()
    return found


def _outer_is_lost(engine: Engine) -> str:
    """An ordinary user's containers that run, and the namespace of their networks does not."""
    if not rows.holders(engine.store):
        return ""
    there = outer.keeper_if_any(engine)
    if there is not None:
        there.close()
        return ""
    return "the network namespace of running containers has ended"


def _renew_outer(engine: Engine) -> None:
    host = outer.host(engine)
    try:
        if host.ensure_tables():
            rebuild(engine, host)
    finally:
        host.close()


def _tables(engine: Engine, host: Host, repair: bool) -> list[str]:
    from atoll.linux import nftables

    ours = [row for row in rows.every(engine.store) if row.network.driver != "cni"]
    if not any(rows.of_network(engine.store, row.id) for row in ours):
        return []
    if nftables.chain_exists(host.filters, nftables.INET, firewall.TABLE, firewall.MARK):
        return []
    if repair:
        host.ensure_tables()
        rebuild(engine, host)
    return ["the nftables tables of running containers were removed"]


def _plugins(engine: Engine) -> list[str]:
    """What CNI plug-ins say of the containers that they have attached."""
    found = []
    for row in [one for one in rows.every(engine.store) if one.network.driver == "cni"]:
        from atoll.engine.networks import cni

        for one in rows.of_network(engine.store, row.id):
            try:
                cni.check(engine, one.container, row.id)
            except errors.AtollError as error:
                found.append(f"container {one.container[:12]} on {row.name}: {error}")
    return found


def _links(engine: Engine, host: Host, repair: bool) -> list[str]:
    """Ports and bridges of ours that no row names."""
    try:
        links = rtnetlink.links(host.route)
    except OSError as error:
        raise errors.from_os_error(error, "list the host's interfaces") from error
    known = rows.every(engine.store)
    ports = {one.link for row in known for one in rows.of_network(engine.store, row.id)}
    own = {link.index for link in links if link.name in {row.network.link for row in known}}
    found = []
    for link in links:
        ours = link.kind == "veth" and link.name.startswith(firewall.PORT_PREFIX) and link.master in own
        if ours and link.name not in ports:
            found.append(f"interface {link.name} belongs to no running container")
            if repair:
                host.route.send([rtnetlink.delete_link(link.name)])
    return found
