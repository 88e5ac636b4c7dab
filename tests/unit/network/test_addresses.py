"""Addresses, subnets, and which are given out."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.network import addresses, pool
from atoll.network.addresses import Subnet


@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), st.integers(0, 128))
def test_as_the_standard_library_has_it(packed: bytes, prefix: int) -> None:
    prefix = min(prefix, len(packed) * 8)
    ours = addresses.network_of(packed, prefix)
    theirs = ipaddress.ip_network((packed, prefix), strict=False)
    assert ours.base == theirs.network_address.packed
    assert ours.size == theirs.num_addresses
    assert ours.holds(packed)


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "010.1.1.1", "1.2.3.4.5", "::ffff:1.2.3.4", "fe80::1%lo", "a", "1.2.3.4\0"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        addresses.parse(text)


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "10.0.0.0/0x8"])
def test_what_is_no_subnet(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        addresses.parse_subnet(text)


@pytest.mark.parametrize("text", ["02:42:ac:11:00", "01:00:00:00:00:00", "00:00:00:00:00:00", "zz:42:ac:11:00:02"])
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        addresses.parse_mac(text)


def test_ipv4_in_ipv6s_clothes() -> None:
    inside = ("::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:0a00:0001::")
    assert {addresses.mapped(ipaddress.ip_address(one).packed) for one in inside} == {b"\n\0\0\1"}
    assert addresses.mapped(ipaddress.ip_address("2001:db8::1").packed) is None


def test_a_macs_own_address() -> None:
    mac = addresses.parse_mac("02:42:0a:53:00:02")
    assert addresses.show(addresses.link_local(mac)) == "fe80::42:aff:fe53:2"


def test_every_address_once_then_none() -> None:
    subnet = addresses.parse_subnet("10.1.0.0/28")
    gateway = subnet.at(1)
    given_out: list[bytes] = []
    last = 0
    for _ in range(13):
        address, last = pool.next_address(subnet, subnet, gateway, last, given_out.__contains__)
        given_out.append(address)
    assert len(set(given_out)) == 13
    assert not {subnet.base, subnet.broadcast, gateway} & set(given_out)
    with pytest.raises(errors.Exhausted):
        pool.next_address(subnet, subnet, gateway, last, given_out.__contains__)


def test_what_was_given_back_waits_its_turn() -> None:
    subnet = addresses.parse_subnet("10.1.0.0/29")
    first, last = pool.next_address(subnet, subnet, subnet.at(1), 0, lambda one: False)
    second, _ = pool.next_address(subnet, subnet, subnet.at(1), last, lambda one: False)
    assert first != second


def test_a_subnet_beside_what_is_there() -> None:
    taken = [pool.DEFAULT, addresses.parse_subnet("10.84.0.0/16")]
    found = pool.free_subnet(taken)
    assert str(found) == "10.85.0.0/24"
    assert pool.free_subnet([], default=True) == pool.DEFAULT
    with pytest.raises(errors.Exhausted):
        pool.free_subnet([Subnet(base=bytes(4), prefix=0)])
