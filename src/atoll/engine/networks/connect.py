"""network connect, network disconnect: a network more or less, while the container runs or not."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers import machine
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note
from atoll.engine.locks import lock_container
from atoll.engine.networks import attach, outer, publish, rows
from atoll.engine.networks.release import follow_policies, withdraw
from atoll.engine.networks.settle import named, wish_on
from atoll.network import bridge as bridges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.rows import NetworkRow
    from atoll.engine.store import ContainerRow
    from atoll.isolation.protocol import ContainerPlan


def connect(
    engine: Engine,
    network: str,
    container: str,
    *,
    aliases: tuple[str, ...] = (),
    address: str | None = None,
    address6: str | None = None,
) -> None:
    """Put a container on one more network; one that runs at once. Raises NotFound, Denied, Conflict, Exhausted."""
    row = named(engine, network)
    known = engine.store.container(container)
    wish = wish_on(row, aliases=aliases, address=address, address6=address6)
    bundle = engine.paths.container(known.id)
    with lock_container(bundle):
        _check_own_namespace(engine, known.id)
        rows.join(engine.store, known.id, (wish,))
        status = state_of(engine, known.id)
        if status.status in (RUNNING, PAUSED) and status.pid:
            run = engine.paths.container_run(known.id) if machine.is_in_one(known) else ""
            try:
                if run:
                    _check_machine(engine, known, run, status.pid, paused=status.status == PAUSED)
                _attach_now(engine, known.id, bundle, row, status.pid)
            except BaseException:
                rows.leave(engine.store, known.id, row.id)
                raise
            if run:
                _bring(engine, known.id, bundle, run, row, status.pid)
    note.note(engine, "network", "connect", row.id, container=known.id, name=row.name, type=row.network.driver)


def _check_machine(engine: Engine, known: ContainerRow, run: str, pid: int, *, paused: bool) -> None:
    from atoll.isolation import vm_links

    if known.pod:
        machine.refuse(known, "be connected to a network while it runs, in a pod")
    if paused:
        raise errors.FailedPrecondition(
            f"container {known.name} is paused, and its guest cannot be told of a network", hint="unpause it"
        )
    vm_links.check(run, pid)


def _bring(engine: Engine, container: str, bundle: str, run: str, row: NetworkRow, pid: int) -> None:
    """Into the guest, what its namespace has got; on failure it has not."""
    from atoll.isolation import vm_links

    try:
        vm_links.bring(run, pid, _plan(bundle, run))
    except BaseException:
        found = next(one for one in rows.of_container(engine.store, container) if one.network == row.id)
        _detach_now(engine, container, bundle, row, found, force=True)
        rows.leave(engine.store, container, row.id)
        raise


def _plan(bundle: str, run: str) -> ContainerPlan:
    """What it was made of: of one that goes with its end beside its processes."""
    from atoll.engine.containers import bundle as bundles

    return bundles.load(bundle if bundles.is_whole(bundle) else run)


def _check_own_namespace(engine: Engine, container: str) -> None:
    from atoll.engine.containers.record import Record

    mode = Record.from_text(engine.store.container(container).record).network
    if mode == "host":
        raise errors.Denied("container sharing network namespace with another container or host cannot be "
                            "connected to any other network")  # fmt: skip
    if mode == "none" or mode.startswith(("container:", "ns:")):
        raise errors.Denied(f"a container with network {mode} cannot be connected to other networks")


def _attach_now(engine: Engine, container: str, bundle: str, row: NetworkRow, pid: int) -> None:
    from atoll.engine.networks import helpers, policy

    networking, names = attach.load(bundle)
    links = {row.id: attach.link_name(container, row.id)}
    endpoints = rows.claim(engine.store, container, links)
    networks = [(found, one) for one in endpoints if (found := rows.by_id(engine.store, one.network)) is not None]
    prepared = attach.Prepared(networking, names, networks, publish.Held())
    prepared.host = outer.host(engine)
    try:
        if row.network.driver == "cni":
            attach.check_plugins(engine, networking.replace(ports=()), [(row, endpoints[0])])
        else:
            prepared.host.ensure_tables()
        if row.network.driver == "bridge":
            prepared.masters[row.id] = bridges.ensure(prepared.host, row.network.bridge)
        attach.attach_further(engine, prepared, row.id, pid)
        if networking.egress and row.network.driver != "cni":
            policy.apply(prepared.host, container, endpoints, networking.egress)
        attach.write_files(engine, bundle, prepared)
    finally:
        prepared.close()
    host = outer.resolvers(engine)
    for one, _ in networks:
        if attach.needs_names(one, networking, host):
            helpers.tell(engine, one)


def disconnect(engine: Engine, network: str, container: str, *, force: bool = False) -> None:
    """Take a container off a network. Raises NotFound, FailedPrecondition for one that is not on it."""
    row = rows.find(engine.store, network)
    known = engine.store.container(container)
    bundle = engine.paths.container(known.id)
    with lock_container(bundle):
        found = next((one for one in rows.of_container(engine.store, known.id) if one.network == row.id), None)
        if found is None:
            if force:
                return
            raise errors.FailedPrecondition(f"container {known.id} is not connected to network {row.name}")
        if found.mac:
            _detach_now(engine, known.id, bundle, row, found, force=force)
            status = state_of(engine, known.id)
            if machine.is_in_one(known) and not known.pod and status.status == RUNNING and status.pid:
                from atoll.isolation import vm_links

                vm_links.take_away(status.pid, _plan(bundle, engine.paths.container_run(known.id)), found.mac)
        rows.leave(engine.store, known.id, row.id)
    note.note(engine, "network", "disconnect", row.id, container=known.id, name=row.name, type=row.network.driver)


def _detach_now(
    engine: Engine, container: str, bundle: str, row: NetworkRow, found: rows.Endpoint, *, force: bool
) -> None:
    from atoll.engine.networks import helpers, policy

    host = outer.host(engine)
    try:
        if row.network.driver == "cni":
            from atoll.engine.networks import cni

            cni.detach(engine, container, row.id, force=force)
        else:
            withdraw(host, found, rows.ports_of(engine.store, container))
            policy.lift_from(host, container, [found])
            bridges.detach(host, found.port(routed=False))
        rows.give_back(engine.store, container, row.id)
        follow_policies(engine, host, [found])
    finally:
        host.close()
    networking, names = attach.load(bundle)
    rest = [
        (known, one)
        for one in rows.of_container(engine.store, container)
        if one.mac and (known := rows.by_id(engine.store, one.network)) is not None
    ]
    attach.write_files(engine, bundle, attach.Prepared(networking, names, rest, publish.Held()))
    for one in (row, *[known for known, _ in rest]):
        helpers.tell_if_there(engine, one)
