"""The kernel's table of connections, which all of the host shares: how full it is, and how much of it is whose.

Holds: `table`, `share`. Does not hold: the rule that keeps a container to its share (`firewall.py`), what is said of
a table that fills up (`engine/doctor`, `engine/networks/inspect.py`). Source: Documentation/networking/
nf_conntrack-sysctl.rst.

When it is full the kernel drops the first packet of every new connection, the host's own ones too; what is open goes
on. It frees by itself what was never answered or is closing, never what is established: for five days after its last
packet. So one container that opens connections and forgets them could take the whole host off the network.
"""

from __future__ import annotations

from atoll.base import files
from atoll.base.value import Value

_PLACE = "/proc/sys/net/netfilter/nf_conntrack_"
USUAL = 65536
"""Entries where the kernel does not say: its own default on a small host."""
LEAST = 1024
"""What a container may have, however small the table is."""
NEARLY = 0.8


class Table(Value):
    """Entries there are, and may be."""

    count: int
    most: int

    @property
    def nearly_full(self) -> bool:
        """Whether it is time to say so."""
        return self.count >= self.most * NEARLY


def table(root: str = "") -> Table | None:
    """Of this network namespace's host; None where the kernel tracks no connections (yet)."""
    try:
        count, most = [int(files.read_text(f"{root}{_PLACE}{name}")) for name in ("count", "max")]
    except (OSError, ValueError):
        return None
    return Table(count=count, most=most) if most > 0 else None


def share(found: Table | None) -> int:
    """How many connections a container may have at once with what is beyond its network: a quarter of the table."""
    return max(LEAST, (found.most if found is not None else USUAL) // 4)
