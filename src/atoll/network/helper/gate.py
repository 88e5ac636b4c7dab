"""What a container's policy opens: names that were asked for become addresses in nftables sets, for their TTL.

Holds: `Gate`. Does not hold: the policy's grammar (`egress.py`), the rules (`firewall.py`). Private addresses are
never opened for a name: a name is not to lead inside (DNS rebinding). All that is refused is told, with its reason.
"""

from __future__ import annotations

import struct
import time

from atoll.linux import nftables as nft
from atoll.linux.nftables import INET, Element
from atoll.network import addresses
from atoll.network.dns import message
from atoll.network.dns.message import Question
from atoll.network.egress import _PROTOCOLS, Policy
from atoll.network.firewall import PRIVATE4, PRIVATE6, TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.linux.netlink import Netlink

LEAST_SECONDS = 60
GRACE = 5
MOST_OPEN = 8192
_INSIDE = tuple([addresses.parse_subnet(one) for one in (*PRIVATE4, *PRIVATE6)])


def is_inside(address: bytes) -> bool:
    """Whether an address is private, local or special, or stands for an IPv4 one that is."""
    four = addresses.mapped(address)
    return any(one.holds(address) for one in _INSIDE) or four is not None


class Gate:
    """`filters` reaches nftables where the containers' traffic passes; `port` is the proxy's; `tell` gets what was
    refused: (container, what, reason)."""

    def __init__(self, filters: Netlink, port: int, tell: Callable[[str, str, str], None]) -> None:
        self.filters, self.port, self.tell = filters, port, tell
        self.policies: dict[bytes, Policy] = {}
        self.containers: dict[bytes, str] = {}
        # (container, address) -> the names that it stands for, each until when.
        self._names: dict[tuple[str, bytes], dict[str, float]] = {}

    def limits(self, client: bytes) -> bool:
        """Whether the client has a policy."""
        return client in self.policies

    def may_ask(self, client: bytes, question: Question) -> bool:
        """Whether the client may know the name's addresses."""
        policy = self.policies[client]
        if policy.may_ask(question.name):
            return True
        self.tell(self.containers.get(client, ""), f"name {question.name}", "no rule allows it")
        return False

    def opened(self, client: bytes, question: Question, answer: bytes) -> bytes:
        """Open what the answer says before the client hears it; the answer without what is not opened. Raises
        Malformed, OSError."""
        policy, container = self.policies[client], self.containers.get(client, "")
        flags, count, found = message.records(answer)
        rules = policy.rules_for(question.name)
        wanted = [one for one in found[:count] if one.kind in (message.A, message.AAAA)]
        if question.kind not in (message.A, message.AAAA) or not wanted:
            return answer
        kept = []
        for one in wanted:
            if len(one.data) not in (4, 16) or (is_inside(one.data) and not self._named(policy, one.data)):
                what = f"name {question.name}"
                self.tell(container, what, f"it leads to {_shown(one.data)}, which is private")
                continue
            kept.append(one)
        if rules and kept:
            self._open(client, container, rules, question.name, [(one.data, one.ttl) for one in kept])
        records = [(one.kind, one.ttl, one.data) for one in kept]
        return message.answer(question, records, code=flags & 15, own=False)

    def _named(self, policy: Policy, address: bytes) -> bool:
        return any(rule.subnet.holds(address) for rule in policy.nets)

    def _open(
        self, client: bytes, container: str, rules: tuple[object, ...], name: str, found: list[tuple[bytes, int]]
    ) -> None:
        from atoll.network.egress import NameRule

        if len(self._names) > MOST_OPEN:
            self._forget()
        sources = [one for one, known in self.containers.items() if known == container] or [client]
        for address, ttl in found:
            seconds = max(ttl, LEAST_SECONDS) + GRACE
            self._names.setdefault((container, address), {})[name] = time.monotonic() + seconds
            for source in [one for one in sources if len(one) == len(address)]:
                for rule in rules:
                    assert isinstance(rule, NameRule)
                    for port in rule.ports:
                        self._put(source, address, port, rule.protocol, seconds * 1000)

    def _put(self, source: bytes, address: bytes, port: int, protocol: str, timeout: int) -> None:
        six = "6" if len(address) == 16 else "4"
        there = struct.pack(">HH", port, 0)
        if protocol:
            key = source + address + bytes((_PROTOCOLS[protocol], 0, 0, 0)) + there
            name, data = "open" + six, None
        else:
            key, name, data = source + address + there, "proxy" + six, struct.pack(">H", self.port)
        element = Element(key, data, timeout=timeout)
        # Taken out and put in again in one batch: so its time begins anew on every kernel.
        try:
            nft.commit(
                self.filters,
                [
                    nft.destroy_elements(INET, TABLE, name, [element]),
                    nft.add_elements(INET, TABLE, name, [element]),
                ],
            )
        except OSError:
            nft.commit(self.filters, [nft.add_elements(INET, TABLE, name, [element])])

    def _forget(self) -> None:
        now = time.monotonic()
        self._names = {key: names for key, names in self._names.items() if max(names.values()) > now}

    def stands_for(self, client: bytes, address: bytes, name: str) -> bool:
        """Whether the name was resolved to that address for this client."""
        known = self._names.get((self.containers.get(client, ""), address), {})
        return name in known

    def allows(self, client: bytes, name: str, port: int) -> bool:
        """Whether a rule allows the client this name at this port, said in the connection."""
        policy = self.policies.get(client)
        if policy is None:
            return False
        return any(port in rule.ports and not rule.protocol for rule in policy.rules_for(name))


def _shown(address: bytes) -> str:
    return addresses.show(address) if len(address) in (4, 16) else address.hex()
