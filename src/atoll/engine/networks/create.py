"""network create."""

from __future__ import annotations

import time

from atoll.base import errors, ids
from atoll.base.value import Value
from atoll.engine.events import note
from atoll.engine.networks import rows, settle
from atoll.engine.networks.records import Network, Pool
from atoll.engine.networks.rows import NetworkRow
from atoll.network import addresses, pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

RESERVED = ("bridge", "default", "host", "none")
DRIVERS = ("bridge", "macvlan")
# Docker's words for a bridge's options, and Podman's for the same.
_MTU = ("com.docker.network.driver.mtu", "mtu")
_NAME = "com.docker.network.bridge.name"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_ICC = ("com.docker.network.bridge.enable_icc", "isolate")
_KNOWN = (*_MTU, _NAME, _MASQUERADE, *_ICC, "parent", "macvlan_mode", "mode", "policy",
          "com.docker.network.bridge.host_binding_ipv4", "com.docker.network.bridge.default_bridge")  # fmt: skip


class CreateRequest(Value):
    """What `network create` asks for, as typed."""

    name: str
    driver: str = "bridge"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    reserved: tuple[tuple[str, str], ...] = ()
    internal: bool = False
    ipv6: bool = False
    names: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


def create(engine: Engine, request: CreateRequest) -> str:
    """Make a network, which has a link once a container is on it; its id.

    Raises InvalidArgument, Conflict, NotFound (driver), Exhausted (no subnet left), Unsupported.
    """
    if engine.uid != 0 and request.driver not in ("bridge", ""):
        raise errors.Unsupported(
            f"an ordinary user cannot put containers on the host's links, as a {request.driver} network would",
            hint="--driver bridge",
        )
    if not (
        ids.valid_name(request.name) or (len(request.name) == 1 and request.name.isalnum())
    ) or request.name.startswith(("container:", "ns:")):
        raise errors.InvalidArgument(
            f"invalid network name: {request.name!r}", hint="letters, digits, '_', '.' and '-'"
        )
    if request.name in RESERVED:
        raise errors.Denied(f"operation is not permitted on predefined {request.name} network")
    if request.driver not in DRIVERS:
        raise errors.NotFound(f'could not find plugin {request.driver} in v1 plugin registry: plugin not found',
                              hint="drivers here are " + ", ".join(DRIVERS))  # fmt: skip
    network_id = ids.new_id()
    options = dict(request.options)
    for key in options:
        if key not in _KNOWN:
            raise errors.InvalidArgument(f"unknown option {key!r}", hint="known are " + ", ".join(_KNOWN))
    pools = _pools(engine, request)
    made = Network(
        driver=request.driver,
        pools=pools,
        link=_link(request, options, network_id),
        internal=request.internal,
        ipv6=request.ipv6 or any(one.net.six for one in pools),
        mtu=_mtu(options),
        masquerade=_on(options.get(_MASQUERADE, "true"), _MASQUERADE),
        apart=not _on(options.get(_ICC[0], "true"), _ICC[0]) or _on(options.get(_ICC[1], "false"), _ICC[1]),
        names=request.names and request.driver == "bridge",
        mode=_mode(options) if request.driver == "macvlan" else "",
        policy=_policy(request, options),
        labels=request.labels,
        options=request.options,
    )
    row = NetworkRow(id=network_id, name=request.name, created_at=time.time_ns(), network=made)
    rows.add(engine.store, row)
    note.note(engine, "network", "create", network_id, name=request.name, type=request.driver)
    return network_id


def _policy(request: CreateRequest, options: dict[str, str]) -> str:
    """What holds for containers that no policy selects: everything, or with deny, deny-in, deny-out nothing."""
    from atoll.network.netpolicy import DEFAULTS

    word = options.get("policy", "")
    if word and (word not in DEFAULTS or request.driver != "bridge"):
        raise errors.InvalidArgument(
            f"invalid policy: {word!r}", hint="one of " + ", ".join(DEFAULTS) + ", on a bridge"
        )
    return word


def _on(value: str, name: str) -> bool:
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise errors.InvalidArgument(f"invalid value for {name}: {value!r}", hint="true or false")


def _mtu(options: dict[str, str]) -> int:
    value = next((options[key] for key in _MTU if key in options), "0")
    if not value.isdecimal() or (int(value) and not 68 <= int(value) <= 65535):
        raise errors.InvalidArgument(f"invalid mtu: {value!r}", hint="from 68 (1280 with IPv6) to 65535")
    return int(value)


def _mode(options: dict[str, str]) -> str:
    from atoll.linux.rtnetlink import MACVLAN_MODES

    mode = options.get("macvlan_mode") or options.get("mode") or "bridge"
    if mode not in MACVLAN_MODES:
        raise errors.InvalidArgument(f"invalid macvlan mode: {mode!r}", hint="one of " + ", ".join(MACVLAN_MODES))
    return mode


def _link(request: CreateRequest, options: dict[str, str], network_id: str) -> str:
    if request.driver == "macvlan":
        return options.get("parent", "")
    name = options.get(_NAME, f"br-{network_id[:12]}")
    if not 0 < len(name.encode()) < 16 or "/" in name or any(c.isspace() for c in name):
        raise errors.InvalidArgument(f"invalid bridge name: {name!r}", hint="at most 15 bytes, no '/', no space")
    return name


def _pools(engine: Engine, request: CreateRequest) -> tuple[Pool, ...]:
    nets = [addresses.parse_subnet(one, strict=False) for one in request.subnets]
    taken = settle.taken_subnets(engine)
    if not any(not one.six for one in nets):
        if request.driver == "macvlan":
            raise errors.InvalidArgument("a macvlan network needs --subnet", hint="that of the parent's network")
        nets.insert(0, pool.free_subnet(taken))
    if request.ipv6 and not any(one.six for one in nets):
        nets.append(pool.unique_local())
    if request.driver == "bridge":
        for one in nets:
            if any(one.overlaps(other) for other in taken if str(other) not in ("0.0.0.0/0", "::/0")):
                raise errors.InvalidArgument(
                    "Pool overlaps with other one on this address space", hint=f"{one} is in use on this host"
                )
    gateways = [addresses.parse(one, "gateway") for one in request.gateways]
    ranges = [addresses.parse_subnet(one, "ip-range") for one in request.ranges]
    return tuple([_pool(net, gateways, ranges, request) for net in nets])


def _pool(
    net: addresses.Subnet, gateways: list[bytes], ranges: list[addresses.Subnet], request: CreateRequest
) -> Pool:
    for gateway in gateways:
        if not any(addresses.parse_subnet(one).holds(gateway) for one in request.subnets):
            raise errors.InvalidArgument(f"no matching subnet for gateway {addresses.show(gateway)}")
    for one in ranges:
        if not any(addresses.parse_subnet(sub).holds(one.base) for sub in request.subnets):
            raise errors.InvalidArgument(f"no matching subnet for range {one}")
    if net.size < 4 and request.driver == "bridge":
        raise errors.InvalidArgument(f"subnet {net} is too small", hint="/30 (or /126) at least")
    door = next((one for one in gateways if net.holds(one)), None)
    if door is None and not (request.driver == "macvlan" and not request.gateways):
        door = net.at(1)
    within = next((one for one in ranges if net.holds(one.base)), None)
    return Pool(
        subnet=str(net),
        gateway=addresses.show(door) if door else "",
        range=str(within) if within else "",
        reserved=tuple([(k, v) for k, v in request.reserved if net.holds(addresses.parse(v))]),
    )
