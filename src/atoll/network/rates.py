"""Bandwidth of a container: what it receives waits in a token bucket, what it sends is policed as it comes in.

Holds: `limit`. Does not hold: the queue itself (`linux/tc.py`). What a container sends is held by a rule of a netdev
table of its own port's: it goes with the port, and the container cannot reach it.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.linux import nftables as nft
from atoll.linux import rtnetlink, tc
from atoll.linux.nftables import NETDEV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.network.bridge import Host

TABLE = "atoll"
_LEAST_BURST = 64 << 10


def burst_of(rate: int) -> int:
    """What may pass at once: a tenth of a second's worth, and at least one large segment."""
    return min(max(rate // 10, _LEAST_BURST), 1 << 24)


def limit(host: Host, link: str, *, inward: int, outward: int) -> None:
    """Hold a port to rates in bytes a second, as the container sees them; 0 for none. Raises AtollError."""
    try:
        found = rtnetlink.link(host.route, link)
        if found is None:
            raise errors.FailedPrecondition(f"cannot limit {link}: it is gone")
        if inward:
            host.route.send([tc.token_bucket(found.index, inward, burst_of(inward))])
        else:
            host.route.send([tc.delete_root(found.index)])
        messages = [
            nft.add_table(NETDEV, TABLE),
            nft.add_chain(NETDEV, TABLE, link, kind="filter", hook=nft.INGRESS_NETDEV, device=link),
            nft.flush_chain(NETDEV, TABLE, link),
        ]
        if outward:
            messages.append(nft.add_rule(NETDEV, TABLE, link, nft.over_rate(outward, burst_of(outward)), nft.drop()))
            host.commit(messages)
    except OSError as error:
        raise errors.from_os_error(error, f"limit the rate of {link}") from error
