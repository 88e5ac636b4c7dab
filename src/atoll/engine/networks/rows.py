"""The tables of networks: which there are, who is on them, which of the host's ports are taken.

Holds: `NetworkRow`, `Endpoint`, `Taken` and every query on them. Does not hold: links and rules. An address is chosen
and written in one transaction, so that parallel commands are never given the same.

    networks(id, name, driver, created_at, record, last4, last6)     record = `records.Network` as JSON
    endpoints(network, container, place, wish, address, address6, mac, link)
                                                                     address is NULL while the container doesn't run
    published(protocol, address, port, container, inner)             ports of the host
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.engine.networks.records import Membership, Network
from atoll.network import addresses, pool
from atoll.network.bridge import Port as BridgePort
from atoll.spec import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.store import Store

_COLUMNS = "id, name, created_at, record"
_ENDPOINT = "network, container, place, wish, address, address6, mac, link"


class NetworkRow(Value):
    """A network by its id and name; the time in nanoseconds since the epoch."""

    id: str
    name: str
    created_at: int
    network: Network


class Endpoint(Value):
    """A container on a network: as its `place`-th interface; addresses while it runs."""

    network: str
    container: str
    place: int
    wish: Membership
    address: bytes | None = None
    address6: bytes | None = None
    mac: bytes | None = None
    link: str = ""

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Those that it has."""
        return tuple([one for one in (self.address, self.address6) if one])

    def port(self, *, routed: bool) -> BridgePort:
        """As `network/bridge.py` attaches it."""
        return BridgePort(
            link=self.link, inside=f"eth{self.place}", mac=self.mac or b"", addresses=self.addresses, routed=routed
        )


class Taken(Value):
    """A port of the host in use: `address` "" for all."""

    protocol: str
    address: str
    port: int
    container: str
    inner: int


def _network(row: tuple[Any, ...]) -> NetworkRow:
    try:
        known = codec.parse(Network, jsontext.loads(row[3]), "network")
    except (ValueError, errors.InvalidArgument) as error:
        raise errors.Corrupt(f"the store holds a damaged network: {error}") from None
    return NetworkRow(id=row[0], name=row[1], created_at=row[2], network=known)


def _endpoint(row: tuple[Any, ...]) -> Endpoint:
    wish = codec.parse(Membership, jsontext.loads(row[3]), "endpoint")
    return Endpoint(
        network=row[0],
        container=row[1],
        place=row[2],
        wish=wish,
        address=row[4],
        address6=row[5],
        mac=row[6],
        link=row[7] or "",
    )


# --- networks -------------------------------------------------------------------------------------------------------


def text_of(network: Network) -> str:
    """As the store keeps it. What is left out for being false is written where true is the default."""
    out = codec.dump(network)
    out["masquerade"], out["names"] = network.masquerade, network.names
    return jsontext.dumps(out)


def add(store: Store, row: NetworkRow) -> None:
    """A new network. Raises Conflict for a taken name, or a subnet that another network has meanwhile."""

    def work(connection: Any) -> None:
        if connection.execute("SELECT 1 FROM networks WHERE name = ?", (row.name,)).fetchone():
            raise errors.Conflict(f"network with name {row.name} already exists")
        for (record,) in connection.execute("SELECT record FROM networks").fetchall():
            other = codec.parse(Network, jsontext.loads(record), "network")
            if any(a.net.overlaps(b.net) for a in other.pools for b in row.network.pools if other.driver == "bridge"):
                raise errors.InvalidArgument("Pool overlaps with other one on this address space")
        connection.execute(
            "INSERT INTO networks (id, name, driver, created_at, record) VALUES (?, ?, ?, ?, ?)",
            (row.id, row.name, row.network.driver, row.created_at, text_of(row.network)),
        )

    store.write(work)


def every(store: Store) -> list[NetworkRow]:
    """All, by their names."""
    return [_network(row) for row in store.read(f"SELECT {_COLUMNS} FROM networks ORDER BY name")]


def find(store: Store, wanted: str) -> NetworkRow:
    """By full id, name or unique beginning of the id. Raises NotFound, InvalidArgument."""
    query = f"SELECT {_COLUMNS} FROM networks WHERE "
    found = store.read(query + "id = ?", wanted) or store.read(query + "name = ?", wanted)
    if not found and wanted and all(c in "0123456789abcdef" for c in wanted):
        found = store.read(query + "id >= ? AND id < ? LIMIT 2", wanted, wanted + "g")
    if not found:
        raise errors.NotFound(f"network {wanted} not found", hint="'atoll network ls' lists what there is")
    if len(found) > 1:
        raise errors.InvalidArgument(f"network {wanted} is ambiguous ({len(found)} matches found on ID prefix)")
    return _network(found[0])


def by_id(store: Store, network_id: str) -> NetworkRow | None:
    """The network, if it is (still) there."""
    found = store.read(f"SELECT {_COLUMNS} FROM networks WHERE id = ?", network_id)
    return _network(found[0]) if found else None


def remove(store: Store, row: NetworkRow) -> None:
    """Forget a network. Raises Conflict in Docker's words while a container has an address on it."""

    def work(connection: Any) -> None:
        query = "SELECT count(*) FROM endpoints WHERE network = ? AND mac IS NOT NULL"
        if connection.execute(query, (row.id,)).fetchone()[0]:
            raise errors.Conflict(
                f"error while removing network: network {row.name} id {row.id} has active endpoints",
                hint=f"'atoll network inspect {row.name}' shows them",
            )
        connection.execute("DELETE FROM networks WHERE id = ?", (row.id,))

    store.write(work)


def has_policies(store: Store) -> bool:
    """Whether any network has policies between containers."""
    return bool(store.read("SELECT 1 FROM network_policies LIMIT 1"))


# --- who is on them -------------------------------------------------------------------------------------------------


def join(store: Store, container: str, wishes: tuple[Membership, ...]) -> None:
    """Write down that the container belongs to networks. Raises Conflict for one that it is on already."""

    def work(connection: Any) -> None:
        row = connection.execute("SELECT max(place) FROM endpoints WHERE container = ?", (container,)).fetchone()
        place = 0 if row[0] is None else row[0] + 1
        for wish in wishes:
            query = "SELECT 1 FROM endpoints WHERE network = ? AND container = ?"
            if connection.execute(query, (wish.network, container)).fetchone():
                raise errors.Denied(f"endpoint with name {container[:12]} already exists in network")
            connection.execute(
                "INSERT INTO endpoints (network, container, place, wish) VALUES (?, ?, ?, ?)",
                (wish.network, container, place, jsontext.dumps(codec.dump(wish))),
            )
            place += 1

    store.write(work)


def leave(store: Store, container: str, network: str) -> None:
    """The container belongs to it no more; not before is fine."""
    store.write(
        lambda connection: connection.execute(
            "DELETE FROM endpoints WHERE network = ? AND container = ?", (network, container)
        )
    )


def of_container(store: Store, container: str) -> list[Endpoint]:
    """The networks of a container, in the order of its interfaces."""
    query = f"SELECT {_ENDPOINT} FROM endpoints WHERE container = ? ORDER BY place"
    return [_endpoint(row) for row in store.read(query, container)]


def of_network(store: Store, network: str, *, living: bool = True) -> list[Endpoint]:
    """The containers on a network; those with an address, or all that belong to it."""
    query = f"SELECT {_ENDPOINT} FROM endpoints WHERE network = ?" + (" AND mac IS NOT NULL" if living else "")
    return [_endpoint(row) for row in store.read(query + " ORDER BY container", network)]


def holders(store: Store) -> set[str]:
    """The containers that have addresses or ports of the host."""
    found = store.read("SELECT container FROM endpoints WHERE mac IS NOT NULL UNION SELECT container FROM published")
    return {row[0] for row in found}


def claim(store: Store, container: str, links: dict[str, str]) -> list[Endpoint]:
    """Give the container an address on each of its networks, all in one transaction; `links` are names for its ports
    by network. What it has already is kept. Raises Exhausted, Conflict for a static address in use (`holder` on the
    error says by whom)."""

    def work(connection: Any) -> list[Endpoint]:
        query = f"SELECT {_ENDPOINT} FROM endpoints WHERE container = ? ORDER BY place"
        found = [_endpoint(row) for row in connection.execute(query, (container,)).fetchall()]
        return [one if one.mac else _claim(connection, one, links.get(one.network, "")) for one in found]

    return store.write(work)


def _claim(connection: Any, one: Endpoint, link: str) -> Endpoint:
    query = "SELECT id, name, created_at, record, last4, last6 FROM networks WHERE id = ?"
    row = connection.execute(query, (one.network,)).fetchone()
    if row is None:
        raise errors.NotFound(f"network {one.network[:12]} was removed meanwhile")
    network = _network(row[:4]).network
    chosen: dict[int, bytes] = {}
    for subnet in network.pools:
        width = len(subnet.net.base)
        if width in chosen:
            continue
        column, last = ("address", "last4") if width == 4 else ("address6", "last6")
        asked = one.wish.address if width == 4 else one.wish.address6
        reserved = {addresses.parse(value) for _, value in subnet.reserved}

        def taken(address: bytes, column: str = column, reserved: set[bytes] = reserved) -> bool:
            query = f"SELECT 1 FROM endpoints WHERE network = ? AND {column} = ?"
            return address in reserved or connection.execute(query, (one.network, address)).fetchone() is not None

        if asked and subnet.net.holds(addresses.parse(asked)):
            address = addresses.parse(asked)
            if taken(address):
                raise errors.Conflict(f"Address already in use: {asked}", hint="give another --ip, or leave it out")
        elif asked and any(other.net.holds(addresses.parse(asked)) for other in network.pools):
            continue
        else:
            place = row[4 if width == 4 else 5]
            address, place = pool.next_address(subnet.net, subnet.within, subnet.door, place or 0, taken)
            connection.execute(f"UPDATE networks SET {last} = ? WHERE id = ?", (place, one.network))
        chosen[width] = address
    mac = addresses.parse_mac(one.wish.mac) if one.wish.mac else addresses.mac_of(chosen.get(4))
    connection.execute(
        "UPDATE endpoints SET address = ?, address6 = ?, mac = ?, link = ? WHERE network = ? AND container = ?",
        (chosen.get(4), chosen.get(16), mac, link, one.network, one.container),
    )
    return one.replace(address=chosen.get(4), address6=chosen.get(16), mac=mac, link=link)


def learn(store: Store, one: Endpoint) -> None:
    """Note the addresses that somebody else chose (a CNI plug-in). Raises Conflict for one that is another's."""

    def work(connection: Any) -> None:
        for column, address in (("address", one.address), ("address6", one.address6)):
            query = f"SELECT container FROM endpoints WHERE network = ? AND {column} = ? AND container != ?"
            if address and connection.execute(query, (one.network, address, one.container)).fetchone():
                raise errors.Conflict(f"the plug-ins gave {addresses.show(address)} twice")
        connection.execute(
            "UPDATE endpoints SET address = ?, address6 = ?, mac = ? WHERE network = ? AND container = ?",
            (one.address, one.address6, one.mac, one.network, one.container),
        )

    store.write(work)


def give_back(store: Store, container: str, network: str | None = None) -> None:
    """The container's addresses and ports are free again (`network`: those of one network, no ports)."""

    def work(connection: Any) -> None:
        query = "UPDATE endpoints SET address = NULL, address6 = NULL, mac = NULL, link = NULL WHERE container = ?"
        if network is not None:
            connection.execute(query + " AND network = ?", (container, network))
            return
        connection.execute(query, (container,))
        connection.execute("DELETE FROM published WHERE container = ?", (container,))

    store.write(work)


# --- ports of the host ----------------------------------------------------------------------------------------------


def take_ports(store: Store, ports: list[Taken]) -> None:
    """Note ports of the host. Raises Conflict in Docker's words for one that a container has."""

    def work(connection: Any) -> None:
        for one in ports:
            query = "SELECT container, address FROM published WHERE protocol = ? AND port = ?"
            for holder, address in connection.execute(query, (one.protocol, one.port)).fetchall():
                if holder != one.container and (not address or not one.address or address == one.address):
                    raise PortTaken(one, holder)
            connection.execute(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?)",
                (one.protocol, one.address, one.port, one.container, one.inner),
            )

    store.write(work)


class PortTaken(errors.Conflict):
    """A port of the host that container `holder` has."""

    def __init__(self, port: Taken, holder: str) -> None:
        where = port.address or "0.0.0.0"
        super().__init__(
            f"Bind for {where}:{port.port} failed: port is already allocated", hint=f"container {holder[:12]} has it"
        )
        self.holder = holder


def ports_of(store: Store, container: str | None = None) -> list[Taken]:
    """The host's ports of one container, or of all."""
    query = "SELECT protocol, address, port, container, inner FROM published"
    found = store.read(query) if container is None else store.read(query + " WHERE container = ?", container)
    return [Taken(protocol=r[0], address=r[1], port=r[2], container=r[3], inner=r[4]) for r in sorted(found)]
