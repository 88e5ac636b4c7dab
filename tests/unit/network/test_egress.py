"""Egress policies as typed, and the names that connections say."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.network import addresses, egress
from atoll.network.egress import NameRule
from atoll.network.helper.gate import is_inside
from atoll.network.helper.proxy import NotSaid, name_in


def hello(name: str | None) -> bytes:
    """A real ClientHello."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(inward, outward, server_hostname=name).do_handshake()
    return outward.read()


def test_a_policy_is_read() -> None:
    policy = egress.parse(
        ("allow=Example.com,*.example.org:8443,db.example:5432/tcp,10.0.0.0/8:443", "allow=[fd00::1]:53/udp")
    )
    assert policy.names == (
        NameRule(name="example.com"),
        NameRule(name="example.org", below=True, port=8443),
        NameRule(name="db.example", port=5432, protocol="tcp"),
    )
    assert [(str(one.subnet), one.port, one.protocol) for one in policy.nets] == [
        ("10.0.0.0/8", 443, ""),
        ("fd00::1/128", 53, "udp"),
    ]
    assert policy.may_ask("example.com")
    assert policy.may_ask("a.b.example.org")
    assert not policy.may_ask("example.org")
    assert not policy.may_ask("notexample.com")
    assert egress.parse(("deny-private",)).may_ask("anything.at.all")


@pytest.mark.parametrize(
    "word", ["", "all", "allow=", "allow=a b", "allow=1.2.3", "allow=*", "allow=x:0", "allow=x:1/icmp", "allow=x/24",
             "allow=1.2.3.4/33", "allow=[::1", "allow=-\u00e9.com"],
)  # fmt: skip
def test_what_is_no_policy(word: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        egress.parse((word,))


def test_none_and_more_is_a_contradiction() -> None:
    with pytest.raises(errors.InvalidArgument):
        egress.parse(("none", "allow=a.example"))


def test_the_name_of_a_client_hello_in_any_pieces() -> None:
    data = hello("Allowed.Example")
    assert name_in(data) == "allowed.example"
    for cut in range(len(data)):
        assert name_in(data[:cut]) is None
    # Split over two records, as the standard allows.
    body = data[5:]
    split = b"\x16\x03\x01" + (10).to_bytes(2, "big") + body[:10]
    split += b"\x16\x03\x01" + (len(body) - 10).to_bytes(2, "big") + body[10:]
    assert name_in(split) == "allowed.example"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n",
        b"\x16\x02\x00\x00\x01x",
        b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    ],
)
def test_what_says_no_name(data: bytes) -> None:
    with pytest.raises(NotSaid):
        name_in(data)


def test_no_server_name_and_a_host() -> None:
    with pytest.raises(NotSaid):
        name_in(hello(None))
    assert name_in(b"GET / HTTP/1.1\r\nhOsT:  A.Example.:80\r\n\r\n") == "a.example"


@given(st.binary(max_size=300))
def test_noise_says_nothing(data: bytes) -> None:
    try:
        found = name_in(b"\x16\x03\x01" + data)
    except NotSaid:
        return
    assert found is None or all(c.isalnum() or c in "-_." for c in found)


def test_what_lies_inside() -> None:
    inside = (
        "10.1.2.3 127.0.0.1 169.254.169.254 172.16.0.1 192.168.1.1 100.64.0.1 0.0.0.0 224.0.0.1 ::1 fe80::1 fd00::1"
    )
    assert all(is_inside(addresses.parse(one)) for one in inside.split())
    assert is_inside(bytes(10) + b"\xff\xff\x08\x08\x08\x08")  # whatever it stands for
    assert not is_inside(addresses.parse("198.51.100.1"))
    assert not is_inside(addresses.parse("2001:db8::1"))


def test_a_chain_ends_in_refusal() -> None:
    made = egress.chain("c" * 64, egress.parse(("allow=10.0.0.0/8:443",)), "ab" * 32)
    assert sum("rule inet atoll eg-cccccccccccc" in one.what for one in made) == 4
    assert all("refuse-abababababab" in one.what for one in made[:5])
