"""network rm, network prune."""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.engine.events import note
from atoll.engine.filters import goes, read_prune
from atoll.engine.networks import outer, repair, rows
from atoll.engine.networks.filters import PREDEFINED
from atoll.network import bridge as bridges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.rows import NetworkRow

_END_SECONDS = 5.0


def remove(engine: Engine, name: str) -> None:
    """Remove a network that nobody runs on. Raises NotFound, Conflict, Denied (predefined)."""
    if name in PREDEFINED:
        raise errors.Denied(f"{name} is a pre-defined network and cannot be removed")
    row = rows.find(engine.store, name)
    if row.network.driver == "cni" and row.name in _described(engine):
        raise errors.Denied(
            f"{name} is described by the file {_described(engine)[row.name]}", hint="remove that file instead"
        )
    _remove(engine, row)


def _described(engine: Engine) -> dict[str, str]:
    """Networks of CNI plug-ins, and the file of each."""
    from atoll.engine.networks import cni

    return {cni.PREFIX + conf.name: path for path, conf in cni.known(engine)}


def _remove(engine: Engine, row: NetworkRow) -> None:
    policies = rows.has_policies(engine.store)  # they go with the row
    try:
        rows.remove(engine.store, row)
    except errors.Conflict:
        if not repair.sweep(engine):
            raise
        rows.remove(engine.store, row)
    host = outer.host_if_any(engine) if row.network.driver == "bridge" else None
    if host is not None:
        try:
            bridges.remove(host, row.network.bridge)
            if row.network.policy or policies:
                from atoll.engine.networks import netpolicies

                netpolicies.clear(engine, host, row.id)
        finally:
            host.close()
    note.note(engine, "network", "destroy", row.id, name=row.name, type=row.network.driver)


def prune(engine: Engine, filters: tuple[str, ...] = ()) -> list[str]:
    """Remove every network that no container, running or not, belongs to, and for which the filters hold: `until=`
    (made before), `label=`, `label!=`. Their names. Raises InvalidArgument."""
    given = read_prune(filters)
    repair.sweep(engine)
    gone = []
    for row in rows.every(engine.store):
        if row.name == "bridge" or not goes(given, row.created_at, row.network.labels):
            continue
        if rows.of_network(engine.store, row.id, living=False):
            continue
        try:
            _remove(engine, row)
        except errors.Conflict:  # somebody came meanwhile
            continue
        if row.network.driver != "cni":  # that is its file's, and lists it still
            gone.append(row.name)
    return gone


def clear(engine: Engine) -> None:
    """Take the default network's bridge and the tables from the host, if nobody uses them; of an ordinary user his
    outer namespace. They come back with the next container. Raises AtollError."""
    if rows.holders(engine.store):
        return
    if not outer.is_host(engine):
        _clear_outer(engine)
        return
    host = bridges.Host.here()
    try:
        for row in rows.every(engine.store):
            if row.network.driver == "bridge":
                bridges.remove(host, row.network.bridge)
        host.remove_tables()
    finally:
        host.close()


def _clear_outer(engine: Engine) -> None:
    """Helpers hold it until they have noticed that their networks are empty."""
    deadline = time.monotonic() + _END_SECONDS
    while (keeper := outer.keeper_if_any(engine)) is not None:
        try:
            keeper.end()
        finally:
            keeper.close()
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
