"""pod create: from a request to a pod whose namespaces are ready to be held. Start reading at `create`."""

from __future__ import annotations

import os
import time

from atoll.base import errors, files, ids
from atoll.base.rollback import Rollback
from atoll.engine.containers.record import Record
from atoll.engine.events import note
from atoll.engine.locks import ContainerLock, lock_container
from atoll.engine.pods import cgroup, infra, machine, rows
from atoll.engine.pods.record import CONTINUE, DEFAULT_SHARE, KINDS, STOP, PodRecord, PodRequest, PodRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine

_ATTEMPTS = 20


def create(engine: Engine, request: PodRequest) -> str:
    """Make a pod; its id. The order is what makes a SIGKILL at any step mendable (`remove.mend`): a directory without
    a row, or a row without the mark, that nobody holds the lock of, was left half made.

    Raises InvalidArgument, Conflict (the name), Denied, Unsupported (limits that this user cannot set).
    """
    # 1. What is wrong is said before anything is made.
    if request.name is not None:
        _check_name(engine, request)
    pod = ids.new_id()
    name = request.name or ids.random_name()
    record = record_of(engine, request, pod, name)
    with Rollback() as undo:
        # 2. The directory, locked before anyone can know of it.
        directory = rows.directory(engine, pod)
        undo.push(files.remove_tree, directory)
        lock = _make_locked(directory)
        undo.push(lock.release)
        # 3. The row reserves the name.
        name = _add_row(engine, pod, name, record, fixed=request.name is not None)
        undo.push(rows.remove, engine.store, pod)
        # 4. What holds the namespaces; its network is asked for here, and refused here.
        if record.infra:
            made = engine.create(infra.request(request, record, pod))
            undo.push(_remove_container, engine, made)
            _note_network(engine, pod, record, made)
        # 5. All is there.
        files.write_atomic(f"{directory}/{rows.MADE}", "")
        undo.release()
    lock.release()
    note.note(engine, "pod", "create", pod, name=name)
    return pod


def record_of(engine: Engine, request: PodRequest, pod: str, name: str) -> PodRecord:
    """What is remembered of it. Raises InvalidArgument, Denied."""
    share, hosts = _namespaces(request)
    if request.exit_policy not in (CONTINUE, STOP):
        raise errors.InvalidArgument(f"invalid pod exit policy: {request.exit_policy!r}", hint="continue or stop")
    network = request.network or engine.config.network
    if not request.infra:
        _check_without_infra(request)
    record = PodRecord(
        share=share,
        hosts=hosts,
        infra=request.infra,
        hostname="" if "uts" in hosts else request.hostname or _hostname(name),
        labels=_labels(request.labels),
        annotations=request.annotations,
        exit_policy=request.exit_policy,
        network=network,
        cgroup=cgroup.path_of(engine, pod, request.sharing.cgroup_parent),
        memory=request.memory or None,
        cpus=request.cpus or None,
        pids_limit=request.pids_limit if request.pids_limit and request.pids_limit > 0 else None,
        limits=_without_shm(request.limits),
        volumes=request.volumes,
        security_opt=request.security_opt,
        devices=request.devices,
        restart=request.restart,
        restart_max=request.restart_max,
        own_volumes=request.own_volumes,
        isolation=machine.level_of(engine, request.isolation),
    )
    if record.isolation:
        machine.check(request, record)
    return record.replace(memory_swap=_check_limits(engine, record)) if record.limited else record


def _namespaces(request: PodRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those shared, and those that are the host's."""
    share = DEFAULT_SHARE if request.share is None else request.share
    for kind in share:
        if kind not in KINDS:
            from atoll.base import suggest

            guess = suggest.nearest(kind, list(KINDS))
            raise errors.InvalidArgument(
                f"invalid kernel namespace to share: {kind}",
                hint=f"did you mean {guess}?" if guess else f"known are {', '.join(KINDS)}, and none",
            )
    hosts = []
    for kind in ("ipc", "pid", "uts"):
        word = getattr(request.sharing, kind)
        if word not in ("", "private", "host"):
            raise errors.InvalidArgument(f"invalid --{kind} of a pod: {word}", hint="private or host")
        if word == "host":
            hosts.append(kind)
    if "uts" in hosts and request.hostname:
        raise errors.InvalidArgument("conflicting options: hostname and the UTS mode")
    if not request.infra:
        return (), tuple(hosts)
    return tuple([kind for kind in KINDS if kind in share and kind not in hosts]), tuple(hosts)


def _check_without_infra(request: PodRequest) -> None:
    if request.share:
        raise errors.InvalidArgument(
            "cannot share namespaces without an infra container", hint="leave out --infra=false"
        )
    given = {"--network": request.network, "network options": request.networking, "--infra-name": request.infra_name}
    for flag, value in given.items():
        if value:
            raise errors.InvalidArgument(
                f"cannot set {flag} without an infra container", hint="leave out --infra=false"
            )


def _hostname(name: str) -> str:
    """The pod's name, as far as one may be a host's."""
    fit = "".join([c if c.isalnum() or c in "-." else "-" for c in name])[:63]
    return fit.strip("-.") or "pod"


def _labels(given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = {}
    for entry in given:
        key, _, value = entry.partition("=")
        if not key or "\0" in entry:
            raise errors.InvalidArgument(f"invalid label: {entry!r}", hint="write KEY=value")
        found[key] = value
    return tuple(found.items())


def _without_shm(limits: Any) -> Any:
    """The size of /dev/shm is the infra container's; what then is left, if anything."""
    if limits is None:
        return None
    rest = limits.replace(shm_size=None)
    return None if rest == type(limits)() else rest


def _check_limits(engine: Engine, record: PodRecord) -> int | None:
    """Judge them as a container's; memory and swap together. Raises InvalidArgument, Denied naming the flag."""
    from atoll.engine.containers import facts, limits, plan_record
    from atoll.engine.requests import RunRequest

    request = RunRequest(image="", memory=record.memory, cpus=record.cpus, limits=record.limits)
    known = facts.gather(request, engine.config, engine.uid)
    plan_record.check_limits(request, known)
    if record.pids_limit:
        plan_record.need("--pids-limit", "pids", known)
    if record.limits is not None:
        engine.warnings += limits.check(record.limits, request, known, plan_record.need)
        if record.limits.memory_swap:
            return record.limits.memory_swap
    return 2 * record.memory if record.memory and known.swap else None


def _check_name(engine: Engine, request: PodRequest) -> None:
    """A name that may be one, and is free, or is made free. Raises InvalidArgument, Conflict."""
    name = request.name or ""
    if not (ids.valid_name(name) or (len(name) == 1 and name.isascii() and name.isalnum())):
        raise errors.InvalidArgument(f"Invalid pod name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed")
    try:
        old = rows.find(engine, name)
    except errors.NotFound:
        return
    if old.name == name and request.replace_old:
        from atoll.engine.pods.remove import remove

        remove(engine, old.id, force=True)


def _make_locked(directory: str) -> ContainerLock:
    os.makedirs(os.path.dirname(directory), 0o700, exist_ok=True)
    for _ in range(_ATTEMPTS):
        os.mkdir(directory, 0o700)
        try:
            return lock_container(directory)
        except errors.NotFound:  # a command that mends took it for one that was left
            continue
    raise errors.Unavailable(f"cannot keep the directory {directory}: something removes it", hint="try again")


def _add_row(engine: Engine, pod: str, name: str, record: PodRecord, *, fixed: bool) -> str:
    """Reserve a name; which."""
    for _ in range(_ATTEMPTS):
        try:
            rows.add(engine.store, PodRow(id=pod, name=name, created_at=time.time_ns(), record=record))
            return name
        except errors.Conflict:
            if fixed:
                raise
            name = ids.random_name() + os.urandom(1).hex()
    raise errors.Conflict("every name that was tried is taken")


def _note_network(engine: Engine, pod: str, record: PodRecord, infra: str) -> None:
    """The default network is known once it was looked for."""
    network = Record.from_text(engine.store.container(infra).record).network
    if network != record.network:
        rows.change(engine.store, pod, record.replace(network=network))


def _remove_container(engine: Engine, container: str) -> None:
    from atoll.engine.containers.remove import remove

    remove(engine, container, force=True, volumes=True, with_pod=True)
