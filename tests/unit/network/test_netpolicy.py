"""Policies as a pure function: what boxes they come to, held against the plain reading of the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.network import netpolicy
from atoll.network.addresses import parse
from atoll.network.netpolicy import Member
from atoll.spec import networkpolicy
from atoll.spec.networkpolicy import NetworkPolicy, Peer, PortRange, Requirement, Rule, Selector

A, B, C = parse("10.0.0.2"), parse("10.0.0.3"), parse("10.0.0.4")
MEMBERS = (
    Member(id="a", labels=(("role", "db"),), places=(("app", (A, parse("fd00::2"))),)),
    Member(id="b", labels=(("role", "web"),), places=(("app", (B,)), ("other", (parse("10.1.0.3"),)))),
    Member(id="c", places=(("app", (C,)),)),
)


def judge(*policies: NetworkPolicy, default: str = "") -> netpolicy.Judgement:
    return netpolicy.judge("app", policies, MEMBERS, {"app": {}, "other": {"tier": "x"}}, default)


def label(key: str, *values: str) -> Selector:
    return Selector(requirements=(Requirement(key=key, operator="In", values=values),))


def test_nobody_is_closed_without_a_policy() -> None:
    assert judge() == netpolicy.Judgement()
    assert judge().allows(A, B, 6, 80)


def test_closed_but_for_a_label_and_a_port() -> None:
    rule = Rule(peers=(Peer(pods=label("role", "web")),), ports=(PortRange(first=80, last=80),))
    found = judge(NetworkPolicy(name="p", network="app", selector=label("role", "db"), ingress=(rule,)))
    assert found.closed_in == {A, parse("fd00::2")}
    assert (found.allows(B, A, 6, 80), found.allows(B, A, 6, 81), found.allows(B, A, 17, 80)) == (True, False, False)
    assert not found.allows(C, A, 6, 80)
    assert found.allows(A, C, 6, 80)
    assert found.allows(parse("10.1.0.3"), A, 6, 80)  # by its other address, too


def test_both_sides_have_a_word() -> None:
    out = NetworkPolicy(name="o", network="app", selector=label("role", "web"), egress=())
    assert not judge(out).allows(B, A, 6, 80)
    assert not judge(default="deny").allows(C, B, 6, 80)
    assert judge(default="deny-in").lets_out(A, B, 6, 1)


def test_other_networks_and_blocks() -> None:
    peers = (Peer(networks=label("tier", "x")), Peer(block="10.9.0.0/16", parts=("10.9.1.0/24",)))
    found = judge(NetworkPolicy(name="p", network="app", ingress=(Rule(peers=peers),)))
    assert found.allows(B, A, 6, 1)
    assert not found.allows(C, A, 6, 1)
    assert (found.allows(parse("10.9.2.1"), A, 1, 0), found.allows(parse("10.9.1.1"), A, 1, 0)) == (True, False)


ports = st.builds(
    lambda protocol, first, more: PortRange(protocol=protocol, first=first, last=min(first + more, 65535)),
    st.sampled_from(["TCP", "UDP"]), st.integers(1, 12), st.integers(0, 4),
)  # fmt: skip
blocks = st.sampled_from(["10.0.0.0/24", "10.0.0.0/29", "10.0.0.4/31", "0.0.0.0/0", "fd00::/64", "10.0.0.3/32"])
rules = st.builds(
    lambda peers, several: Rule(peers=peers and tuple(peers), ports=several and tuple(several)),
    st.none() | st.lists(st.builds(lambda block: Peer(block=block), blocks), min_size=1, max_size=4),
    st.none() | st.lists(ports, min_size=1, max_size=3),
)


@given(st.lists(rules, max_size=4), st.integers(0, 9), st.sampled_from([6, 17, 1]), st.integers(0, 17))
def test_boxes_are_apart_and_hold_what_rules_open(several: list[Rule], last: int, protocol: int, port: int) -> None:
    found = judge(NetworkPolicy(name="p", network="app", selector=label("role", "db"), ingress=tuple(several)))
    peer = bytes((10, 0, 0, last))
    numbers = {"TCP": 6, "UDP": 17}
    expected = any(
        (rule.peers is None or any(netpolicy.addresses.parse_subnet(one.block).holds(peer) for one in rule.peers))
        and (rule.ports is None or any(numbers[one.protocol] == protocol and one.first <= port <= one.last
                                       for one in rule.ports))
        for rule in several
    )  # fmt: skip
    assert found.lets_in(A, peer, protocol, port) == expected
    boxes = [one for one in found.boxes_in if one.own == A]
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = [mine[1] < its[0] or its[1] < mine[0] for mine, its in (
                (one.peers, other.peers), (one.protocols, other.protocols), (one.ports, other.ports))]  # fmt: skip
            assert any(apart), (one, other)


DOCUMENT = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "db", "namespace": "app"},
    "spec": {
        "podSelector": {"matchLabels": {"role": "db"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                    {"namespaceSelector": {"matchLabels": {"project": "x"}}, "podSelector": {}},
                    {"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1", "2"]}]}},
                ],
                "ports": [{"protocol": "TCP", "port": 6379}, {"protocol": "UDP", "port": 1, "endPort": 9}],
            }
        ],
        "egress": [],
    },
}


def test_a_document_there_and_back() -> None:
    policy = networkpolicy.parse(DOCUMENT)
    assert networkpolicy.document(policy) == DOCUMENT
    assert networkpolicy.parse(networkpolicy.document(policy)) == policy
    assert policy.egress == ()
    # As Kubernetes defaults what is left out.
    spec = {"podSelector": {}, "egress": [{}]}
    short = networkpolicy.parse({**DOCUMENT, "spec": spec})
    assert (short.ingress, short.egress) == ((), (Rule(),))


@pytest.mark.parametrize(
    "spec",
    [
        {"podSelector": {"matchLabel": {}}},
        {"policyTypes": ["Both"]},
        {"ingress": [{"to": []}]},
        {"ingress": [{"from": [{}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
        {"ingress": [{"ports": [{"port": "http"}]}]},
        {"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]},
        {"ingress": [{"ports": [{"port": 0}]}]},
        {"ingress": [{"ports": [{"protocol": "ICMP"}]}]},
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}},
    ],
)
def test_what_is_no_policy(spec: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidArgument):
        networkpolicy.parse({**DOCUMENT, "spec": spec})
    with pytest.raises(errors.InvalidArgument, match="not the network"):
        networkpolicy.parse(DOCUMENT, "other")


def test_requirements() -> None:
    labels = {"a": "1"}
    for operator, values, key, holds in (
        ("In", ("1",), "a", True), ("In", ("2",), "a", False), ("In", ("1",), "b", False),
        ("NotIn", ("1",), "a", False), ("NotIn", ("2",), "a", True), ("NotIn", ("1",), "b", True),
        ("Exists", (), "a", True), ("Exists", (), "b", False), ("DoesNotExist", (), "b", True),
    ):  # fmt: skip
        assert Requirement(key=key, operator=operator, values=values).holds(labels) == holds, (operator, values, key)
