"""checkpoint: a container's machine is saved while it runs, and then ends, or goes on. Start reading at `save`.

Holds: `save`, `take` (into a directory of the caller's), what cannot be saved and why. Does not hold: places
(`store.py`), restoring (`restore.py`).
"""

from __future__ import annotations

import os
import time

from atoll.base import clock, errors, files, ids, jsontext
from atoll.base.rollback import Rollback
from atoll.engine.checkpoints import store
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container
from atoll.guest.enter import NOTE
from atoll.isolation.vm_saving import Held, held, running_shape
from atoll.linux.copyfile import copy_contents
from atoll.monitor.requests import MachinePlan
from atoll.vm.checkpoint import SHAPE
from atoll.vm.drivers import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow

VERSION = 1
END_SECONDS = 30.0


def save(
    engine: Engine, container: str, *, name: str | None = None, leave_running: bool = False, memory: bool = True
) -> str:
    """Save a container that runs as the checkpoint `name`, which may not be there yet; without a name, in place of
    the last such one. Returns the container's id. Then it ends with code 0, unless it is to be left running. Without
    `memory` what it has written is saved, and a restore starts it anew.

    Killed at any moment: there is the checkpoint as a whole or none, and the container goes on or has ended. Raises
    NotFound, Conflict, FailedPrecondition, Unsupported naming what cannot be saved, Exhausted.
    """
    row = engine.store.container(container)
    refuse(engine, row, memory=memory)
    if Record.from_text(row.record).remove:
        raise errors.FailedPrecondition(
            f"cannot checkpoint container {row.name}: started with '--rm', it would take its checkpoint along",
            hint="--export FILE keeps it elsewhere",
        )
    if name is not None and not ids.valid_name(name):
        raise errors.InvalidArgument(f"Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    try:
        with lock_container(engine.paths.container(row.id)) as lock:
            sweep(engine, row.id)
            if name is not None and os.path.isdir(f"{store.folder(engine, row.id)}/{name}"):
                raise errors.Conflict(f"checkpoint with name {name} already exists for container {row.name}")
            with store.making(engine, row.id) as making, take(engine, row, making.place, memory=memory) as machine:
                if leave_running:
                    machine.go_on()  # what was copied changes no more: it need not wait for the disk
                making.keep(name or store.UNNAMED)
                if not leave_running:
                    end(engine, row, machine)
            lock.release()
            if not leave_running:
                await_end(engine, row)
    except OSError as error:
        raise errors.from_os_error(error, "save the machine") from error
    events.container(engine, row.id, "checkpoint")
    return row.id


def running(engine: Engine) -> list[str]:
    """The names of all containers that run in machines of their own."""
    rows = [row for row in engine.store.containers() if Record.from_text(row.record).isolation == "vm"]
    return [row.name for row in rows if state_of(engine, row.id).status == RUNNING]


def refuse(engine: Engine, row: ContainerRow, *, memory: bool) -> None:
    """Raises Unsupported and FailedPrecondition for a container that cannot be saved, naming what is in the way."""
    record = Record.from_text(row.record)
    if record.isolation != "vm":
        raise errors.Unsupported(
            f"cannot checkpoint container {row.name}: at the level {record.isolation!r} its state is in the host's "
            f"kernel{_criu(record.isolation)}",
            hint="--isolation vm: such a container can be saved, copied and moved",
        )
    volumes = [mount.destination for mount in record.mounts if mount.type in ("bind", "volume")]
    if volumes and memory:
        raise errors.Unsupported(
            f"cannot checkpoint container {row.name} with its memory: a process of the host's serves its volumes "
            f"({', '.join(volumes)}), and holds files open for the guest",
            hint="--memory=false saves what it has written, and a restore starts it anew",
        )
    if record.pod:
        raise errors.Unsupported(f"cannot checkpoint container {row.name}: its machine is its pod's")
    if not memory and record.remove:
        raise errors.Unsupported(
            f"cannot checkpoint container {row.name} without its memory: with --rm it has no disk, and writes there"
        )


def _criu(isolation: str) -> str:
    """CRIU's word on this host, where it could matter."""
    if isolation != "container":
        return ""
    from atoll.runtime.criu import rpc

    try:
        rpc.preflight(None)
    except errors.Unsupported as error:
        return f", and {error.message}"
    return "; 'atoll-runtime checkpoint' has CRIU save a bundle's processes"


def take(engine: Engine, row: ContainerRow, place: str, *, memory: bool) -> Held:
    """Save the machine of a container that runs into the directory `place`, under the container's lock. It stands
    still, and goes on when what is returned is left. Raises as `save`."""
    status = state_of(engine, row.id)
    if status.status == PAUSED:
        raise errors.FailedPrecondition(
            f"Container {row.id} is paused", hint="unpause it: a guest that stands still cannot prepare to be saved"
        )
    if status.status != RUNNING or status.pid is None:
        raise errors.FailedPrecondition(f"Container {row.id} is not running")
    run = engine.paths.container_run(row.id)
    plan = _machine(engine, row, run)
    with Rollback() as undo:
        if memory:
            shape = running_shape(engine.paths.data, run, plan)
            files.write_atomic(f"{place}/{SHAPE}", jsontext.dumps(shape.to_json()))
        state = os.open(f"{place}/{store.STATE}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            machine = held(status.pid, state, sync=not memory)
        finally:
            os.close(state)
        undo.push(machine.__exit__, None, None, None)
        if memory:
            _copy(machine.memory, f"{place}/{store.MEMORY}")
        else:
            os.unlink(f"{place}/{store.STATE}")
        copy_disk(plan.disk, place)
        write_facts(place, memory=memory)
        undo.release()
    return machine


def _machine(engine: Engine, row: ContainerRow, run: str) -> MachinePlan:
    """The machine as it runs; one that goes with its end has no plan in its directory. Raises Corrupt."""
    from atoll.images import erofs

    try:
        note = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
        driver = named(str(note.get("driver") or "qemu"))
        if not driver.saves:
            raise errors.Unsupported(f"{driver.title} cannot save a machine", hint='driver = "qemu" in [vm]')
        return MachinePlan(
            image=erofs.path_of(engine.snapshots, engine.store.chain_ids(row.image or "")),
            disk=f"{engine.paths.container(row.id)}/{store.DISK}" if note["disk"] else None,
            memory=note["memory"],
            cpus=note["cpus"],
            accel=note["accel"],
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise errors.Corrupt(f"damaged record {run}/{NOTE}: {error}") from None


def copy_disk(disk: str | None, place: str) -> None:
    """What a container has written, into `place`: shared blocks where the file system can. Raises OSError."""
    if disk is None:
        return
    source = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _copy(source, f"{place}/{store.DISK}")
    finally:
        os.close(source)


def _copy(source: int, path: str) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy_contents(source, target)
    finally:
        os.close(target)


def write_facts(place: str, *, memory: bool) -> None:
    """The record of a checkpoint that is otherwise whole. Raises OSError."""
    known = {"version": VERSION, "created": clock.rfc3339(time.time_ns()), "memory": memory}
    files.write_atomic(f"{place}/{store.FACTS}", jsontext.dumps(known))


def end(engine: Engine, row: ContainerRow, machine: Held) -> None:
    """Let the container end, and nothing start it again. Raises OSError."""
    from atoll.engine.containers import restarting

    if Record.from_text(row.record).restart != "no":
        restarting.hold(engine, row.id)
    machine.end()


def await_end(engine: Engine, row: ContainerRow) -> None:
    """Until its end is on record. Raises Timeout."""
    run, place = engine.paths.container_run(row.id), engine.paths.container(row.id)
    if not engine.driver.wait(run, place, END_SECONDS).ended:
        raise errors.Timeout(f"container {row.name} was saved, but does not end", hint=f"atoll kill {row.name}")


def sweep(engine: Engine, container_id: str) -> None:
    """Remove what killed commands left half made, and end a machine in which one looked at files, for a disk has one
    reader or writer; under the container's lock. Raises OSError."""
    place = engine.paths.container(container_id)
    if os.path.isdir(f"{place}/held"):
        from atoll.isolation.files.machine import end_held

        end_held(engine.driver, place)
    for path in store.abandoned(engine, container_id):
        files.remove_tree(path)
