"""Policies between containers: from policies and who is there to who may reach whom, a pure function.

Holds: `Member`, `judge` (all that a network's policies come to, as boxes of addresses and ports), `Judgement.allows`.
Does not hold: documents (`spec/networkpolicy.py`), the rules of the kernel that ask the boxes (`judging.py`).

A container is closed in a direction once a policy (or the network's default) selects it for that; then what some
policy allows is open, and nothing else. A connection is open if the side that begins it may go out and the other lets
it in.
"""

from __future__ import annotations

import itertools

from atoll.base.value import Value
from atoll.network import addresses
from atoll.spec.networkpolicy import NAME_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from atoll.spec.networkpolicy import NetworkPolicy, Peer, PortRange, Rule

NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
DENY_IN, DENY_OUT, DENY = "deny-in", "deny-out", "deny"
DEFAULTS = (DENY, DENY_IN, DENY_OUT)
_ALL_PORTS = ((0, 65535),)
_ANY = -1  # every protocol, in `_Ports`

Span = tuple[int, int]
"""From and to, both in it."""


class Member(Value):
    """A container as policies see it: on networks (by name) with addresses."""

    id: str
    labels: tuple[tuple[str, str], ...] = ()
    places: tuple[tuple[str, tuple[bytes, ...]], ...] = ()

    def on(self, network: str) -> tuple[bytes, ...] | None:
        """Its addresses there; None where it is not on it."""
        return next((own for name, own in self.places if name == network), None)

    @property
    def everywhere(self) -> tuple[bytes, ...]:
        """All its addresses."""
        return tuple([one for _, own in self.places for one in own])


class Box(Value):
    """One disjoint part of what is open to or from `own`: peers, a protocol or all (0 to 255), ports."""

    own: bytes
    peers: Span
    protocols: Span
    ports: Span

    def holds(self, peer: bytes, protocol: int, port: int) -> bool:
        """Whether it is about this."""
        number = int.from_bytes(peer, "big")
        return (
            len(peer) == len(self.own)
            and self.peers[0] <= number <= self.peers[1]
            and self.protocols[0] <= protocol <= self.protocols[1]
            and self.ports[0] <= port <= self.ports[1]
        )


class Judgement(Value):
    """Addresses that are closed in each direction, and what is open of them all the same."""

    closed_in: frozenset[bytes] = frozenset()
    closed_out: frozenset[bytes] = frozenset()
    boxes_in: tuple[Box, ...] = ()
    boxes_out: tuple[Box, ...] = ()

    def lets_in(self, own: bytes, peer: bytes, protocol: int, port: int) -> bool:
        """Whether the owner of `own` takes what a peer begins."""
        found = [one for one in self.boxes_in if one.own == own]
        return own not in self.closed_in or any(one.holds(peer, protocol, port) for one in found)

    def lets_out(self, own: bytes, peer: bytes, protocol: int, port: int) -> bool:
        """Whether it may begin this itself."""
        found = [one for one in self.boxes_out if one.own == own]
        return own not in self.closed_out or any(one.holds(peer, protocol, port) for one in found)

    def allows(self, source: bytes, target: bytes, protocol: int, port: int) -> bool:
        """Both sides' word, as far as they are of this network."""
        return self.lets_out(source, target, protocol, port) and self.lets_in(target, source, protocol, port)


def judge(
    network: str,
    policies: Sequence[NetworkPolicy],
    members: Sequence[Member],
    labels_of: Mapping[str, Mapping[str, str]],
    default: str = "",
) -> Judgement:
    """What `policies` of `network` come to. `members` are all containers, on whatever networks; `labels_of` are the
    labels of networks by name; `default` is one of DEFAULTS or ""."""
    closed_in: set[bytes] = set()
    closed_out: set[bytes] = set()
    boxes_in: list[Box] = []
    boxes_out: list[Box] = []
    for member in members:
        own = member.on(network)
        if own is None:
            continue
        mine = [one for one in policies if one.selector.selects(dict(member.labels))]
        ingress = [one.ingress for one in mine if one.ingress is not None]
        egress = [one.egress for one in mine if one.egress is not None]
        for rules, closed, boxes, word in (
            (ingress, closed_in, boxes_in, DENY_IN),
            (egress, closed_out, boxes_out, DENY_OUT),
        ):
            if not rules and default not in (DENY, word):
                continue
            closed.update(own)
            flat = list(itertools.chain.from_iterable(rules))
            for address in own:
                boxes += _boxes(address, flat, network, members, labels_of)
    return Judgement(
        closed_in=frozenset(closed_in),
        closed_out=frozenset(closed_out),
        boxes_in=tuple(boxes_in),
        boxes_out=tuple(boxes_out),
    )


# --- boxes ----------------------------------------------------------------------------------------------------------

_Ports = dict[int, tuple[Span, ...]]


def _boxes(
    own: bytes,
    rules: Sequence[Rule],
    network: str,
    members: Sequence[Member],
    labels_of: Mapping[str, Mapping[str, str]],
) -> list[Box]:
    """Disjoint boxes of what rules open: the kernel's set of ranges takes no two that overlap."""
    whole = (0, (1 << 8 * len(own)) - 1)
    found: list[tuple[Span, tuple[PortRange, ...] | None]] = []
    for rule in rules:
        peers = [whole] if rule.peers is None else [
            span for peer in rule.peers for span in _spans(peer, len(own), network, members, labels_of)
        ]  # fmt: skip
        found += [(span, rule.ports) for span in peers]
    boxes = []
    for piece, ports in _flattened(found):
        for protocol, spans in sorted(ports.items()):
            protocols = (0, 255) if protocol == _ANY else (protocol, protocol)
            boxes += [Box(own=own, peers=piece, protocols=protocols, ports=span) for span in spans]
    return boxes


def _spans(
    peer: Peer, width: int, network: str, members: Sequence[Member], labels_of: Mapping[str, Mapping[str, str]]
) -> list[Span]:
    if peer.block:
        block = addresses.parse_subnet(peer.block, "ipBlock")
        if len(block.base) != width:
            return []
        spans: list[Span] = [(block.first, block.end - 1)]
        for text in peer.parts:
            part = addresses.parse_subnet(text, "ipBlock.except")
            if len(part.base) == width:
                spans = [rest for span in spans for rest in _without(span, (part.first, part.end - 1))]
        return spans
    names = [network] if peer.networks is None else [
        name for name, labels in labels_of.items() if peer.networks.selects({NAME_LABEL: name, **labels})
    ]  # fmt: skip
    found: list[Span] = []
    for member in members:
        if not any(member.on(name) is not None for name in names):
            continue
        if peer.pods is not None and not peer.pods.selects(dict(member.labels)):
            continue
        numbers = [int.from_bytes(one, "big") for one in member.everywhere if len(one) == width]
        found += [(number, number) for number in numbers]
    return found


def _without(span: Span, part: Span) -> list[Span]:
    left, right = (span[0], min(span[1], part[0] - 1)), (max(span[0], part[1] + 1), span[1])
    return [one for one in (left, right) if one[0] <= one[1]]


def _flattened(found: Sequence[tuple[Span, tuple[PortRange, ...] | None]]) -> list[tuple[Span, _Ports]]:
    """Peers cut at every edge, each piece with the ports of all that cover it; neighbours that agree are one."""
    edges = sorted({edge for (low, high), _ in found for edge in (low, high + 1)})
    pieces: list[tuple[Span, _Ports]] = []
    for low, after in itertools.pairwise(edges):
        covering = [ports for (first, last), ports in found if first <= low <= last]
        if not covering:
            continue
        ports = _union(covering)
        if pieces and pieces[-1][0][1] == low - 1 and pieces[-1][1] == ports:
            pieces[-1] = ((pieces[-1][0][0], after - 1), ports)
        else:
            pieces.append(((low, after - 1), ports))
    return pieces


def _union(several: Iterable[tuple[PortRange, ...] | None]) -> _Ports:
    wanted: dict[int, list[Span]] = {}
    for ports in several:
        if ports is None:
            return {_ANY: _ALL_PORTS}
        for one in ports:
            wanted.setdefault(NUMBERS[one.protocol], []).append((one.first, one.last))
    return {protocol: _merged(spans) for protocol, spans in wanted.items()}


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
