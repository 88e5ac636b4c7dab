"""What a request says of networks, settled: names become ids, words become ports and addresses.

Holds: `settle`, `default_network`. Does not hold: giving out addresses (`rows.claim`, at the start). Loaded only for
a container that is to be on a network, or to publish something.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, ids
from atoll.engine.networks import rows
from atoll.engine.networks.records import Membership, Network, Networking, NetworkOptions, Pool
from atoll.engine.networks.rows import NetworkRow
from atoll.network import addresses, pool, ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.network.addresses import Subnet
    from atoll.network.ports import Port
    from atoll.spec.image import RunConfig

DEFAULT = "bridge"
ALONE = ("none", "host")
WAYS_OUT = ("pasta", "slirp4netns")
CONTAINER, PATH = "container:", "ns:"
GATEWAY_WORD = "host-gateway"


def settle(engine: Engine, request: RunRequest, image: RunConfig | None) -> tuple[str, Networking | None]:
    """(network mode, networking). Raises InvalidArgument, NotFound and Conflict in Docker's words."""
    options = request.networking or NetworkOptions()
    mode = _named_or_default(engine, request, options, machine=image is None)
    uplink = _way_out(engine, mode) if mode.partition(":")[0] in WAYS_OUT else ""
    published = tuple([one for given in options.publish for one in ports.parse(given)])
    exposed = _exposed(options, image)
    if options.publish_all:
        wanted = [one for one in exposed if all(one.key != other.key for other in published)]
        published = (*published, *[one.replace(host=0) for one in wanted])
    _check_unique(published)
    if mode in ALONE or mode.startswith((CONTAINER, PATH)):
        return _without(engine, mode, options, exposed)
    if engine.uid != 0:
        _check_ordinary(published)
    named = (DEFAULT if uplink else mode, *options.networks)
    if len(set(named)) < len(named):
        raise errors.InvalidArgument(f"network {mode!r} is specified multiple times")
    wishes = [_wish(engine, name, options, first=n == 0) for n, name in enumerate(named)]
    return mode, Networking(
        networks=tuple(wishes),
        ports=published,
        exposed=exposed,
        dns=tuple([addresses.show(addresses.parse(one, "DNS server address")) for one in options.dns]),
        dns_search=options.dns_search,
        dns_options=options.dns_options,
        hosts=tuple([_host(one) for one in options.hosts]),
        egress=_egress(options.egress),
        rate_in=options.rate_in,
        rate_out=options.rate_out,
        uplink=uplink,
    )


def _named_or_default(engine: Engine, request: RunRequest, options: NetworkOptions, *, machine: bool) -> str:
    """What is named, or the default. Programs of this machine itself are alone unless somebody says more."""
    if request.network and request.network != "default":
        return request.network
    mode = engine.config.network
    if options.publish or options.publish_all:
        return mode
    if machine and not request.network:
        return "none"
    return _unless_poor(engine) if mode == DEFAULT and engine.uid != 0 else mode


def _unless_poor(engine: Engine) -> str:
    """The default network of an ordinary user; none, in a word, where all that he could have is a way out for TCP."""
    from atoll.network.rootless import uplink

    if any(one.kind != uplink.FORWARDER for one in uplink.usable(engine.environ, engine.config.uplink)):
        return DEFAULT
    if engine.config.uplink == uplink.FORWARDER:
        return DEFAULT
    why = uplink.why_not(uplink.PASTA, engine.environ)
    engine.warnings.append(f"no network: {why} (install passt, or choose --network bridge for TCP alone)")
    return "none"


def _way_out(engine: Engine, mode: str) -> str:
    """`pasta` or `slirp4netns`: the default network, with this way out and no other. Raises Unsupported."""
    from atoll.network.rootless import uplink

    kind, _, options = mode.partition(":")
    if engine.uid == 0:
        raise errors.Unsupported(f"--network {kind} is an ordinary user's way out", hint="as root: --network bridge")
    if options:
        raise errors.Unsupported(
            f"--network {kind} takes no options: its link is shared by all of this user's networks",
            hint="--network-rate-in, --egress, network create -o mtu=… are for single networks and containers",
        )
    if not uplink.usable(engine.environ, kind):
        raise errors.Unsupported(
            f"--network {kind}: {uplink.why_not(kind, engine.environ)}", hint="--network bridge takes what there is"
        )
    return kind


def _check_ordinary(published: tuple[Port, ...]) -> None:
    """What an ordinary user's ports cannot be. Raises Unsupported."""
    for one in published:
        if one.protocol == "sctp":
            raise errors.Unsupported(
                "an ordinary user's helper carries TCP and UDP, not SCTP", hint="publish it as root, or use TCP"
            )


def _without(
    engine: Engine, mode: str, options: NetworkOptions, exposed: tuple[Port, ...]
) -> tuple[str, Networking | None]:
    """A container on no network of ours: what asks for one is a contradiction."""
    if options.egress or options.rate_in or options.rate_out:
        raise errors.InvalidArgument(
            f"conflicting options: --egress and rates need a network, not {mode}", hint="--network bridge"
        )
    if options.address or options.address6:
        raise errors.InvalidArgument("user specified IP address is supported on user defined networks only")
    if options.aliases:
        raise errors.InvalidArgument("network-scoped aliases are only supported for user-defined networks")
    if mode.startswith(CONTAINER):
        if options.publish or options.publish_all:
            raise errors.InvalidArgument(
                "conflicting options: port publishing and the container type network mode",
                hint="publish it with the container whose network it is",
            )
        for flag, given in (("dns", options.dns), ("add-host", options.hosts), ("mac-address", options.mac)):
            if given:
                raise errors.InvalidArgument(f"conflicting options: {flag} and the container type network mode")
        return CONTAINER + engine.store.container(mode.removeprefix(CONTAINER)).id, None
    if mode.startswith(PATH) and not mode.removeprefix(PATH).startswith("/"):
        raise errors.InvalidArgument(f"invalid network {mode!r}", hint="write ns:/PATH")
    if mode.startswith(PATH) and engine.uid != 0 and (theirs := _container_at(engine, mode.removeprefix(PATH))):
        return CONTAINER + theirs, None
    hosts = tuple([_host(one) for one in options.hosts])
    plain = Networking(
        exposed=exposed,
        dns=options.dns,
        dns_search=options.dns_search,
        dns_options=options.dns_options,
        hosts=hosts,
    )
    return mode, None if plain == Networking() else plain


def _container_at(engine: Engine, path: str) -> str:
    """The container whose process a path such as /proc/7/ns/net names: an ordinary user enters that namespace by way
    of the container's user namespace only, which is what joining the container does."""
    words = path.split("/")
    if words[:2] != ["", "proc"] or words[3:] != ["ns", "net"]:
        return ""
    from atoll.engine.containers.state import state_of

    for row in engine.store.containers():
        if str(state_of(engine, row.id).pid) == words[2]:
            return row.id
    return ""


def _exposed(options: NetworkOptions, image: RunConfig | None) -> tuple[Port, ...]:
    given = [one for text in options.expose for one in ports.parse_exposed(text)]
    given += [one for text in getattr(image, "exposed_ports", ()) or () for one in ports.parse_exposed(text)]
    return tuple({one.key: one for one in given}.values())


def _check_unique(published: tuple[Port, ...]) -> None:
    seen = set()
    for one in published:
        key = (one.protocol, one.address, one.host)
        if one.host and not one.within and key in seen:
            raise errors.Conflict(
                f"Bind for {one.address or '0.0.0.0'}:{one.host} failed: port is already allocated",
                hint="it is published twice",
            )
        seen.add(key)


def _wish(engine: Engine, name: str, options: NetworkOptions, *, first: bool) -> Membership:
    """`NAME`, or in Docker's longer form `name=NET,alias=…,ip=…,ip6=…,mac-address=…`."""
    aliases, address, address6, mac = ((), None, None, None) if not first else (
        options.aliases, options.address, options.address6, options.mac
    )  # fmt: skip
    if "=" in name:
        fields = [part.partition("=") for part in name.split(",")]
        unknown = {key for key, _, _ in fields} - {"name", "alias", "ip", "ip6", "mac-address"}
        if unknown:
            raise errors.InvalidArgument(f"invalid field key {', '.join(sorted(unknown))}")
        known = {key: value for key, _, value in fields}
        name = known.get("name", "")
        aliases = (*aliases, *[value for key, _, value in fields if key == "alias"])
        address, address6 = known.get("ip") or address, known.get("ip6") or address6
        mac = known.get("mac-address") or mac
    row = named(engine, name)
    return wish_on(row, aliases=aliases, address=address, address6=address6, mac=mac)


def named(engine: Engine, name: str) -> NetworkRow:
    """The network that somebody typed: the default one and those of plug-ins are made when they are first asked for.
    Raises NotFound, Unsupported."""
    if name == DEFAULT:
        return default_network(engine)
    if name.startswith("cni:"):
        from atoll.engine.networks import cni

        return cni.row_of(engine, name)
    return rows.find(engine.store, name)


def wish_on(
    row: NetworkRow,
    *,
    aliases: tuple[str, ...] = (),
    address: str | None = None,
    address6: str | None = None,
    mac: str | None = None,
) -> Membership:
    """A membership that the network can grant. Raises InvalidArgument."""
    wish = Membership(
        network=row.id,
        aliases=aliases,
        address=addresses.show(addresses.parse(address)) if address else "",
        address6=addresses.show(addresses.parse(address6)) if address6 else "",
        mac=addresses.show_mac(addresses.parse_mac(mac)) if mac else "",
    )
    if row.network.driver == "cni":  # what its plug-ins cannot do is said when they are asked
        return wish
    if aliases and not row.network.names:
        raise errors.InvalidArgument("network-scoped aliases are only supported for user-defined networks")
    for text in (address, address6):
        if text:
            packed = addresses.parse(text)
            fitting = [one for one in row.network.pools if len(one.net.base) == len(packed)]
            inside = next((one for one in fitting if one.net.holds(packed)), None)
            if inside is None:
                raise errors.InvalidArgument(
                    f"no configured subnet or ip-range contain the IP address {addresses.show(packed)}",
                    hint=f"network {row.name} has " + ", ".join([one.subnet for one in row.network.pools]),
                )
            pool.check_static(packed, inside.net, inside.door)
    return wish


def _host(given: str) -> str:
    """`NAME:ADDRESS` of --add-host, or with `=`."""
    name, separator, address = given.partition("=") if "=" in given else given.partition(":")
    if not name or not separator or any(c.isspace() for c in given):
        raise errors.InvalidArgument(f"bad format for add-host: {given!r}", hint="write NAME:ADDRESS")
    address = address.strip("[]")
    if address != GATEWAY_WORD:
        address = addresses.show(addresses.parse(address, "IP address in add-host"))
    return f"{name}:{address}"


def _egress(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given:
        return ()
    from atoll.network import egress

    egress.parse(given)
    return given


# --- the default network --------------------------------------------------------------------------------------------


def default_network(engine: Engine) -> NetworkRow:
    """The network `bridge`, made when somebody first asks for it."""
    try:
        return rows.find(engine.store, DEFAULT)
    except errors.NotFound:
        pass
    link = _default_link(engine)
    subnet = _left_by_another(engine, link) or pool.free_subnet(taken_subnets(engine), default=True)
    made = Network(
        pools=(Pool(subnet=str(subnet), gateway=addresses.show(subnet.at(1))),),
        link=link,
        names=False,
    )
    row = NetworkRow(id=ids.new_id(), name=DEFAULT, created_at=time.time_ns(), network=made)
    try:
        rows.add(engine.store, row)
    except errors.Conflict:  # another command was first
        return rows.find(engine.store, DEFAULT)
    return row


def _default_link(engine: Engine) -> str:
    """`atoll0`; another store on the same host gets another bridge."""
    if engine.uid == 0 and engine.paths.data == "/var/lib/atoll":
        return "atoll0"
    return f"at-{hash_of(engine.paths.data)}"


def _left_by_another(engine: Engine, link: str) -> Subnet | None:
    """The subnet of a bridge that is there under our name already: of a store whose directory was removed, where
    another one is now. It is up and has its address, so this one goes on with it."""
    if engine.uid != 0:
        return None
    from atoll.linux import rtnetlink
    from atoll.linux.netlink import NETLINK_ROUTE, Netlink

    try:
        sock = Netlink(NETLINK_ROUTE)
        try:
            there = rtnetlink.link(sock, link)
            if there is None or there.kind != "bridge":
                return None
            found = [(at, prefix) for index, at, prefix in rtnetlink.addresses(sock) if index == there.index]
        finally:
            sock.close()
    except OSError as error:
        raise errors.from_os_error(error, f"look for the bridge {link}") from error
    ours = [one.net for row in rows.every(engine.store) for one in row.network.pools]
    for at, prefix in found:
        subnet = addresses.network_of(at, prefix)
        if not subnet.six and at == subnet.at(1) and not any(subnet.overlaps(one) for one in ours):
            return subnet
    return None


def hash_of(text: str) -> str:
    """Eight hex digits of a text, the same ones each time (FNV-1a; nothing hangs on more)."""
    value = 0x811C9DC5
    for byte in os.fsencode(text):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def taken_subnets(engine: Engine) -> list[Subnet]:
    """What a new subnet may not overlap: other networks, the host's routes and resolvers."""
    from atoll.linux import rtnetlink
    from atoll.linux.netlink import NETLINK_ROUTE, Netlink

    found = [one.net for row in rows.every(engine.store) for one in row.network.pools]
    try:
        sock = Netlink(NETLINK_ROUTE)
        try:
            routes = [*rtnetlink.routes(sock), *rtnetlink.routes(sock, 10)]
        finally:
            sock.close()
    except OSError as error:
        raise errors.from_os_error(error, "list the host's routes") from error
    found += [addresses.network_of(to, prefix) for to, prefix, _, _ in routes if to]
    return found
