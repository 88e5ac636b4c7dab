"""`-p` in all of Docker's forms."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.network.ports import Port, parse, parse_exposed


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("80", [Port(container=80, host=0)]),
        ("8080:80", [Port(container=80, host=8080)]),
        ("8080:80/UDP", [Port(container=80, host=8080, protocol="udp")]),
        ("127.0.0.1:8080:80", [Port(container=80, host=8080, address="127.0.0.1")]),
        ("127.0.0.1::80", [Port(container=80, host=0, address="127.0.0.1")]),
        ("[::1]:8080:80/sctp", [Port(container=80, host=8080, address="::1", protocol="sctp")]),
        ("[2001:db8:0::1]::80", [Port(container=80, host=0, address="2001:db8::1")]),
        ("8000-8001:80-81", [Port(container=80, host=8000), Port(container=81, host=8001)]),
        ("8000-8009:80", [Port(container=80, host=8000, within=8009)]),
        ("80-81", [Port(container=80, host=0), Port(container=81, host=0)]),
        ("0:80", [Port(container=80, host=0)]),
    ],
)
def test_forms(given: str, wanted: list[Port]) -> None:
    assert list(parse(given)) == wanted


@pytest.mark.parametrize(
    "given",
    ["", ":", "80:", "0", "65536", "-1:80", "80/icmp", "::1:80:80", "[::1:80:80", "a:80:80", "8000-8002:80-81",
     "81-80", "1-65535:1-65535", "8080:80:", "256.0.0.1:80:80", "x"],
)  # fmt: skip
def test_what_is_no_port(given: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        parse(given)


def test_exposed() -> None:
    assert [one.key for one in parse_exposed("7000-7001/udp")] == ["7000/udp", "7001/udp"]
    with pytest.raises(errors.InvalidArgument):
        parse_exposed("80/x")
