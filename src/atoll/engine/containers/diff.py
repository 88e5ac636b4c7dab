"""diff: what a container changed of its image's files."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers import machine
from atoll.engine.containers.record import Record
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.snapshots.diff import Change


def diff(engine: Engine, name: str) -> list[Change]:
    """The changes, by path. Raises NotFound, Unsupported for one of the host's own root."""
    from atoll.snapshots.diff import changes_of

    row = engine.store.container(name)
    if machine.is_in_one(row):
        return _in_machine(engine, row)
    chains = engine.store.chain_ids(image_of(row, "diff"))
    have_writable(engine, row)
    return changes_of(engine.snapshots, row.id, chains, skip=made_places(Record.from_text(row.record)))


def _in_machine(engine: Engine, row: ContainerRow) -> list[Change]:
    from atoll.base.rollback import Rollback
    from atoll.engine.containers import machine_files
    from atoll.snapshots.diff import Change

    with Rollback() as undo:
        found = machine_files.open_files(engine, row, undo, bare=True)
        skip = made_places(Record.from_text(row.record))
        return [Change(kind=kind, path=path) for kind, path in found.changes(skip)]


def have_writable(engine: Engine, row: ContainerRow) -> None:
    """Have the writable layer there of a container that does not run: a bounded one lies on a file system of its own,
    which is not mounted after a reboot. Under the container's lock, as two mounts of one would destroy it."""
    if engine.snapshots.is_away(row.id):
        with lock_container(engine.paths.container(row.id)):
            engine.snapshots.ensure_writable(row.id)


def image_of(row: ContainerRow, verb: str) -> str:
    """The id of its image. Raises Unsupported for the host's own root, which has no layers."""
    if row.image is None:
        raise errors.Unsupported(
            f"cannot {verb} container {row.name}: it was made of the host's own root, which is no image",
            hint="make it from an image",
        )
    return row.image


def made_places(record: Record) -> frozenset[str]:
    """The places that the engine makes to mount on, which are no changes of the user's."""
    found = {"/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/run/secrets"}
    for mount in record.mounts:
        place = mount.destination.rstrip("/")
        while place:
            found.add(place)
            place = place.rpartition("/")[0]
    return frozenset(found)
