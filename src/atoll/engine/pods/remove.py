"""pod rm: a pod with all its containers; and what a killed command left of one.

Holds: `remove`, `mend`, `check`. Each step finds its work done by a killed predecessor.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.containers.record import Record
from atoll.engine.containers.remove import remove as remove_container
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.events import note
from atoll.engine.locks import is_busy, lock_container
from atoll.engine.pods import cgroup, rows
from atoll.guest.member import door_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRow


def remove(engine: Engine, name: str, *, force: bool, timeout: int | None = None) -> str:
    """Remove a pod and its containers, those that run only with `force`, which are stopped as `timeout` says. Its
    id. Raises NotFound, Conflict in Podman's words."""
    row = rows.find(engine, name)
    if not force:
        _check_idle(engine, row)
    elif timeout is not None:
        from atoll.engine.pods.stop import stop

        stop(engine, row.id, timeout=timeout)
    try:
        lock = lock_container(rows.directory(engine, row.id))
    except errors.NotFound:
        _take_down(engine, row)
        return row.id
    with lock:
        if rows.by_id(engine.store, row.id) is None:
            raise errors.NotFound(f"no pod with name or ID {name} found: no such pod")
        _take_down(engine, row)
    return row.id


def _check_idle(engine: Engine, row: PodRow) -> None:
    for one in engine.store.in_pod(row.id):
        if is_up(state_of(engine, one.id)):
            raise errors.Conflict(
                f"pod {row.id} has containers that are not ready to be removed: cannot remove container {one.id} as "
                "it is running - running or paused containers cannot be removed without force",
                hint="stop the pod first, or take --force",
            )


def _take_down(engine: Engine, row: PodRow) -> None:
    """All of a pod, under its lock: from the first step on nobody gets into it, and whoever meets it goes on here;
    those who join before what they join; the row, which says that there is something to do, last."""
    directory = rows.directory(engine, row.id)
    files.unlink_if_present(f"{directory}/{rows.MADE}")
    members = [(Record.from_text(one.record).infra, one) for one in engine.store.in_pod(row.id)]
    for infra, one in sorted(members, key=lambda pair: pair[0]):
        try:
            remove_container(engine, one.id, force=True, volumes=True, with_pod=True)
        except errors.NotFound:
            continue
        if infra and row.record.isolation:
            files.remove_tree(door_of(engine.paths.container_run(one.id)))
    _remove_volumes(engine, row)
    cgroup.delete(engine, row.id)
    files.remove_tree(directory)
    rows.remove(engine.store, row.id)
    note.note(engine, "pod", "remove", row.id, name=row.name)


def _remove_volumes(engine: Engine, row: PodRow) -> None:
    from atoll.engine.volumes.remove import remove as remove_volume

    for name in row.record.own_volumes:
        try:
            remove_volume(engine, name)
        except (errors.NotFound, errors.Conflict):  # never made; or somebody else's container uses it by now
            continue


def mend(engine: Engine, row: PodRow) -> bool:
    """Remove a pod that a killed command left half made or half removed; whether it was one."""
    if rows.is_whole(engine, row.id):
        return False
    directory = rows.directory(engine, row.id)
    try:
        lock = lock_container(directory, blocking=False)
    except errors.Unavailable:
        return False  # being made, or being removed, right now
    except errors.NotFound:
        if rows.by_id(engine.store, row.id) is not None:
            _take_down(engine, row)
        return True
    with lock:
        if rows.is_whole(engine, row.id):
            return False
        if rows.by_id(engine.store, row.id) is not None:
            _take_down(engine, row)
    return True


def check(engine: Engine, *, repair: bool) -> list[str]:
    """For `system check`: pods half made or half removed, directories and cgroups of none."""
    found = []
    known = rows.every(engine.store)
    for row in known:
        if rows.is_whole(engine, row.id) or is_busy(rows.directory(engine, row.id)):
            continue
        found.append(f"pod {row.id[:12]} ({row.name}) is half made or half removed")
        if repair:
            mend(engine, row)
    there = {row.id for row in known}
    for name in _listed(f"{engine.paths.data}/pods"):
        directory = rows.directory(engine, name)
        if name in there or is_busy(directory):
            continue
        if rows.by_id(engine.store, name) is None and os.path.isdir(directory):
            found.append(f"directory {directory} belongs to no pod")
            if repair:
                files.remove_tree(directory)
    for file in _listed(cgroup.directory(engine)):
        name = file.removesuffix(".json")
        if name not in there and rows.by_id(engine.store, name) is None:
            found.append(f"the cgroup of pod {name[:12]} belongs to no pod")
            if repair:
                cgroup.delete(engine, name)
    return found

    for name in _listed(os.path.dirname(door_of(engine.paths.container_run("-")))):
        if not os.path.isdir(engine.paths.container(name)):
            found.append(f"the door of the machine of container {name[:12]} belongs to no pod")
            if repair:
                files.remove_tree(door_of(engine.paths.container_run(name)))
    return found


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
