"""A container and its networks: before its processes are made, and once its network namespace is there.

Holds: `prepare` and `attach`, each one flat order, and `reattach` for a network more or less while it runs. Does not
hold: their undo after the end (`release.py`), which is also what undoes them when they fail or are killed: every step
here writes down what it takes before it takes it.

    command                                          kernel, disk
    prepare   1 rows: addresses                      nothing yet
              2 rows: ports, bound                   sockets
              3 /etc/hosts, /etc/resolv.conf         files of the bundle
              4 tables, bridges                      shared, stay while somebody is on them
    (the level makes the container, which waits)
    attach    5 port by port: elements, veth, inside
              6 publications, policy, rates
              7 the helper is told
    (the container is started)
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.engine.events import note
from atoll.engine.networks import outer, publish, resolver, rows
from atoll.engine.networks.records import Networking
from atoll.network import addresses, firewall
from atoll.network import bridge as bridges
from atoll.spec import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.publish import Held
    from atoll.engine.networks.rows import Endpoint, NetworkRow
    from atoll.isolation.protocol import ContainerPlan
    from atoll.linux.netlink import Netlink
    from atoll.network.bridge import Host

FILE = "network.json"
"""In the bundle of every container that is on a network: its wishes (`records.Networking`), and its names."""


class Prepared:
    """What `prepare` leaves for `attach`. `ns` is the container's network namespace, where that was handed over."""

    def __init__(
        self, networking: Networking, names: tuple[str, ...], networks: list[tuple[NetworkRow, Endpoint]], held: Held
    ) -> None:
        self.networking, self.names, self.networks, self.held = networking, names, networks, held
        self.host: Host | None = None
        self.masters: dict[str, int] = {}
        self.ns = -1

    def is_ours(self) -> bool:
        """Whether one of the networks is not of CNI plug-ins, and so needs links and rules of ours."""
        return any(row.network.driver != "cni" for row, _ in self.networks)

    def close(self) -> None:
        """Let go of sockets; what is written down stays."""
        self.held.close()
        if self.ns >= 0:
            os.close(self.ns)
            self.ns = -1
        if self.host is not None:
            self.host.close()
            self.host = None


def save(bundle: str, networking: Networking, names: tuple[str, ...]) -> None:
    """Write the wishes into the bundle. Raises OSError."""
    files.write_atomic(f"{bundle}/{FILE}", jsontext.dumps({**codec.dump(networking), "names": list(names)}))


def load(bundle: str) -> tuple[Networking, tuple[str, ...]]:
    """The wishes and the names. Raises NotFound, Corrupt."""
    try:
        document = jsontext.loads(files.read_bytes(f"{bundle}/{FILE}"))
        return codec.parse(Networking, document, "network"), tuple(document.get("names", ()))
    except FileNotFoundError:
        raise errors.NotFound(f"no networks in {bundle}") from None
    except (ValueError, errors.InvalidArgument) as error:
        raise errors.Corrupt(f"{bundle}/{FILE} is damaged: {error}") from None


def prepare(engine: Engine, plan: ContainerPlan) -> Prepared:
    """Steps 1 to 4. Raises AtollError; the caller undoes with `release.release`."""
    networking, names = load(plan.bundle)
    # 1. Addresses. Those that a container has whose end nobody noticed are free after all.
    endpoints = _claim(engine, plan.id)
    networks = [(_row(engine, one), one) for one in endpoints]
    # 2. Ports of the host, before anything is made for a container that cannot have them.
    check_plugins(engine, networking, networks)
    held = _take_ports(engine, plan.id, networking) if networking.ports else publish.Held()
    prepared = Prepared(networking, names, networks, held)
    try:
        # 3. What it finds names by. Its own addresses are in there.
        write_files(engine, plan.bundle, prepared)
        # 4. Bridges, shared by all who are on them.
        if prepared.is_ours():
            prepared.host = outer.host(engine, networking.uplink)
            if prepared.host.ensure_tables():
                # The host has started, or somebody flushed them: who is still there?
                from atoll.engine.networks import repair

                repair.sweep(engine)
                repair.rebuild(engine, prepared.host)
        for row, _ in networks:
            if row.network.driver == "bridge":
                assert prepared.host is not None
                prepared.masters[row.id] = bridges.ensure(prepared.host, row.network.bridge)
    except BaseException:
        prepared.close()
        raise
    return prepared


def check_plugins(engine: Engine, networking: Networking, networks: list[tuple[NetworkRow, Endpoint]]) -> None:
    """Refuse what CNI plug-ins cannot do. Raises Unsupported, NotFound."""
    for number, (row, _) in enumerate(networks):
        if row.network.driver == "cni":
            from atoll.engine.networks import cni

            cni.check_wishes(engine, row, networking, ports=number == 0)


def _row(engine: Engine, endpoint: Endpoint) -> NetworkRow:
    found = rows.by_id(engine.store, endpoint.network)
    if found is None:
        raise errors.NotFound(f"network {endpoint.network[:12]} not found", hint="it was removed")
    return found


def link_name(container: str, network: str) -> str:
    """The name of a container's port on a network: fifteen bytes that tell both."""
    return f"{firewall.PORT_PREFIX}{container[:8]}{network[:4]}"


def _claim(engine: Engine, container: str) -> list[Endpoint]:
    known = rows.of_container(engine.store, container)
    if not known:
        return []
    links = {one.network: link_name(container, one.network) for one in known}
    try:
        return rows.claim(engine.store, container, links)
    except (errors.Exhausted, errors.Conflict):
        from atoll.engine.networks import repair

        if not repair.sweep(engine):
            raise
        return rows.claim(engine.store, container, links)


def _take_ports(engine: Engine, container: str, networking: Networking) -> Held:
    try:
        return publish.take(engine, container, networking.ports)
    except errors.Conflict:
        from atoll.engine.networks import repair

        repair.sweep(engine)
        repair.remind(engine)
        return publish.take(engine, container, networking.ports)


def write_files(engine: Engine, bundle: str, prepared: Prepared) -> None:
    """/etc/hosts and /etc/resolv.conf for the networks that it is on now. Raises AtollError."""
    networking, networks = prepared.networking, prepared.networks
    host = outer.resolvers(engine)
    said = _said(engine, networks)
    served = [(row, one) for row, one in networks if needs_names(row, networking, host)]
    own = None
    if served:
        door = served[0][0].network.gateway(4) or served[0][0].network.gateway(16)
        own = addresses.show(door) if door is not None else None
    first = networks[0][0].network if networks else None
    gateway = first.gateway(4) or first.gateway(16) if first is not None else None
    try:
        resolver.write_in_place(
            f"{bundle}/hosts",
            resolver.hosts(
                names=prepared.names,
                own=tuple([address for _, one in networks for address in one.addresses]),
                extra=networking.hosts,
                gateway=addresses.show(gateway) if gateway else "",
            ),
        )
        resolver.write_in_place(
            f"{bundle}/resolv.conf",
            resolver.resolv_conf(
                host=host,
                own=own,
                dns=networking.dns or said.servers,
                search=networking.dns_search or said.search,
                options=networking.dns_options or said.options,
            ),
        )
    except OSError as error:
        raise errors.from_os_error(error, "write the container's resolver files") from error


def _said(engine: Engine, networks: list[tuple[NetworkRow, Endpoint]]) -> resolver.Resolvers:
    """What plug-ins said of name servers: the first that did has the word."""
    for row, one in networks:
        if row.network.driver == "cni":
            from atoll.engine.networks import cni

            result = cni.result_of(engine, one.container, row.id)
            if result is not None and (result.nameservers or result.search):
                return resolver.Resolvers(servers=result.nameservers, search=result.search, options=result.options)
    return resolver.Resolvers()


def needs_names(row: NetworkRow, networking: Networking, host: resolver.Resolvers) -> bool:
    """Whether the network's own name server is to answer this container."""
    if row.network.driver != "bridge" or not row.network.pools:
        return False
    if row.network.names or networking.egress:
        return True
    return not networking.dns and bool(host.servers) and not host.reachable


def attach(engine: Engine, plan: ContainerPlan, prepared: Prepared, pid: int) -> None:
    """Steps 5 to 7, for the container whose first process is `pid`. Raises AtollError; then the caller undoes."""
    if not prepared.networks:
        return
    ns, inner = enter(pid, prepared.ns)
    try:
        judged = follow_policies(engine, prepared)
        # 5. In the order of its interfaces; the first that has a way out gives the default route.
        routed = _routed(prepared)
        for row, endpoint in list(prepared.networks):
            if row.network.driver == "cni":
                _attach_by_plugins(engine, prepared, row, endpoint, pid, ports=row.id == routed)
                continue
            _attach_one(prepared, row, endpoint, ns, inner, routed=row.id == routed)
        if any(row.network.driver == "cni" for row, _ in prepared.networks):
            write_files(engine, plan.bundle, prepared)  # only now are all addresses known
        # 6. What it may not reach is closed before it runs; only now does anybody outside find it.
        if prepared.networking.egress:
            from atoll.engine.networks import policy

            assert prepared.host is not None
            policy.apply(prepared.host, plan.id, [one for _, one in prepared.networks], prepared.networking.egress)
        _publish(engine, prepared, routed)
        apply_rates(prepared)
    finally:
        inner.close()
        os.close(ns)
    # 7. Names, forwards, policy.
    host = outer.resolvers(engine)
    for row, _ in prepared.networks:
        note.note(engine, "network", "connect", row.id, container=plan.id, name=row.name, type=row.network.driver)
        if row.network.driver == "cni":
            continue
        if prepared.held.ports or judged or needs_names(row, prepared.networking, host):
            from atoll.engine.networks import helpers

            helpers.tell(engine, row, prepared.held)
    if prepared.host is not None and prepared.host.ready is not None:
        prepared.host.ready()


def follow_policies(engine: Engine, prepared: Prepared) -> bool:
    """Have the networks' policies know the container before anybody reaches it; whether there are any. Raises
    AtollError."""
    if not any(row.network.policy for row, _ in prepared.networks) and not rows.has_policies(engine.store):
        return False
    from atoll.engine.networks import netpolicies

    netpolicies.follow(engine, {row.id for row, _ in prepared.networks}, host=prepared.host)
    return any(netpolicies.applies(engine, row) for row, _ in prepared.networks)


def attach_further(engine: Engine, prepared: Prepared, network: str, pid: int) -> None:
    """One network more for a running container. It gives the default route only where there was none. Raises
    AtollError."""
    ns, inner = enter(pid)
    try:
        follow_policies(engine, prepared)
        routed = _routed(prepared)
        for row, endpoint in list(prepared.networks):
            if row.id == network and row.network.driver == "cni":
                _attach_by_plugins(engine, prepared, row, endpoint, pid, ports=False)
            elif row.id == network:
                _attach_one(prepared, row, endpoint, ns, inner, routed=row.id == routed)
    finally:
        inner.close()
        os.close(ns)


def enter(pid: int, known: int = -1) -> tuple[int, Netlink]:
    """A descriptor of the network namespace of a container whose first process is `pid` (`known`, if that is known),
    and a socket in it. Raises AtollError."""
    try:
        ns = os.dup(known) if known >= 0 else os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.from_os_error(error, "find the container's network namespace") from error
    try:
        return ns, bridges.inner_socket(ns)
    except BaseException:
        os.close(ns)
        raise


def attach_all(prepared: Prepared, ns: int, inner: Netlink) -> None:
    """Put it on all of its networks, which are bridges. Raises AtollError."""
    routed = _routed(prepared)
    for row, endpoint in prepared.networks:
        _attach_one(prepared, row, endpoint, ns, inner, routed=row.id == routed)


def _routed(prepared: Prepared) -> str:
    for row, _ in prepared.networks:
        if row.network.driver == "cni" or (
            not row.network.internal and any(one.gateway for one in row.network.pools)
        ):
            return row.id
    return ""


def _attach_by_plugins(
    engine: Engine, prepared: Prepared, row: NetworkRow, endpoint: Endpoint, pid: int, *, ports: bool
) -> None:
    from atoll.engine.networks import cni

    wanted = prepared.held.ports if ports else ()
    known = cni.attach(engine, row, endpoint, pid, prepared.networking, prepared.names, wanted)
    prepared.networks[prepared.networks.index((row, endpoint))] = (row, known)


def _attach_one(
    prepared: Prepared, row: NetworkRow, endpoint: Endpoint, ns: int, inner: Netlink, *, routed: bool
) -> None:
    assert prepared.host is not None
    port = endpoint.port(routed=routed)
    if row.network.driver == "macvlan":
        from atoll.network import macvlan

        macvlan.attach(prepared.host, row.network.bridge, row.network.mode, port, ns, inner)
        return
    bridges.attach(prepared.host, row.network.bridge, prepared.masters[row.id], port, ns, inner)


def _publish(engine: Engine, prepared: Prepared, routed: str) -> None:
    from_outside = next((one for row, one in prepared.networks if row.id == routed), None)
    if prepared.held.ports and from_outside is None:
        raise errors.FailedPrecondition(
            "cannot publish ports of a container whose networks are all internal",
            hint="connect it to another network",
        )
    if not prepared.held.ports or from_outside is None or prepared.host is None:
        return
    if any(row.id == routed and row.network.driver == "cni" for row, _ in prepared.networks):
        return  # they were among the plug-ins' wishes
    wanted = firewall.published(publish.rules_for(prepared.held.ports, from_outside))
    try:
        prepared.host.take_away(wanted)  # what a killed command left for the same port
        prepared.host.commit(wanted.add())
    except OSError as error:
        raise errors.from_os_error(error, "publish the container's ports") from error


def apply_rates(prepared: Prepared) -> None:
    """Hold its ports to the rates that it was given. Raises AtollError."""
    networking = prepared.networking
    if not networking.rate_in and not networking.rate_out:
        return
    from atoll.network import rates

    for row, endpoint in prepared.networks:
        if row.network.driver == "cni":  # by its plug-ins
            continue
        assert prepared.host is not None
        rates.limit(prepared.host, endpoint.link, inward=networking.rate_in, outward=networking.rate_out)
