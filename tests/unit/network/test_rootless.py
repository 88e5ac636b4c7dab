"""An ordinary user's way out as data, what the forwarder refuses, whose address a forwarded connection has."""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, SOCK_STREAM, socket

import pytest

from atoll.network import addresses
from atoll.network.helper import relay
from atoll.network.rootless import forwarder, rules, uplink
from atoll.network.rootless.uplink import Uplink


def programs(folder, *names: str) -> dict[str, str]:
    for name in names:
        path = folder / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return {"PATH": str(folder)}


def test_the_best_comes_first_and_ours_last(tmp_path, monkeypatch):
    monkeypatch.setattr(uplink, "_PLACES", "/nonexistent")
    monkeypatch.setattr(uplink, "TUN", os.devnull)
    both = programs(tmp_path, "slirp4netns", "pasta")
    assert [one.kind for one in uplink.usable(both)] == ["pasta", "slirp4netns", "forwarder"]
    assert [one.kind for one in uplink.usable(both, "slirp4netns")] == ["slirp4netns"]
    assert [one.kind for one in uplink.usable(both, "forwarder")] == ["forwarder"]
    assert uplink.usable({"PATH": "relative:/nowhere"}, "pasta") == ()
    assert uplink.why_not("pasta", {"PATH": ""}) == "pasta is not installed"


def test_without_a_tun_only_ours_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(uplink, "TUN", str(tmp_path / "none"))
    found = programs(tmp_path, "pasta")
    assert [one.kind for one in uplink.usable(found)] == ["forwarder"]
    assert "not open to this user" in uplink.why_not("pasta", found)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "pasta",
            ["--no-map-gw", "--tcp-ns none", "--udp-ns none", "--tcp-ports none", "--mtu 65520", "--foreground"],
        ),
        ("slirp4netns", ["--disable-host-loopback", "--mtu=65520", "--configure"]),
    ],
)
def test_neither_opens_the_hosts_loopback(kind, words):
    said = " ".join(uplink.command(Uplink(kind=kind, program=f"/usr/bin/{kind}"), 7, 8))
    assert all(word in said for word in words)
    assert "/proc/self/fd/7" in said
    assert "/proc/self/fd/8" in said


@pytest.mark.parametrize(
    "closed", ["127.0.0.1", "127.8.8.8", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "ff02::1"]
)
def test_the_forwarder_connects_to_none_of_these(closed):
    assert forwarder.is_closed(addresses.parse(closed))


def test_nor_to_one_in_the_clothes_of_ipv6():
    for prefix in (b"\0" * 10 + b"\xff\xff", b"\0\x64\xff\x9b" + bytes(8)):
        assert forwarder.is_closed(prefix + bytes((127, 0, 0, 1)))
        assert not forwarder.is_closed(prefix + bytes((192, 0, 2, 1)))
    assert not forwarder.is_closed(addresses.parse("192.0.2.1"))
    assert not forwarder.is_closed(addresses.parse("2001:db8::1"))


def test_the_marks_of_both_directions_differ():
    assert rules.OUTGOING != rules.RETURNING
    assert len(rules.back()) == 5


@pytest.mark.parametrize(
    ("family", "peer"),
    [
        (AF_INET, "127.0.0.1"),
        (AF_INET, "2001:db8::1"),
        (AF_INET6, "192.0.2.1"),
        (AF_INET6, "::1"),
        (AF_INET6, "fe80::1"),
    ],
)
def test_who_cannot_be_answered_is_not_played(family, peer):
    """Nothing is asked of the kernel, which would refuse it here."""
    one = socket(family, SOCK_STREAM)
    relay.play(one, peer, 7)
    assert one.getsockname()[1] == 0
    one.close()
