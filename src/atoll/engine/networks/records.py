"""What is remembered of networks and of containers' wishes about them.

Holds: `Network`, `Pool`, `Membership`, `Networking`, `NetworkOptions`, and their JSON. Does not hold: `rows.py`.
Addresses are text here, as in every document that people see.
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.network import addresses
from atoll.network.addresses import Subnet
from atoll.network.bridge import Bridge
from atoll.network.ports import Port
from atoll.spec import codec
from atoll.spec.codec import flag, int64, list_of, map_of, text

_texts = list_of(text)


class Pool(Value):
    """A subnet of a network: its gateway ("" for none) and the range that containers get theirs from ("": all)."""

    subnet: str
    gateway: str = ""
    range: str = ""
    reserved: tuple[tuple[str, str], ...] = ()
    WIRE = {"subnet": text, "gateway": text, "range": text, "reserved": map_of(text)}

    @property
    def net(self) -> Subnet:
        """The subnet."""
        return addresses.parse_subnet(self.subnet)

    @property
    def within(self) -> Subnet:
        """The range."""
        return addresses.parse_subnet(self.range or self.subnet)

    @property
    def door(self) -> bytes | None:
        """The gateway, packed."""
        return addresses.parse(self.gateway) if self.gateway else None


class Network(Value):
    """A network, once and for all. `link` is the bridge's name, or the parent of a macvlan; `names`: containers on it
    know one another by name; `mode` is a macvlan's."""

    driver: str = "bridge"
    pools: tuple[Pool, ...] = ()
    link: str = ""
    internal: bool = False
    ipv6: bool = False
    mtu: int = 0
    masquerade: bool = True
    apart: bool = False
    names: bool = True
    mode: str = ""
    policy: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    WIRE = {
        "driver": text,
        "pools": list_of(codec.record(Pool)),
        "link": text,
        "internal": flag,
        "ipv6": flag,
        "mtu": int64,
        "masquerade": flag,
        "apart": flag,
        "names": flag,
        "mode": text,
        "policy": text,
        "labels": map_of(text),
        "options": map_of(text),
    }

    @property
    def bridge(self) -> Bridge:
        """What `network/bridge.py` makes of it."""
        return Bridge(
            name=self.link,
            subnets=tuple([pool.net for pool in self.pools]),
            gateways=tuple([pool.door for pool in self.pools if pool.door is not None]),
            mtu=self.mtu,
            internal=self.internal,
            masquerade=self.masquerade,
            apart=self.apart,
        )

    def gateway(self, width: int) -> bytes | None:
        """The gateway of the family with addresses of `width` bytes."""
        return next((p.door for p in self.pools if p.door is not None and len(p.door) == width), None)


class Membership(Value):
    """A container's place on a network, as wished: "" leaves the choice to the network."""

    network: str
    aliases: tuple[str, ...] = ()
    address: str = ""
    address6: str = ""
    mac: str = ""
    WIRE = {"network": text, "aliases": _texts, "address": text, "address6": text, "mac": text}


class NetworkOptions(Value):
    """The flags of `run` and `create` about networks, as typed; rates in bytes a second."""

    publish: tuple[str, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    address: str | None = None
    address6: str | None = None
    mac: str | None = None
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    rate_in: int = 0
    rate_out: int = 0


class Networking(Value):
    """The same, settled: ids instead of names, ports instead of words. `networks` are those asked for at creation;
    the rows have what `connect` and `disconnect` made of it. `uplink` is the only way out that will do, of an
    ordinary user's."""

    networks: tuple[Membership, ...] = ()
    ports: tuple[Port, ...] = ()
    exposed: tuple[Port, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    rate_in: int = 0
    rate_out: int = 0
    uplink: str = ""
    WIRE = {
        "networks": list_of(codec.record(Membership)),
        "ports": list_of(codec.record(Port)),
        "exposed": list_of(codec.record(Port)),
        "dns": _texts,
        "dns_search": _texts,
        "dns_options": _texts,
        "hosts": _texts,
        "egress": _texts,
        "rate_in": int64,
        "rate_out": int64,
        "uplink": text,
    }
