"""Policies between containers: the verbs, and keeping the kernel's sets true while containers come and go.

Holds: `create`, `listed`, `inspect`, `remove` (verbs), `follow` (called by whatever changes who is on a network).
Does not hold: what a policy is (`spec/networkpolicy.py`), what policies come to (`network/netpolicy.py`), rules
(`network/judging.py`).

    network_policies(network, name, created_at, document)

Whoever follows holds a network's lock from reading the store to the kernel's answer, so that of two who change it at
the same time the later one has the last word.
"""

from __future__ import annotations

import time

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.engine.events import note
from atoll.engine.networks import helpers, outer, rows
from atoll.linux import nftables as nft
from atoll.network import firewall, judging, netpolicy
from atoll.network.addresses import link_local
from atoll.network.netpolicy import Member
from atoll.spec import networkpolicy
from atoll.spec.networkpolicy import NetworkPolicy, Selector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.networks.rows import NetworkRow
    from atoll.network.bridge import Host


class Known(Value):
    """A policy in the store, of the network with this id."""

    network: str
    created_at: int
    policy: NetworkPolicy


# --- the store ------------------------------------------------------------------------------------------------------


def known(engine: Engine, network: str | None = None) -> list[Known]:
    """The policies of one network, or of all, by name."""
    query = "SELECT network, created_at, document FROM network_policies"
    if network is None:
        found = engine.store.read(query + " ORDER BY network, name")
    else:
        found = engine.store.read(query + " WHERE network = ? ORDER BY name", network)
    return [Known(network=row[0], created_at=row[1], policy=_read(row[2])) for row in found]


def _read(text: str) -> NetworkPolicy:
    try:
        return networkpolicy.parse(jsontext.loads(text))
    except (ValueError, errors.InvalidArgument) as error:
        raise errors.Corrupt(f"the store holds a damaged network policy: {error}") from None


# --- verbs ----------------------------------------------------------------------------------------------------------


def create(engine: Engine, policies: Iterable[NetworkPolicy], *, replace: bool = False) -> list[str]:
    """Put policies in force, one after the other; "NETWORK/NAME" of each. Raises NotFound, Conflict, Unsupported."""
    done = []
    for policy in policies:
        row = _network(engine, policy.network)
        text = jsontext.dumps(networkpolicy.document(policy.replace(network=row.name)))

        def work(connection: Any, row: NetworkRow = row, policy: NetworkPolicy = policy, text: str = text) -> None:
            query = "SELECT 1 FROM network_policies WHERE network = ? AND name = ?"
            if connection.execute(query, (row.id, policy.name)).fetchone() and not replace:
                raise errors.Conflict(
                    f"network {row.name} has a policy {policy.name} already", hint="--replace puts this in its place"
                )
            connection.execute(
                "INSERT OR REPLACE INTO network_policies VALUES (?, ?, ?, ?)",
                (row.id, policy.name, time.time_ns(), text),
            )

        engine.store.write(work)
        follow(engine, {row.id})
        if rows.of_network(engine.store, row.id):
            helpers.tell(engine, row)  # it hears of what is refused
        note.note(engine, "network", "policy-create", row.id, name=row.name, policy=policy.name)
        done.append(f"{row.name}/{policy.name}")
    return done


def _network(engine: Engine, name: str) -> NetworkRow:
    from atoll.engine.networks.settle import named

    row = named(engine, name)
    if row.network.driver != "bridge":
        raise errors.Unsupported(f"network {row.name} is a {row.network.driver}, which policies do not reach")
    return row


def find(engine: Engine, network: str, name: str) -> Known:
    """One of them. Raises NotFound."""
    row = rows.find(engine.store, network)
    for one in known(engine, row.id):
        if one.policy.name == name:
            return one
    raise errors.NotFound(f"network {row.name} has no policy {name}", hint="'atoll network policy ls' lists them")


def inspect(engine: Engine, network: str, name: str) -> dict[str, Any]:
    """The document, and whom it selects now. Raises NotFound."""
    one = find(engine, network, name)
    selected = [
        member.id for member in _members(engine)
        if member.on(one.policy.network) is not None and one.policy.selector.selects(dict(member.labels))
    ]  # fmt: skip
    return {**networkpolicy.document(one.policy), "status": {"containers": selected}}


def remove(engine: Engine, network: str, name: str) -> None:
    """No longer in force. Raises NotFound."""
    row = rows.find(engine.store, network)
    find(engine, row.id, name)
    query = "DELETE FROM network_policies WHERE network = ? AND name = ?"
    engine.store.write(lambda connection: connection.execute(query, (row.id, name)))
    follow(engine, {row.id}, lifted=True)
    note.note(engine, "network", "policy-remove", row.id, name=row.name, policy=name)


def words_of(selector: Selector) -> str:
    """A selector in a few words."""
    found = []
    for one in selector.requirements:
        words = {"Exists": one.key, "DoesNotExist": "!" + one.key}.get(one.operator)
        sign = {"In": "=", "NotIn": "!="}.get(one.operator, "")
        found.append(words or f"{one.key}{sign}{'|'.join(one.values)}")
    return ",".join(found) or "all"


def names_for(engine: Engine, network: str, container: str) -> dict[str, list[str]]:
    """Which policies close a container on a network: by direction, `default` for the network's own word."""
    row = rows.by_id(engine.store, network)
    member = next((one for one in _members(engine) if one.id == container), None)
    if row is None or member is None:
        return {}
    mine = [one.policy for one in known(engine, network) if one.policy.selector.selects(dict(member.labels))]
    found = {
        "in": [one.name for one in mine if one.ingress is not None],
        "out": [one.name for one in mine if one.egress is not None],
    }
    for direction, word in (("in", netpolicy.DENY_IN), ("out", netpolicy.DENY_OUT)):
        if row.network.policy in (netpolicy.DENY, word):
            found[direction].append("default")
    return {direction: names for direction, names in found.items() if names}


# --- the kernel -----------------------------------------------------------------------------------------------------


def applies(engine: Engine, network: NetworkRow) -> bool:
    """Whether containers on the network may be closed."""
    query = "SELECT 1 FROM network_policies WHERE network = ? LIMIT 1"
    return bool(network.network.policy or engine.store.read(query, network.id))


def follow(engine: Engine, networks: set[str], *, host: Host | None = None, lifted: bool = False) -> None:
    """After containers came to, left or changed on these networks, or before they are attached: the sets are as the
    store says, of these and of all networks whose policies name others. `lifted`: a policy is gone. Raises
    AtollError."""
    policies = known(engine)
    touched = [one for one in rows.every(engine.store) if one.network.driver == "bridge" and (
        (one.id in networks and (one.network.policy or lifted or any(p.network == one.id for p in policies)))
        or any(p.network == one.id and _names_others(p.policy) for p in policies)
    )]  # fmt: skip
    if not touched:
        return
    own = host or outer.host_if_any(engine)
    if own is None:  # no container is on any
        return
    try:
        for row in touched:
            _apply(engine, own, row)
    except OSError as error:
        raise errors.from_os_error(
            error, "put the network's policies in force", hint="the kernel needs nf_tables_bridge and nft_set_pipapo"
        ) from error
    finally:
        if host is None:
            own.close()


def _names_others(policy: NetworkPolicy) -> bool:
    rules = (*(policy.ingress or ()), *(policy.egress or ()))
    return any(peer.networks is not None for rule in rules for peer in rule.peers or ())


def _apply(engine: Engine, host: Host, row: NetworkRow) -> None:
    lock = files.FileLock(f"{_folder(engine)}/{row.id[:16]}.policy")
    lock.acquire()
    try:
        mine = [one.policy for one in known(engine, row.id)]
        if not mine and not row.network.policy:
            if judging.is_there(row.id, host.filters):
                host.commit(judging.clear(row.id, host.filters))
            return
        host.ensure_tables()
        if not nft.chain_exists(host.filters, nft.INET, firewall.TABLE, judging.MARK):
            _begin(engine, host)
        labels = {one.name: dict(one.network.labels) for one in rows.every(engine.store)}
        judgement = netpolicy.judge(row.name, mine, _members(engine), labels, row.network.policy)
        host.commit(judging.put(row.id, judgement, host.filters))
    finally:
        lock.release()


def _begin(engine: Engine, host: Host) -> None:
    """The base chains, once, whichever of two networks' followers comes first."""
    lock = files.FileLock(f"{_folder(engine)}/lock")
    lock.acquire()
    try:
        if not nft.chain_exists(host.filters, nft.INET, firewall.TABLE, judging.MARK):
            host.commit(judging.base())
    finally:
        lock.release()


def _folder(engine: Engine) -> str:
    import os

    os.makedirs(outer.folder(engine), 0o700, exist_ok=True)
    return outer.folder(engine)


def _members(engine: Engine) -> list[Member]:
    """Containers that have addresses, with the one that every link gives itself."""
    from atoll.engine.containers.record import Record

    places: dict[str, list[tuple[str, tuple[bytes, ...]]]] = {}
    for row in rows.every(engine.store):
        for one in rows.of_network(engine.store, row.id):
            own = (*one.addresses, *((link_local(one.mac),) if one.mac else ()))
            places.setdefault(one.container, []).append((row.name, own))
    found = []
    for container in engine.store.containers():
        if container.id in places:
            labels = Record.from_text(container.record).labels
            found.append(Member(id=container.id, labels=labels, places=tuple(places[container.id])))
    return found


def clear(engine: Engine, host: Host, network: str) -> None:
    """A network is gone, and its policies with it. Raises AtollError."""
    try:
        if judging.is_there(network, host.filters):
            host.commit(judging.clear(network, host.filters))
    except OSError as error:
        raise errors.from_os_error(error, "take the network's policies away") from error
    files.unlink_if_present(f"{_folder(engine)}/{network[:16]}.policy")
