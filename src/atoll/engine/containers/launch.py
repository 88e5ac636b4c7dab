"""launch and finish: a created container gets its processes; an ended one is settled, or removed.

Holds: `launch`, `started`, `note_plan`, `finish`, `cleanup`, `remove_all` (the one order of removal). Does not hold:
creation (`create.py`), what the processes are (`isolation`).
"""

from __future__ import annotations

import os
import time

from atoll.base import clock, errors, files
from atoll.base.rollback import Rollback
from atoll.engine.containers.record import Record
from atoll.engine.events import note
from atoll.engine.locks import ContainerLock, lock_container
from atoll.monitor import journal
from atoll.monitor.restart import POLICY_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.isolation.protocol import Attachment, ContainerPlan

MARK = "launched"
"""A file in the bundle: the container has had processes once. Without it, and without any trace of a process, it is
`created`; with it, `lost`."""
RESTARTED = "restarted"
"""A file in the bundle of a container that goes with its end: it was restarted, and whoever was to remove it after an
earlier end lets it be as long as it runs."""
_END_SECONDS = 10.0


def _ensure_volumes(engine: Engine, plan: ContainerPlan) -> None:
    """Volumes with a file system of their own are mounted: after a reboot nobody has done it."""
    for mount in plan.spec.mounts:
        path, _, inner = (mount.source or "").partition("/_data")
        if path.startswith(engine.paths.volumes + "/") and not inner.strip("/") and os.path.isdir(f"{path}/disks"):
            from atoll.engine.volumes.store import ensure_bound

            ensure_bound(path)


def launch(
    engine: Engine,
    container_id: str,
    *,
    promise: bool,
    start: bool = False,
    again: bool = False,
    resume: str = "",
    kept: ContainerPlan | None = None,
) -> Attachment:
    """Make the processes of a container that has none. One that cannot be launched stays as Docker leaves it, created
    and with the reason in `inspect`, unless it was to go with its end: then nothing of it stays. `again`: by its
    restart policy, not by hand. `resume`: where its machine was saved, which goes on. `kept`: its plan, where that is
    not in its directory.

    Raises FailedPrecondition for one that runs already, and what the level of isolation says.
    """
    fresh = engine.plans.pop(container_id, None)
    lock = engine.locks.pop(container_id, None) or _lock(engine, container_id)
    with Rollback() as undo:
        undo.push(lock.release)
        plan = fresh or kept or _load(engine, container_id)
        if resume and plan.machine is not None:
            plan = plan.replace(machine=plan.machine.replace(resume=resume))
        if _goes(plan):
            undo.push(_remove_failed, engine, container_id)
        if fresh is None:
            _clear(engine, container_id)
            engine.snapshots.ensure_writable(container_id)
            _ensure_volumes(engine, plan)
            if plan.spec.process is not None and plan.spec.process.apparmor_profile:
                from atoll.engine.containers import apparmor

                apparmor.ensure(plan.spec.process.apparmor_profile, engine.uid)
            if not again:
                _forget_restarts(engine, container_id)
        # The run root is there (`places.prepare`); the directory is this container's alone.
        os.mkdir(plan.run, 0o700)
        undo.push(_remove_run, engine, plan)
        given = plan
        secret = os.path.exists(f"{plan.bundle}/secrets.json")
        plan = _completed(engine, plan, secret=secret)
        networked = os.path.exists(f"{plan.bundle}/network.json")
        try:
            if networked:
                from atoll.engine.networks import launching

                attachment = launching.create(engine, plan, promise=promise, start=start)
            else:
                attachment = engine.driver.create(plan, promise=promise, start=start)
        except errors.AtollError as error:
            _note_failure(plan.bundle, error)
            raise
        finally:
            if secret:
                from atoll.engine.secrets.deliver import withdraw

                withdraw(engine, container_id)
        undo.push(attachment.close)
        if _goes(given):  # it is never found ended
            engine.going[container_id] = given
        else:
            files.write_atomic(f"{plan.bundle}/{MARK}", "")
        undo.release()
    lock.release()
    if start:
        journal.note(plan.events, "attach")
    return attachment


def _remove_run(engine: Engine, plan: ContainerPlan) -> None:
    """Nothing stays of the processes' side: what failed is undone there already, but a creator that was killed has
    left a cgroup, which only the run directory tells of."""
    engine.driver.delete(plan.run, plan.bundle, force=True)
    files.remove_tree(plan.run)


def _completed(engine: Engine, plan: ContainerPlan, *, secret: bool) -> ContainerPlan:
    """With what only a launch knows: other containers' processes, and what no file on a disk may hold."""
    linux = plan.spec.linux
    if linux is not None and "pod-" in (linux.cgroups_path or ""):
        from atoll.engine.pods import cgroup

        plan = cgroup.completed(engine, plan)
    if linux is not None and any(one.path for one in linux.namespaces):
        from atoll.engine.containers.joins import resolve

        plan = resolve(engine, plan)
    if secret:
        from atoll.engine.secrets.deliver import deliver

        plan = deliver(engine, plan)
    return plan


def _goes(plan: ContainerPlan) -> bool:
    """Whether it is removed at its end."""
    return "cleanup" in plan.on_exit


def _load(engine: Engine, container_id: str) -> ContainerPlan:
    from atoll.engine.containers import bundle

    return bundle.load(engine.paths.container(container_id))


def _clear(engine: Engine, container_id: str) -> None:
    """Away with what an earlier run left; refuse if it still goes on."""
    run, place = engine.paths.container_run(container_id), engine.paths.container(container_id)
    if os.path.isdir(run):
        if not engine.driver.status(run, place).ended:
            raise errors.FailedPrecondition(f"container {container_id[:12]} is already running")
        engine.driver.delete(run, place, force=True)
    _end_held(engine, place)


def _end_held(engine: Engine, place: str) -> None:
    """The machine in which a command that was killed looked at its files."""
    if os.path.isdir(f"{place}/held"):
        from atoll.isolation.files.machine import end_held

        end_held(engine.driver, place)


def _forget_restarts(engine: Engine, container_id: str) -> None:
    if os.path.exists(f"{engine.paths.container(container_id)}/{POLICY_FILE}"):
        from atoll.engine.containers import restarting

        restarting.forget(engine, container_id)


def _lock(engine: Engine, container_id: str) -> ContainerLock:
    try:
        return lock_container(engine.paths.container(container_id))
    except errors.NotFound:
        raise errors.NotFound(f"No such container: {container_id}") from None


def _note_failure(place: str, error: errors.AtollError) -> None:
    from atoll.monitor import record

    code = {errors.CommandNotFound: 127, errors.CommandNotExecutable: 126}.get(type(error), 125)
    try:
        record.write_exit(place, record.Exit(code=code, at=clock.rfc3339(time.time_ns()), error=str(error)))
    except OSError as failed:  # the disk is full, perhaps: the error itself is what matters
        error.add_note(f"while noting it: {failed}")


def _remove_failed(engine: Engine, container_id: str) -> None:
    remove_all(engine, container_id, ())


def launch_detached(engine: Engine, container_id: str, **how: Any) -> None:
    """Launch it and have its program start, attended by nobody. `how` and errors are those of `launch`."""
    attachment = launch(engine, container_id, promise=False, **how)
    try:
        attachment.start()
        attachment.detach()
    except errors.AtollError:
        attachment.close()
        raise
    started(engine, container_id)


def started(engine: Engine, container_id: str) -> None:
    """Its program runs, and nobody waits for it. What there is to note of that the monitor has noted."""
    note_plan(engine, container_id)


def note_plan(engine: Engine, container_id: str) -> None:
    """Keep the plan of a container that goes with its end beside its processes: it is what `restart` makes new ones
    of. Not done at its launch: a short run needs no restart."""
    plan = engine.going.pop(container_id, None)
    if plan is None:
        return
    from atoll.engine.containers import bundle

    try:
        bundle.save(plan, plan.run)
    except OSError:  # it has ended
        pass


def finish(engine: Engine, container_id: str, *, remove: bool) -> None:
    """Settle a container that has ended or whose start has failed. With `remove` all of it goes; that it is gone
    already, or going, or was restarted meanwhile, is fine."""
    run, place = engine.paths.container_run(container_id), engine.paths.container(container_id)
    if not remove:
        return
    try:
        lock = lock_container(place)
    except errors.NotFound:
        return
    with lock:
        if os.path.isdir(run):
            if os.path.exists(f"{place}/{RESTARTED}") and not engine.driver.status(run, place).ended:
                return
            # A failed start: the monitor is still taking it apart. What does not end in time is made to.
            engine.driver.wait(run, place, _END_SECONDS)
        known = _known(engine, container_id)
        # The volumes that go with the container are those that nobody named.
        mounts = known[0].mounts if known is not None else ()
        remove_all(engine, container_id, tuple([mount.source for mount in mounts if mount.anonymous]), known)
    if known is not None and known[0].pod:
        from atoll.engine.pods.ended import after_end

        after_end(engine, known[0].pod)


def _known(engine: Engine, container_id: str) -> tuple[Record, str] | None:
    """Its record and its name."""
    try:
        row = engine.store.container(container_id)
    except errors.NotFound:
        return None
    return Record.from_text(row.record), row.name


def remove_all(
    engine: Engine, container_id: str, volumes: tuple[str, ...], known: tuple[Record, str] | None = None
) -> None:
    """Remove everything of a container, under its lock. Each step finds its work done by a killed predecessor.
    `known` are its record and name where they were just read.

    Processes before the files that they use; the directory, which is the lock, after all other files, so that nobody
    else begins; the row, which says that there is something to do, last.
    """
    run, place = engine.paths.container_run(container_id), engine.paths.container(container_id)
    _forget_restarts(engine, container_id)
    if os.path.isdir(run):
        engine.driver.delete(run, place, force=True)
        files.remove_tree(run)
    _end_held(engine, place)
    if os.path.exists(f"{place}/imported.json"):
        from atoll.engine.volumes import imported

        imported.end(engine, place)
    # From here on it is a leftover: the next command that meets it removes it, and none starts what is half there.
    files.unlink_if_present(f"{place}/plan.json")
    if os.path.exists(f"{place}/network.json"):
        from atoll.engine.networks.release import release

        release(engine, container_id)
    engine.snapshots.remove_writable(container_id)
    if volumes:
        from atoll.engine.volumes import store as volume_store

        for source in volumes:
            volume_store.remove_tree(engine, os.path.dirname(source))
    files.remove_tree(place)
    if known is None:
        try:
            known = _known(engine, container_id)
        except errors.AtollError:  # damaged: nothing can be said of it
            pass
    engine.store.remove_container(container_id)
    if known is not None:
        note.note(engine, "container", "destroy", container_id, **note.attributes_of(*known))


def cleanup(engine: Engine, container_id: str) -> None:
    """After an exit that no command attended to: remove the container if it was to go with its end."""
    try:
        row = engine.store.container(container_id)
    except errors.NotFound:
        return
    if Record.from_text(row.record).remove:
        finish(engine, row.id, remove=True)
