"""Messages of netlink as bytes, and what a damaged answer does."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.linux import netlink, nftables, rtnetlink, tc
from atoll.linux.netlink import NETLINK_ROUTE, Message, Netlink


def test_attributes_are_padded_and_nested() -> None:
    assert netlink.u16(7, 1) == b"\x06\x00\x07\x00\x01\x00\x00\x00"
    assert netlink.text(3, "lo") == b"\x07\x00\x03\x00lo\x00\x00"
    inner = netlink.nested(2, netlink.u32(1, 5))
    assert inner[:4] == b"\x0c\x00\x02\x80"
    assert netlink.attributes(netlink.attributes(inner)[2]) == {1: b"\x05\0\0\0"}


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=10))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attr(kind, value) for kind, value in pairs)
    assert list(netlink.each_attribute(data)) == pairs


@given(st.binary(max_size=200))
def test_reading_damaged_attributes_ends(data: bytes) -> None:
    assert sum(4 + len(value) for _, value in netlink.each_attribute(data)) <= len(data) + 4


def test_a_message_has_a_header() -> None:
    raw = Message(16, 0x400, b"abcd", "x").encode(9, 5)
    assert struct.unpack("=IHHII", raw[:16]) == (20, 16, 0x405, 9, 0)
    assert raw[16:] == b"abcd"


def test_a_pair_is_one_message_that_says_all() -> None:
    made = rtnetlink.new_veth("atv1", master=7, peer="eth0", peer_ns=5, peer_mac=b"\2\x42\n\0\0\2", mtu=1400)
    assert made.type == rtnetlink.RTM_NEWLINK
    known = netlink.attributes(made.payload[16:])
    assert known[3] == b"atv1\0"
    assert known[10] == b"\7\0\0\0"
    info = netlink.attributes(known[18])
    assert info[1] == b"veth\0"
    peer = netlink.attributes(info[2])[1]
    inside = netlink.attributes(peer[16:])
    assert (inside[3], inside[28], inside[4], inside[1]) == (
        b"eth0\0",
        b"\5\0\0\0",
        struct.pack("=I", 1400),
        b"\2\x42\n\0\0\2",
    )


@pytest.mark.parametrize("name", ["", "sixteen-bytes-oh", "a/b", "a b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(OSError, match="no name of an interface"):
        rtnetlink.delete_link(name)


def test_addresses_of_ipv6_need_no_detection() -> None:
    made = rtnetlink.new_address(3, b"\xfd" + bytes(15), 64)
    assert made.payload[:4] == bytes((10, 64, 2, 0))
    assert netlink.attributes(made.payload[8:])[8] == b"\2\0\0\0"


def test_a_rate_beyond_32_bits() -> None:
    slow, fast = tc.token_bucket(1, 10**6, 1 << 16), tc.token_bucket(1, 10**10, 1 << 20)
    options = netlink.attributes(netlink.attributes(slow.payload[20:])[2])
    assert 4 not in options
    assert struct.unpack_from("=I", options[1], 8) == (10**6,)
    options = netlink.attributes(netlink.attributes(fast.payload[20:])[2])
    assert struct.unpack("=Q", options[4]) == (10**10,)
    assert struct.unpack_from("=I", options[1], 8) == (0xFFFFFFFF,)


def test_a_set_of_several_fields_pads_each() -> None:
    made = nftables.add_set(1, "t", "s", (nftables.T_IP, nftables.T_PROTO, nftables.T_PORT), data=(nftables.T_IP,))
    known = netlink.attributes(made.payload[4:])
    assert struct.unpack(">I", known[5]) == (12,)
    assert struct.unpack(">I", known[4]) == ((7 << 6 | 12) << 6 | 13,)
    assert struct.unpack(">I", known[3])[0] & nftables.SET_MAP
    assert struct.unpack(">I", known[7]) == (4,)


def test_rules_carry_their_comment() -> None:
    made = nftables.add_rule(1, "t", "c", nftables.accept(), comment="why")
    known = netlink.attributes(made.payload[4:])
    assert known[7] == b"\0\4why\0"
    assert b"immediate\0" in known[4]


def test_the_kernel_answers_an_ordinary_question() -> None:
    sock = Netlink(NETLINK_ROUTE)
    try:
        loopback = rtnetlink.link(sock, "lo")
        assert loopback is not None
        assert loopback.index == 1
        assert any(one.name == "lo" for one in rtnetlink.links(sock))
        assert rtnetlink.link(sock, "no-such-link") is None
        with pytest.raises(OSError, match=r"(No such device|not permitted)"):
            sock.send([rtnetlink.rename(10**6, "x0")])
    finally:
        sock.close()
