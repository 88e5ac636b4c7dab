"""Networks in the store: names, addresses once each whoever asks at the same time, ports of the host, files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.engine.networks import resolver, rows
from atoll.engine.networks.records import Membership, Network, Networking, Pool
from atoll.engine.networks.resolver import Resolvers
from atoll.engine.networks.rows import NetworkRow, PortTaken, Taken
from atoll.engine.store import ContainerRow, Store
from atoll.network import addresses
from atoll.network.ports import Port
from atoll.spec import codec

NETWORK = Network(pools=(Pool(subnet="10.1.0.0/24", gateway="10.1.0.1"), Pool(subnet="fd01::/64", gateway="fd01::1")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a network `app` and containers of thirty ids."""
    made = Store(str(tmp_path / "atoll.db"))
    rows.add(made, NetworkRow(id="a" * 64, name="app", created_at=1, network=NETWORK))
    for number in range(30):
        made.add_container(
            ContainerRow(id=f"{number:064x}", name=f"c{number}", image=None, created_at=number, record="{}")
        )
    return made


def _id(number: int) -> str:
    return f"{number:064x}"


def _claim(store: Store, number: int, **wish: str) -> rows.Endpoint:
    rows.join(store, _id(number), (Membership(network="a" * 64, **wish),))
    return rows.claim(store, _id(number), {"a" * 64: f"atv{number}"})[0]


def test_a_network_is_found_and_its_name_taken(store: Store) -> None:
    assert rows.find(store, "app").network == NETWORK
    assert rows.find(store, "aaaa").name == "app"
    with pytest.raises(errors.Conflict):
        rows.add(store, NetworkRow(id="b" * 64, name="app", created_at=1, network=Network()))
    overlapping = Network(pools=(Pool(subnet="10.1.0.128/25"),))
    with pytest.raises(errors.InvalidArgument, match="overlaps"):
        rows.add(store, NetworkRow(id="b" * 64, name="other", created_at=1, network=overlapping))
    with pytest.raises(errors.NotFound):
        rows.find(store, "nothing")


def test_defaults_that_are_true_survive_the_store(store: Store) -> None:
    quiet = Network(masquerade=False, names=False)
    rows.add(store, NetworkRow(id="b" * 64, name="quiet", created_at=1, network=quiet))
    assert rows.find(store, "quiet").network == quiet
    assert rows.find(store, "app").network.names


def test_addresses_are_given_kept_and_given_back(store: Store) -> None:
    first = _claim(store, 0)
    assert first.address == addresses.parse("10.1.0.2")
    assert first.address6 == addresses.parse("fd01::2")
    assert first.mac == b"\x02\x42\x0a\x01\x00\x02"
    assert rows.claim(store, _id(0), {"a" * 64: "x"})[0] == first
    static = _claim(store, 1, address="10.1.0.77", mac="02:00:00:00:00:01")
    assert (static.address, static.mac) == (addresses.parse("10.1.0.77"), b"\2\0\0\0\0\1")
    with pytest.raises(errors.Conflict):
        _claim(store, 2, address="10.1.0.77")
    with pytest.raises(errors.Conflict):
        rows.remove(store, rows.find(store, "app"))
    assert rows.holders(store) == {_id(0), _id(1)}
    rows.give_back(store, _id(1))
    assert rows.claim(store, _id(2), {})[0].address == addresses.parse("10.1.0.77")
    store.remove_container(_id(2))
    store.remove_container(_id(0))
    rows.remove(store, rows.find(store, "app"))


def test_no_address_twice_from_many_processes(store: Store, tmp_path: Path) -> None:
    store.close()
    children = []
    for part in range(6):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                own = Store(str(tmp_path / "atoll.db"))
                for number in range(part * 5, part * 5 + 5):
                    _claim(own, number)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
    members = rows.of_network(store, "a" * 64)
    assert len({one.address for one in members}) == len({one.address6 for one in members}) == 30


def test_a_port_is_one_containers(store: Store) -> None:
    def port(number: int, address: str = "") -> Taken:
        return Taken(protocol="tcp", address=address, port=80, container=_id(number), inner=8080)

    rows.take_ports(store, [port(0, "127.0.0.1")])
    rows.take_ports(store, [port(1, "127.0.0.2")])
    with pytest.raises(PortTaken, match="port is already allocated"):
        rows.take_ports(store, [port(2)])
    rows.take_ports(store, [Taken(protocol="udp", address="", port=80, container=_id(2), inner=1)])
    assert len(rows.ports_of(store)) == 3
    rows.give_back(store, _id(0))
    rows.take_ports(store, [port(2, "127.0.0.1")])


def test_wishes_come_back_from_json() -> None:
    wishes = Networking(
        networks=(Membership(network="n", aliases=("a",)),),
        ports=(Port(container=80, host=0), Port(container=53, host=None, protocol="udp")),
        egress=("none",),
        rate_in=5,
    )
    assert codec.parse(Networking, codec.dump(wishes), "x") == wishes


def test_a_resolv_conf() -> None:
    host = resolver.parse(
        "# comment\nnameserver 127.0.0.53 # local\nnameserver 192.0.2.1\nnameserver rubbish\nnameserver\n"
        "search a.example b.example\noptions edns0 ndots:3\n"
    )
    assert host.servers == ("127.0.0.53", "192.0.2.1")
    assert host.reachable == ("192.0.2.1",)
    plain = resolver.resolv_conf(host=host, own=None, dns=(), search=(), options=())
    assert plain == "nameserver 192.0.2.1\nsearch a.example b.example\noptions edns0 ndots:3\n"
    own = resolver.resolv_conf(host=host, own="10.1.0.1", dns=("8.8.8.8",), search=(".",), options=())
    assert own == "nameserver 10.1.0.1\noptions edns0 ndots:0\n"
    assert "no name server" in resolver.resolv_conf(host=Resolvers(), own=None, dns=(), search=(), options=())


def test_hosts() -> None:
    text = resolver.hosts(
        names=("me", "web"),
        own=(addresses.parse("10.1.0.2"),),
        extra=("db:10.9.9.9", "up:host-gateway"),
        gateway="10.1.0.1",
    )
    assert "10.9.9.9\tdb\n10.1.0.1\tup\n10.1.0.1\thost.docker.internal host.containers.internal\n" in text
    assert text.endswith("10.1.0.2\tme web\n")
    assert "127.0.1.1\tme\n" in resolver.hosts(names=("me",), own=(), extra=(), gateway="")


def test_a_file_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("a long first content")
    before = path.stat().st_ino
    resolver.write_in_place(str(path), "short")
    assert (path.read_text(), path.stat().st_ino) == ("short", before)
