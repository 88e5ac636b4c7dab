"""What a network's name server knows by itself: containers' names, and who may ask for which.

Holds: `Zone` (the names of one network), `Book` (all zones, and the zones of each client). Does not hold: sockets,
the store.
"""

from __future__ import annotations

from atoll.network.dns import message
from atoll.network.dns.message import AAAA, ANY, PTR, A, Question

TTL = 5
"""Seconds. A container that comes back has another address."""


class Zone:
    """The names on a network; a name that several have gives them in turns."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._names: dict[str, list[bytes]] = {}
        self._reverse: dict[str, str] = {}

    def add(self, names: tuple[str, ...], addresses: tuple[bytes, ...]) -> None:
        """A container, its first name being what its address leads back to."""
        for name in names:
            low = name.lower().rstrip(".")
            for known in (low, f"{low}.{self.name.lower()}"):
                entry = self._names.setdefault(known, [])
                entry += [one for one in addresses if one not in entry]
        for address in addresses:
            if names:
                self._reverse.setdefault(message.reverse_name(address), f"{names[0]}.{self.name}")

    def lookup(self, question: Question) -> list[tuple[int, int, bytes]] | None:
        """Records for the question, perhaps none of that type; None for a name that is not the network's."""
        if question.kind == PTR:
            name = self._reverse.get(question.name)
            return None if name is None else [(PTR, TTL, message.write_name(name))]
        found = self._names.get(question.name)
        if found is None:
            return None
        widths = {A: (4,), AAAA: (16,), ANY: (4, 16)}.get(question.kind, ())
        wanted = [one for one in found if len(one) in widths]
        if len(found) > 1:
            found.append(found.pop(0))  # the next asker gets another one first
        return [(A if len(one) == 4 else AAAA, TTL, one) for one in wanted]


class Book:
    """All zones, and for each client's address those of its networks, its policy's name, and the upstreams that it
    asked for (none: the host's)."""

    def __init__(self) -> None:
        self.zones: dict[str, Zone] = {}
        self.clients: dict[bytes, tuple[str, ...]] = {}
        self.containers: dict[bytes, str] = {}
        self.upstreams: dict[bytes, tuple[str, ...]] = {}
        self.inside: set[bytes] = set()  # clients whose names are never asked for outside
        self.version = 0

    def lookup(self, client: bytes, question: Question) -> list[tuple[int, int, bytes]] | None:
        """As `Zone.lookup`, in the client's networks in their order."""
        for zone in self.clients.get(client, ()):
            known = self.zones.get(zone)
            found = known.lookup(question) if known is not None else None
            if found is not None:
                return found
        return None
