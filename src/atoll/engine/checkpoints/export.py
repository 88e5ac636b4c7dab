"""checkpoint --export: a container's machine into an archive that another store goes on with.

Holds: `export`. Does not hold: the archive's form (`archive.py`), saving (`save.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.checkpoints import archive, store
from atoll.engine.checkpoints.archive import Container, Manifest
from atoll.engine.checkpoints.save import await_end, copy_disk, end, refuse, sweep, take
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container
from atoll.vm.checkpoint import read_shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.isolation.vm_saving import Held


def export(
    engine: Engine,
    container: str,
    out: str,
    *,
    leave_running: bool = False,
    memory: bool = True,
    with_image: bool = False,
    ignore_volumes: bool = False,
) -> None:
    """Save a container into the archive `out` (0600, replaced as a whole): its configuration, its image or that one's
    id, what it has written, and its memory, unless that is not wanted; then it need not run. It ends with code 0,
    unless it is to be left running.

    Killed at any moment: the old file or the new one, and the container goes on or has ended. Raises as `save`.
    """
    row = engine.store.container(container)
    refuse(engine, row, memory=memory)
    volumes = [one.destination for one in Record.from_text(row.record).mounts if one.type in ("bind", "volume")]
    if volumes and not ignore_volumes:
        raise errors.Unsupported(
            f"what is in volumes ({', '.join(volumes)}) does not go into an archive",
            hint="--ignore-volumes leaves it out; 'restore --import' takes -v",
        )
    try:
        with lock_container(engine.paths.container(row.id)) as lock:
            sweep(engine, row.id)
            ends = not leave_running and state_of(engine, row.id).status == RUNNING
            with store.making(engine, row.id) as making:
                if memory or state_of(engine, row.id).status in (RUNNING, PAUSED):
                    with take(engine, row, making.place, memory=memory) as machine:
                        if leave_running:
                            machine.go_on()
                        _write(engine, row, making.place, out, with_image=with_image)
                        _end(engine, row, machine, ends=ends)
                else:
                    copy_disk(f"{engine.paths.container(row.id)}/{store.DISK}", making.place)
                    _write(engine, row, making.place, out, with_image=with_image)
            lock.release()
            if ends:
                await_end(engine, row)
    except OSError as error:
        raise errors.from_os_error(error, f"write {out}") from error
    if not Record.from_text(row.record).remove or not ends:
        events.container(engine, row.id, "checkpoint", archive=out)


def _end(engine: Engine, row: ContainerRow, machine: Held, *, ends: bool) -> None:
    if ends:
        end(engine, row, machine)


def _write(engine: Engine, row: ContainerRow, place: str, out: str, *, with_image: bool) -> None:
    """The archive of what was saved in `place`. Raises OSError, AtollError."""
    if with_image:
        from atoll.engine.images.save import save as save_image

        save_image(engine, [row.image or ""], f"{place}/{archive.IMAGE}", format="oci-archive")
    found = [name for name in archive.MEMBERS if os.path.exists(f"{place}/{name}")]
    manifest = Manifest(
        image=row.image or "",
        platform=Record.from_text(row.record).platform,
        container=_container(Record.from_text(row.record)),
        machine=read_shape(place) if store.MEMORY in found else None,
        parts={name: archive.part_of(f"{place}/{name}") for name in found},
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
