"""A further container of the same kind, for a copy of a machine: everything that is one's own is new.

Holds: `request_of` (what would make such a container), `make` (made, with its disk, and started where it was saved).
Does not hold: the saved machine (`save.py`).
Its security is that of the request: of a container of this store, as its record has it; of an archive nothing of the
kind is taken (`import_.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.checkpoints import store
from atoll.engine.containers.launch import launch_detached
from atoll.engine.containers.record import Record
from atoll.engine.requests import RunRequest
from atoll.linux.copyfile import copy_contents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.mount_flags import Storage
    from atoll.engine.engine import Engine
    from atoll.engine.networks.records import Membership, NetworkOptions
    from atoll.engine.store import ContainerRow
    from atoll.isolation.protocol import ContainerPlan


def request_of(engine: Engine, row: ContainerRow, *, name: str | None, publish: tuple[str, ...] = ()) -> RunRequest:
    """The request for another one like it: name, id, host name, addresses and published ports are its own. Raises
    NotFound for an image that went, Unsupported for one with volumes."""
    from atoll.spec.image import parse_config

    record = Record.from_text(row.record)
    shared = [mount.destination for mount in record.mounts if mount.type in ("bind", "volume")]
    if shared:
        raise errors.Unsupported(
            f"a copy of container {row.name} would share its volumes ({', '.join(shared)})",
            hint="make one of an archive: 'checkpoint --export' with --ignore-volumes, 'restore --import' with -v",
        )
    image = engine.store.image(row.image or "")
    if image is None:
        raise errors.NotFound(f"the image of container {row.name} is not there")
    config = parse_config(image.config.encode(), f"the configuration of {record.image}").config
    own = record.entrypoint == tuple(config.entrypoint or ())
    network, wishes = _networks(engine, row, record)
    return RunRequest(
        image=_image_name(engine, record.image, image.id),
        entrypoint=None if own else (record.entrypoint[:1] or ("",))[0],
        command=record.cmd if own else (*record.entrypoint[1:], *record.cmd),
        name=name,
        env=record.env,
        workdir=record.workdir,
        user=record.user,
        labels=tuple([f"{key}={value}" for key, value in record.labels]),
        read_only=record.read_only,
        network=network,
        networking=_networking(record, wishes, publish) if network != "none" or publish else None,
        memory=record.memory,
        cpus=record.cpus,
        pids_limit=record.pids_limit,
        terminal=record.terminal,
        stdin=record.stdin,
        detach=True,
        remove=record.remove,
        pull="never",
        platform=record.platform or None,
        isolation=record.isolation,
        security_opt=record.security_opt,
        stop_signal=record.stop_signal,
        stop_timeout=record.stop_timeout,
        restart=record.restart,
        restart_max=record.restart_max,
        health=record.health,
        init=record.init,
        annotations=record.annotations,
        log_driver=record.log_driver,
        log_options=tuple([f"{key}={value}" for key, value in record.log_opts]),
        systemd="always" if record.systemd else "false",
        limits=record.limits,
        rights=record.rights,
        sharing=record.sharing,
        storage=_storage(record),
    )


def _image_name(engine: Engine, name: str, image_id: str) -> str:
    """As its user wrote it, while that still means the same image."""
    from atoll.engine.images.resolve import find

    found = find(engine, name)
    return name if found is not None and found.id == image_id else image_id


def _networks(engine: Engine, row: ContainerRow, record: Record) -> tuple[str, tuple[Membership, ...]]:
    """Those that it is on now, whatever it was made with: the first one as a request names it, and all of them."""
    asked = record.networking.networks if record.networking is not None else ()
    if not asked:
        return record.network, ()
    from atoll.engine.networks import rows

    wishes = tuple([one.wish for one in rows.of_container(engine.store, row.id)])
    if not wishes:
        return "none", ()
    return record.network if wishes[0].network == asked[0].network else wishes[0].network, wishes


def _networking(record: Record, wishes: tuple[Membership, ...], publish: tuple[str, ...]) -> NetworkOptions | None:
    known = record.networking
    if known is None and not publish:
        return None
    from atoll.engine.networks.records import Networking, NetworkOptions

    known = known or Networking()
    return NetworkOptions(
        publish=publish,
        expose=tuple([one.key for one in known.exposed]),
        networks=tuple([one.network for one in wishes[1:]]),
        aliases=wishes[0].aliases if wishes else (),
        dns=known.dns,
        dns_search=known.dns_search,
        dns_options=known.dns_options,
        hosts=known.hosts,
        egress=known.egress,
        rate_in=known.rate_in,
        rate_out=known.rate_out,
    )


def _storage(record: Record) -> Storage | None:
    """Mounts of memory, and secrets: what is more is never saved."""
    tmpfs = [mount for mount in record.mounts if mount.type == "tmpfs"]
    if not tmpfs and not record.secrets:
        return None
    from atoll.engine.containers.mount_flags import Storage

    words = [f"{one.destination}:{','.join(one.options)}" if one.options else one.destination for one in tmpfs]
    return Storage(tmpfs=tuple(words), secrets=record.secrets)


def make(engine: Engine, request: RunRequest, saved: str, *, memory: bool) -> str:
    """Make the container, give it the disk in `saved`, and let it go on with what is saved there, or start it anew
    without `memory`. Returns its id; on failure nothing of it stays. Raises as `create` and `launch`."""
    container_id = engine.create(request.replace(begins=saved))
    try:
        go_on(engine, container_id, saved if memory else "")
    except BaseException:
        _remove(engine, container_id)
        raise
    return container_id


def put_disk(plan: ContainerPlan, saved: str) -> None:
    """The disk in `saved` becomes the container's: the old one or the new, whole. Raises OSError, Corrupt."""
    source, target = f"{saved}/{store.DISK}", plan.machine.disk if plan.machine is not None else None
    if (target is not None) != os.path.exists(source):
        raise errors.FailedPrecondition(
            "the container has no disk, as with --rm, and the saved one had, or the other way round"
        )
    if target is None:
        return
    temporary = f"{target}.tmp"
    files.unlink_if_present(temporary)
    try:
        read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        write = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            copy_contents(read, write)
            os.fsync(write)
        finally:
            os.close(read)
            os.close(write)
        os.rename(temporary, target)
    except OSError as error:
        files.unlink_if_present(temporary)
        raise errors.from_os_error(error, "copy the saved disk") from error


def go_on(engine: Engine, container_id: str, saved: str) -> None:
    """Launch it where it was saved; "" starts it anew. Raises as `launch`."""
    launch_detached(engine, container_id, resume=saved)


def _remove(engine: Engine, container_id: str) -> None:
    from atoll.engine.containers.remove import remove

    lock = engine.locks.pop(container_id, None)
    if lock is not None:
        lock.release()
    engine.plans.pop(container_id, None)
    try:
        remove(engine, container_id, force=True, volumes=True)
    except errors.NotFound:  # one that goes with its end has gone
        pass
