"""Policies from flags."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.engine.networks.policy_words import policy
from atoll.spec.networkpolicy import Peer, PortRange, Requirement, Rule, Selector


def one(word: str) -> Rule:
    """The rule of one --allow-in."""
    found = policy("app", "p", allow_in=(word,)).ingress
    assert found is not None
    return found[0]


def test_words() -> None:
    web = Selector(requirements=(Requirement(key="role", operator="In", values=("web",)),))
    assert one("any") == Rule()
    assert one("any:53/udp") == Rule(ports=(PortRange(protocol="UDP", first=53, last=53),))
    assert one("role=web:80-90") == Rule(peers=(Peer(pods=web),), ports=(PortRange(first=80, last=90),))
    assert one("role=web") == Rule(peers=(Peer(pods=web),))
    assert one("10.1.2.3") == Rule(peers=(Peer(block="10.1.2.3/32"),))
    assert one("fd00::/64") == Rule(peers=(Peer(block="fd00::/64"),))
    assert one("[fd00::1]:443") == Rule(peers=(Peer(block="fd00::1/128"),), ports=(PortRange(first=443, last=443),))
    closed = policy("app", "p", select=("role=web",), deny_in=True)
    assert (closed.selector, closed.ingress, closed.egress) == (web, (), None)


@pytest.mark.parametrize("word", ["any:0", "any:80-79", "any:80/icmp", "role=web:x", "300.1.1.1", "=x:80", "a b=c"])
def test_what_is_no_rule(word: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        one(word)


def test_a_policy_says_something() -> None:
    with pytest.raises(errors.InvalidArgument, match="says nothing"):
        policy("app", "p")
