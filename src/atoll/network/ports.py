"""Published ports as they are typed: `-p 8080:80`, `-p 127.0.0.1::53/udp`, `-p [::1]:8000-8009:80-89`.

Holds: `Port`, `parse`. Does not hold: taking the host's ports (`engine/networks/publish.py`), carrying packets there
(`firewall.py`, `helper/`). Source: Docker's docs, "Port publishing", and its parser's words.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.network import addresses
from atoll.spec.codec import int64, text

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_MOST = 4096


class Port(Value):
    """One port of a container, `host` on the host (0: any free one, chosen when it starts; None: exposed, not
    published) at `address` ("" for all, of IPv4 and IPv6). `within` is the last port of a range to choose from."""

    container: int
    protocol: str = "tcp"
    host: int | None = None
    address: str = ""
    within: int = 0
    WIRE = {"container": int64, "protocol": text, "host": int64, "address": text, "within": int64}

    @property
    def key(self) -> str:
        """As Docker's documents name it: `80/tcp`."""
        return f"{self.container}/{self.protocol}"


def parse(given: str) -> tuple[Port, ...]:
    """What one `-p` publishes. Raises InvalidArgument in Docker's words."""
    rest, slash, protocol = given.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise errors.InvalidArgument(f"invalid proto: {protocol!r}", hint="tcp, udp or sctp")
    address, rest = _split_address(given, rest)
    host, colon, container = rest.rpartition(":")
    if not container:
        raise errors.InvalidArgument(f"No port specified: {given}<empty>")
    low, high = _range(container, f"Invalid containerPort: {container}")
    count = high - low + 1
    if not colon or not host:
        return tuple([Port(container=low + n, protocol=protocol, host=0, address=address) for n in range(count)])
    host_low, host_high = _range(host, f"Invalid hostPort: {host}", zero=True)
    if host_low == 0:
        return tuple([Port(container=low + n, protocol=protocol, host=0, address=address) for n in range(count)])
    if count == 1 and host_high > host_low:
        return (Port(container=low, protocol=protocol, host=host_low, address=address, within=host_high),)
    if host_high - host_low != high - low:
        raise errors.InvalidArgument(f"Invalid ranges specified for container and host Ports: {container} and {host}")
    return tuple(
        [Port(container=low + n, protocol=protocol, host=host_low + n, address=address) for n in range(count)]
    )


def _split_address(given: str, rest: str) -> tuple[str, str]:
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise errors.InvalidArgument(f"Invalid ip address: {given}")
        rest = rest[1:]
    elif rest.count(":") > 2:
        raise errors.InvalidArgument(f"Invalid ip address: {given}", hint="an IPv6 address stands in brackets")
    elif rest.count(":") == 2:
        address, _, rest = rest.partition(":")
    else:
        return "", rest
    if not address:
        return "", rest
    return addresses.show(addresses.parse(address, "ip address")), rest


def parse_exposed(given: str) -> tuple[Port, ...]:
    """What one `--expose` names: `80`, `53/udp`, `7000-7009`. Raises InvalidArgument."""
    rest, slash, protocol = given.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise errors.InvalidArgument(f"invalid proto: {protocol!r}", hint="tcp, udp or sctp")
    low, high = _range(rest, f"invalid range format for --expose: {given}")
    return tuple([Port(container=port, protocol=protocol) for port in range(low, high + 1)])


def _range(text_: str, message: str, *, zero: bool = False) -> tuple[int, int]:
    low, dash, high = text_.partition("-")
    for part in (low, high) if dash else (low,):
        if not part.isascii() or not part.isdecimal() or len(part) > 5 or int(part) > 65535:
            raise errors.InvalidArgument(message, hint="ports are from 1 to 65535")
    first, last = int(low), int(high or low)
    if first > last or (first == 0 and not zero) or last - first >= _MOST:
        raise errors.InvalidArgument(message, hint=f"from low to high, at most {_MOST} ports")
    return first, last
