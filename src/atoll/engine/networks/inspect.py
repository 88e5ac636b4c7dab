"""Networks as documents: `network inspect`, `network ls`, and the network's part of a container's `inspect`.

Holds: `inspect`, `listed`, `of_container`, in Docker's shapes. Does not hold: commands.
"""

from __future__ import annotations

from atoll.base import clock, errors
from atoll.engine.networks import rows
from atoll.network import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.engine.networks.rows import Endpoint, NetworkRow, Taken
    from atoll.network.ports import Port

PREDEFINED = ("host", "none")


def listed(engine: Engine, filters: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Every network, the predefined ones too, by name, for which all filters hold. Raises InvalidArgument."""
    from atoll.engine.networks.filters import Filters
    from atoll.engine.networks.settle import default_network

    wanted = Filters(filters)
    default_network(engine)
    found = [_document(engine, row, whole=wanted.asks_members) for row in rows.every(engine.store)]
    found += _of_plugins(engine, {str(one["Id"]) for one in found})
    found += [_predefined(name) for name in PREDEFINED]
    return sorted([one for one in found if wanted.hold(one)], key=lambda one: str(one["Name"]))


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """One of them. Raises NotFound."""
    if name in PREDEFINED:
        return _predefined(name)
    if name == "bridge":
        from atoll.engine.networks.settle import default_network

        default_network(engine)
    try:
        return _document(engine, rows.find(engine.store, name), whole=True)
    except errors.NotFound:
        found = [one for one in _of_plugins(engine, set()) if name in (one["Name"], one["Id"])]
        if not found:
            raise
        return found[0]


def _of_plugins(engine: Engine, known: set[str]) -> list[dict[str, Any]]:
    """Networks of CNI plug-ins that no container of ours has been on yet."""
    if engine.uid != 0:
        return []
    from atoll.engine.networks import cni

    return [
        {**_predefined(cni.PREFIX + conf.name), "Id": cni.network_id(conf.name), "Driver": cni.DRIVER,
         **cni.described(path, conf)}
        for path, conf in cni.known(engine)
        if cni.network_id(conf.name) not in known
    ]  # fmt: skip


def _predefined(name: str) -> dict[str, Any]:
    driver = "null" if name == "none" else name
    return {
        "Name": name,
        "Id": f"{name:0<64}".encode().hex()[:64],
        "Created": clock.ZERO,
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }


def _document(engine: Engine, row: NetworkRow, *, whole: bool) -> dict[str, Any]:
    network = row.network
    members: dict[str, Any] = {}
    if whole:
        names = {one.id: one.name for one in engine.store.containers()}
        for one in rows.of_network(engine.store, row.id):
            members[one.container] = _member(engine, row, one, names.get(one.container, ""))
    pools = []
    for pool in network.pools:
        entry: dict[str, Any] = {"Subnet": pool.subnet}
        if pool.range:
            entry["IPRange"] = pool.range
        if pool.gateway:
            entry["Gateway"] = pool.gateway
        if pool.reserved:
            entry["AuxiliaryAddresses"] = dict(pool.reserved)
        pools.append(entry)
    options = dict(network.options)
    if network.driver == "bridge":
        options.setdefault("com.docker.network.bridge.name", network.link)
    document = {
        "Name": row.name,
        "Id": row.id,
        "Created": clock.rfc3339(row.created_at),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": "default", "Options": {}, "Config": pools},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": members,
        "Options": options,
        "Labels": dict(network.labels),
    }
    if network.driver == "bridge":
        from atoll.engine.networks import netpolicies

        document["Policies"] = {
            "default": network.policy or "allow",
            "names": [one.policy.name for one in netpolicies.known(engine, row.id)],
        }
        if whole and engine.uid == 0:
            document |= _connections()
    if network.driver == "cni":
        from atoll.engine.networks import cni

        for path, conf in cni.known(engine):
            if cni.network_id(conf.name) == row.id:
                document |= cni.described(path, conf)
    return document


def _connections() -> dict[str, Any]:
    """How full the host's table of connections is, which all bridges share."""
    from atoll.network import conntrack

    table = conntrack.table()
    if table is None:
        return {}
    found: dict[str, Any] = {"open": table.count, "most": table.most, "perContainer": conntrack.share(table)}
    if table.nearly_full:
        found["warning"] = "the host's table of connections is nearly full: see 'atoll doctor'"
    return {"Connections": found}


def _member(engine: Engine, row: NetworkRow, one: Endpoint, name: str) -> dict[str, str]:
    return {
        "Name": name,
        "EndpointID": endpoint_id(one),
        "MacAddress": addresses.show_mac(one.mac or b""),
        "IPv4Address": _with_prefix(engine, row, one, one.address),
        "IPv6Address": _with_prefix(engine, row, one, one.address6),
    }


def _with_prefix(engine: Engine, row: NetworkRow, one: Endpoint, address: bytes | None) -> str:
    if address is None:
        return ""
    return f"{addresses.show(address)}/{_place(engine, row, one, address)[0]}"


def _place(engine: Engine, row: NetworkRow, one: Endpoint, address: bytes | None) -> tuple[int, str]:
    """(prefix, gateway) of one of its addresses."""
    if address is None or one.mac is None:
        return 0, ""
    if row.network.driver == "cni":
        from atoll.engine.networks import cni

        result = cni.result_of(engine, one.container, row.id)
        given = result.addresses if result is not None else ()
        return next(((a.prefix, a.gateway) for a in given if a.address == addresses.show(address)), (0, ""))
    door = row.network.gateway(len(address))
    prefix = next((known.net.prefix for known in row.network.pools if known.net.holds(address)), 0)
    return prefix, addresses.show(door) if door is not None else ""


def endpoint_id(one: Endpoint) -> str:
    """Sixty-four hex digits for a container's place on a network."""
    return one.container[:32] + one.network[:32]


def of_container(engine: Engine, container: str, record: Record) -> dict[str, Any]:
    """`NetworkSettings`."""
    networks: dict[str, Any] = {}
    first: dict[str, Any] = _endpoint_document(engine, None, None, ())
    if record.networking is None or not record.networking.networks:
        networks[record.network] = dict(first)
    taken = rows.ports_of(engine.store, container)
    for one in rows.of_container(engine.store, container):
        row = rows.by_id(engine.store, one.network)
        if row is None:
            continue
        name = engine.store.container(container).name
        document = _endpoint_document(engine, row, one, (name, *one.wish.aliases, container[:12]))
        networks[row.name] = document
        if row.name == "bridge":
            first = document
    wanted = record.networking.ports if record.networking is not None else ()
    exposed = record.networking.exposed if record.networking is not None else ()
    top = ("Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen",
           "MacAddress", "EndpointID")  # fmt: skip
    return {
        "Bridge": "",
        "SandboxKey": "",
        "Ports": ports_document((*exposed, *wanted), taken),
        **{key: first[key] for key in top},
        "Networks": networks,
    }


def _endpoint_document(
    engine: Engine, row: NetworkRow | None, one: Endpoint | None, names: tuple[str, ...]
) -> dict[str, Any]:
    four = one.address if one is not None else None
    six = one.address6 if one is not None else None
    living = row is not None and one is not None and one.mac is not None
    at4 = at6 = (0, "")
    if row is not None and one is not None:
        at4, at6 = _place(engine, row, one, four), _place(engine, row, one, six)
    wish = one.wish if one is not None else None
    fixed = {"IPv4Address": wish.address, "IPv6Address": wish.address6} if wish is not None else {}
    return {
        "IPAMConfig": {key: value for key, value in fixed.items() if value} or None,
        "Links": None,
        "Aliases": list(wish.aliases) if wish is not None else None,
        "MacAddress": addresses.show_mac(one.mac) if one is not None and one.mac else "",
        "NetworkID": row.id if row is not None else "",
        "EndpointID": endpoint_id(one) if one is not None and living else "",
        "Gateway": at4[1],
        "IPAddress": addresses.show(four) if four else "",
        "IPPrefixLen": at4[0],
        "IPv6Gateway": at6[1],
        "GlobalIPv6Address": addresses.show(six) if six else "",
        "GlobalIPv6PrefixLen": at6[0],
        "DriverOpts": None,
        "DNSNames": list(names) or None,
    }


def ports_document(ports: tuple[Port, ...], taken: list[Taken]) -> dict[str, Any]:
    """`Ports`: exposed ones are null, published ones list where they are."""
    found: dict[str, Any] = {one.key: None for one in ports}
    for one in taken:
        key = f"{one.inner}/{one.protocol}"
        hosts = [one.address] if one.address else ["0.0.0.0", "::"]
        found[key] = [*(found.get(key) or []), *[{"HostIp": host, "HostPort": str(one.port)} for host in hosts]]
    return found


def ports_in_words(taken: list[Taken], exposed: tuple[Port, ...] = ()) -> str:
    """The PORTS column of `ps`."""
    words = []
    published = set()
    for one in taken:
        published.add((one.inner, one.protocol))
        for host in [one.address] if one.address else ["0.0.0.0", "::"]:
            shown = f"[{host}]" if ":" in host else host
            words.append(f"{shown}:{one.port}->{one.inner}/{one.protocol}")
    words += [one.key for one in exposed if (one.container, one.protocol) not in published]
    return ", ".join(words)


def explain(engine: Engine, name: str) -> list[str]:
    """Who can reach a container's published ports, and by which rule: lines for `port --explain`. Raises NotFound."""
    row = engine.store.container(name)
    taken = rows.ports_of(engine.store, row.id)
    if not taken:
        return [f"{row.name} publishes no port."]
    endpoints = [one for one in rows.of_container(engine.store, row.id) if one.mac]
    lines = []
    for one in taken:
        where = one.address or "every address of this host"
        shown = f"[{one.address}]" if ":" in one.address else one.address
        lines.append(f"{shown or '*'}:{one.port}/{one.protocol} -> {row.name}:{one.inner}")
        lines.append(f"  who:   {_who(one.address)}")
        lines.append(f"  where: {where}")
        if engine.uid != 0:
            lines += _by_helper(engine, endpoints)
            continue
        for endpoint in endpoints:
            for address in endpoint.addresses:
                if one.address and (":" in one.address) != (len(address) == 16):
                    continue
                name_of_map = "publish6" if len(address) == 16 else "publish4"
                key = f"{one.address} . " if one.address else ""
                lines.append(
                    f"  rule:  table inet atoll, map {name_of_map}{'at' if one.address else ''}: "
                    f"{key}{one.protocol} . {one.port} : {addresses.show(address)} . {one.inner}"
                )
        lines += _closed(engine, row.id, endpoints)
        lines.append("  first: chain user of table inet atoll may drop it (nft add rule inet atoll user ...)")
        if not one.address or ":" in one.address:
            lines.append("  ::1:   the helper of the network carries it (IPv6 routes no loopback)")
    return lines


def _by_helper(engine: Engine, endpoints: list[Endpoint]) -> list[str]:
    """How an ordinary user's port is carried: no rule of the host's leads there."""
    named = [row.name for one in endpoints if (row := rows.by_id(engine.store, one.network)) is not None]
    helper = f"atoll:[net] {named[0]}" if named else "the network's helper"
    return [
        f"  rule:  none of this host's: {helper} accepts and connects onwards, from the address of who came",
        "  first: this host's own filter (chain input) may drop it",
    ]


def _closed(engine: Engine, container: str, endpoints: list[Endpoint]) -> list[str]:
    """Policies that let only some in."""
    if not rows.has_policies(engine.store) and not any(
        row.network.policy for one in endpoints if (row := rows.by_id(engine.store, one.network)) is not None
    ):
        return []
    from atoll.engine.networks import netpolicies

    found = []
    for one in endpoints:
        names = netpolicies.names_for(engine, one.network, container).get("in", [])
        row = rows.by_id(engine.store, one.network)
        if names and row is not None:
            found.append(f"  only:  whom a policy of network {row.name} lets in ({', '.join(names)}), and this host")
    return found


def _who(address: str) -> str:
    if not address:
        return "anybody who reaches this host, by any of its links, and this host itself"
    if address.startswith("127.") or address == "::1":
        return "programs of this host only"
    return f"anybody who reaches {address}, and this host itself"
