"""checkpoint --export: a container's machine into an archive that another store goes on with.

Holds: `export`. Does not hold: the archive's form (`archive.py`), saving (`save.py`), volumes (`volumes.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.checkpoints import archive, store, volumes
from atoll.engine.checkpoints.archive import Container, Manifest
from atoll.engine.checkpoints.save import await_end, copy_disk, end, refuse, sweep, take
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container
from atoll.vm.checkpoint import read_shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.record import MountPoint
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.isolation.vm_saving import Held

_HELD = ("bind", "volume")


def export(
    engine: Engine,
    container: str,
    out: str,
    *,
    leave_running: bool = False,
    memory: bool = True,
    with_image: bool = False,
    ignore_volumes: bool = False,
) -> list[str]:
    """Save a container into the archive `out` (0600, replaced as a whole): its configuration, its image or that one's
    id, what it has written, its volumes, unless they are to be ignored, and its memory, unless that is not wanted;
    then it need not run. It ends with code 0, unless it is to be left running. Returns in words what is not in there.

    Killed at any moment: the old file or the new one, and the container goes on or has ended. Raises as `save`.
    """
    row = engine.store.container(container)
    refuse(engine, row, memory=memory)
    record = Record.from_text(row.record)
    found, left = volumes.of_record(engine, record)
    notes = [f"{_said(one)} is not in the archive" for one in left]
    if ignore_volumes:
        notes, found = [], []
    try:
        with lock_container(engine.paths.container(row.id)) as lock:
            sweep(engine, row.id)
            ends = not leave_running and state_of(engine, row.id).status == RUNNING
            with store.making(engine, row.id) as making:
                if memory or state_of(engine, row.id).status in (RUNNING, PAUSED):
                    with take(engine, row, making.place, memory=memory) as machine:
                        notes += volumes.pack(engine, found, making.place)
                        if leave_running:
                            machine.go_on()
                        _write(engine, row, making.place, out, found, with_image=with_image)
                        _end(engine, row, machine, ends=ends)
                else:
                    copy_disk(f"{engine.paths.container(row.id)}/{store.DISK}", making.place)
                    notes += volumes.pack(engine, found, making.place)
                    _write(engine, row, making.place, out, found, with_image=with_image)
            lock.release()
            if ends:
                await_end(engine, row)
    except OSError as error:
        raise errors.from_os_error(error, f"write {out}") from error
    if not Record.from_text(row.record).remove or not ends:
        events.container(engine, row.id, "checkpoint", archive=out)
    return notes


def _said(mount: MountPoint) -> str:
    """A mount whose content stays here."""
    if mount.type == "bind":
        return f"what is bound to {mount.destination} ({mount.source})"
    return f"the volume {mount.name} at {mount.destination}, which is a file system or directory of the host's,"


def _end(engine: Engine, row: ContainerRow, machine: Held, *, ends: bool) -> None:
    if ends:
        end(engine, row, machine)


def _write(
    engine: Engine, row: ContainerRow, place: str, out: str, found: list[volumes.Found], *, with_image: bool
) -> None:
    """The archive of what was saved in `place`. Raises OSError, AtollError."""
    record = Record.from_text(row.record)
    shown = {mount.destination for one in found for mount in one.facts.mounts}
    if with_image:
        from atoll.engine.images.save import save as save_image

        save_image(engine, [row.image or ""], f"{place}/{archive.IMAGE}", format="oci-archive")
    members = [name for name in archive.MEMBERS if os.path.exists(f"{place}/{name}")]
    manifest = Manifest(
        image=row.image or "",
        platform=record.platform,
        container=_container(record),
        machine=read_shape(place) if store.MEMORY in members else None,
        parts={name: archive.part_of(f"{place}/{name}", holes=name not in archive.VOLUMES) for name in members},
        volumes=tuple([one.facts for one in found]),
        left=tuple([one.destination for one in record.mounts if one.type in _HELD and one.destination not in shown]),
    )
    temporary = f"{out}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            archive.write(fd, manifest, place)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, out)
    except BaseException:
        files.unlink_if_present(temporary)
        raise
    files.sync_directory(os.path.dirname(out) or ".")


def _container(record: Record) -> Container:
    return Container(
        entrypoint=record.entrypoint,
        cmd=record.cmd,
        env=record.env,
        workdir=record.workdir,
        user=record.user,
        terminal=record.terminal,
        stdin=record.stdin,
        stop_signal=record.stop_signal,
        stop_timeout=record.stop_timeout,
        memory=record.memory or 0,
        cpus=record.cpus or 0,
    )
