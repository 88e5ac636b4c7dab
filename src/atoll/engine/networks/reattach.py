"""An ordinary user's running containers in a new outer namespace: the one that they were in has ended.

Holds: `all_living`. Does not hold: noticing that (`attach.prepare`, `system check`). Until then they reach nobody
new.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.networks import attach, helpers, policy, publish, rows
from atoll.linux import rtnetlink
from atoll.network import bridge as bridges
from atoll.network import firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.network.bridge import Host


def all_living(engine: Engine, host: Host) -> None:
    """Put every running container on its networks again; one that ends meanwhile is let go. Raises AtollError."""
    for row in rows.every(engine.store):
        helpers.end(engine, row)  # one in the old namespace has the ports of this one's
    told = {}
    for container in sorted(rows.holders(engine.store)):
        try:
            status = state_of(engine, container)
        except errors.NotFound:
            continue
        if status.status not in (RUNNING, PAUSED) or not status.pid:
            continue  # one that is just being made is attached by whoever makes it
        try:
            for row in _one(engine, host, container, status.pid):
                told[row.id] = row
        except errors.AtollError:
            if os.path.exists(f"/proc/{status.pid}"):
                raise
    for row in told.values():
        helpers.tell(engine, row)


def _one(engine: Engine, host: Host, container: str, pid: int) -> list[rows.NetworkRow]:
    networking, names = attach.load(engine.paths.container(container))
    found = [one for one in rows.of_container(engine.store, container) if one.mac]
    networks = [(row, one) for one in found if (row := rows.by_id(engine.store, one.network)) is not None]
    prepared = attach.Prepared(networking, names, networks, publish.Held())
    prepared.host = host
    for row, _ in networks:
        prepared.masters[row.id] = bridges.ensure(host, row.network.bridge)
    # What is left inside of the old pairs goes first; it may be gone with the namespace that the other ends were in.
    ns, inner = attach.enter(pid)
    try:
        inner.send([rtnetlink.delete_link(one.port(routed=False).inside) for _, one in networks])
        attach.attach_all(prepared, ns, inner)
        if networking.egress:
            policy.apply(host, container, [one for _, one in networks], networking.egress)
        for _, one in networks:
            host.commit(firewall.published(publish.rules_for(rows.ports_of(engine.store, container), one)).add())
        attach.apply_rates(prepared)
    except OSError as error:
        raise errors.from_os_error(error, f"put container {container[:12]} on its networks again") from error
    finally:
        inner.close()
        os.close(ns)
    return [row for row, _ in networks]
