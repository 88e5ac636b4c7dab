"""Taps: what a guest is told, in text and as values; the plan of the rules."""

from __future__ import annotations

from atoll.network.addresses import parse
from atoll.network.tap import GuestLink, Route, tap_name

LINK = GuestLink(
    name="eth0",
    mac=b"\x02\x42\x0a\x01\x00\x02",
    mtu=1500,
    addresses=((parse("10.1.0.2"), 24), (parse("fd01::2"), 64)),
    routes=(
        Route(to=b"", prefix=0, gateway=parse("10.1.0.1")),
        Route(to=parse("10.9.0.0"), prefix=16, gateway=parse("10.1.0.7")),
        Route(to=parse("10.1.9.1"), prefix=32, gateway=None),
        Route(to=b"", prefix=0, gateway=parse("fd01::1")),
    ),
)


def test_what_a_guest_is_told() -> None:
    assert LINK.mac_text == "02:42:0a:01:00:02"
    assert LINK.addresses_text == ("10.1.0.2/24", "fd01::2/64")
    assert LINK.gateways == ("10.1.0.1", "fd01::1")


def test_a_taps_name_fits() -> None:
    assert tap_name("eth0") == "tapeth0"
    assert len(tap_name("a" * 15)) == 15
