"""The volumes of a container in an archive: packed where it was, and made anew where it goes on.

Holds: `of_record` (which travel, and what does not), `pack`; `Wishes`, `choose`, `unpack`. Does not hold: the
archive's form (`archive.py`), how a volume becomes one with its container (`engine/volumes/imported.py`).

A volume is a tar archive of its directory: owners, modes, times, hard links, holes, file capabilities and `user.`
attributes, as in a layer of an image. It is unpacked as a layer is, by a process shut into its directory
(`snapshots/confine.py`), with a layer's bounds and rules; but nodes of devices are never made. What a volume was made
with (options, labels, a size) is its store's, and is not taken from an archive.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.checkpoints import archive
from atoll.engine.checkpoints.archive import RESTRICTIONS, Manifest, VolumeFacts, VolumeMount
from atoll.engine.containers.record import MountPoint
from atoll.engine.volumes import imported, store
from atoll.engine.volumes.imported import Imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.rollback import Rollback
    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest


class Found(Value):
    """A volume that travels: its directory, and what the archive says of it."""

    path: str
    facts: VolumeFacts


def of_record(engine: Engine, record: Record) -> tuple[list[Found], list[MountPoint]]:
    """The volumes of a container whose content travels, and the mounts of which it does not: those of the host's own
    directories, and volumes that are another file system."""
    found: dict[str, Found] = {}
    left = []
    for mount in record.mounts:
        if mount.type not in ("bind", "volume"):
            continue
        path = f"{engine.paths.volumes}/{mount.name}/{store.DATA}"
        if mount.type == "bind" or mount.filesystem or mount.source != path or not mount.name:
            left.append(mount)
            continue
        known = found.get(mount.name)
        name = "" if mount.anonymous else mount.name
        facts = known.facts if known is not None else VolumeFacts(name=name, mounts=())
        found[mount.name] = Found(path=path, facts=facts.replace(mounts=(*facts.mounts, _travelling(mount))))
    if len(found) > archive.VOLUMES_MAX:
        raise errors.Exhausted(f"an archive holds {archive.VOLUMES_MAX} volumes at most", hint="--ignore-volumes")
    return list(found.values()), left


def _travelling(mount: MountPoint) -> VolumeMount:
    return VolumeMount(
        destination=mount.destination,
        read_only=mount.read_only,
        copy=mount.copy,
        subpath=mount.subpath,
        options=tuple([one for one in mount.options if one in RESTRICTIONS]),
    )


def pack(engine: Engine, found: list[Found], place: str) -> list[str]:
    """Write the archives of volumes into the directory `place`; in words what was left out. Nobody writes to them
    meanwhile but containers that share them. Raises AtollError, OSError."""
    from atoll.snapshots.worker import Worker

    notes = []
    with Worker(engine.snapshots.idmap) as worker:
        for number, one in enumerate(found):
            store.ensure_bound(os.path.dirname(one.path))
            out = os.open(
                f"{place}/{archive.VOLUMES[number]}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            try:
                facts = worker.ask({"do": "tree", "path": one.path}, [out])
            finally:
                os.close(out)
            if facts["omitted"]:
                what = f"{facts['omitted']} nodes of devices or sockets"
                notes.append(f"{what} of the volume at {one.facts.mounts[0].destination} are not in the archive")
    return notes


class Wishes(Value):
    """What is to become of an archive's volumes: `ignore` all, or give them other names (`renamed`: old, new)."""

    ignore: bool = False
    renamed: tuple[tuple[str, str], ...] = ()


def choose(
    engine: Engine, manifest: Manifest, request: RunRequest, wishes: Wishes
) -> tuple[list[tuple[int, VolumeFacts]], list[str]]:
    """The volumes that are to be made, by their number in the archive, under the names that they are to have; and the
    places for which there will be nothing. What the request mounts itself is not in question. Raises
    InvalidArgument, Conflict for a name that is taken."""
    from atoll.base import ids
    from atoll.engine.containers import storage

    renamed = dict(wishes.renamed)
    unknown = set(renamed) - {one.name for one in manifest.volumes if one.name}
    if unknown:
        raise errors.InvalidArgument(f"the archive has no volume {min(unknown)}", hint=_known(manifest))
    asked = {mount.destination for mount in storage.gather(engine, request, ())}
    lacking = [place for place in manifest.left if place not in asked]
    chosen = []
    for number, one in enumerate(manifest.volumes):
        mounts = tuple([mount for mount in one.mounts if mount.destination not in asked])
        if wishes.ignore:
            lacking += [mount.destination for mount in mounts]
        elif mounts:
            name = renamed.get(one.name, one.name)
            _check_name(engine, one.name, name)
            chosen.append((number, VolumeFacts(name=name or ids.new_id(), mounts=mounts)))
    if len({one.name for _, one in chosen}) != len(chosen):
        raise errors.InvalidArgument("two volumes of the archive would have one name")
    return chosen, lacking


def _known(manifest: Manifest) -> str:
    names = [one.name for one in manifest.volumes if one.name]
    return f"it has {', '.join(names)}" if names else "it has none with a name"


def _check_name(engine: Engine, old: str, name: str) -> None:
    from atoll.base import ids

    if name and not ids.valid_name(name):
        raise errors.InvalidArgument(f"{name!r} cannot name a volume")
    if name and os.path.lexists(f"{engine.paths.volumes}/{name}"):
        raise errors.Conflict(
            f"volume {name} exists already",
            hint=f"--rename-volume {old}=OTHER makes another, -v {name}:PLACE takes the one that is here, "
            "--ignore-volumes leaves all of the archive's out",
        )


def unpack(
    engine: Engine,
    manifest: Manifest,
    chosen: list[tuple[int, VolumeFacts]],
    place: str,
    *,
    held: Rollback,
    undo: Rollback,
) -> tuple[Imported, ...]:
    """Unpack the chosen volumes, whose archives are in the directory `place`. They lie ready, locked by `held`;
    `undo` removes them, whatever they are called by then. Raises AtollError, OSError."""
    from atoll.engine.locks import lock_container
    from atoll.linux import sync

    if not chosen:
        return ()
    _tidy(engine)
    made = []
    known: dict[str, tuple[int, int]] = {}
    undo.push(imported.remove, engine, known)
    for number, one in chosen:
        anonymous = not manifest.volumes[number].name
        staging = imported.stage(engine, one.name, anonymous=anonymous)
        undo.push(store.remove_tree, engine, staging)
        held.push(lock_container(staging).release)
        found = os.stat(staging)
        known[one.name] = (found.st_dev, found.st_ino)
        _fill(engine, f"{place}/{archive.VOLUMES[number]}", f"{staging}/{store.DATA}", one)
        source = f"{engine.paths.volumes}/{one.name}/{store.DATA}"
        mounts = tuple([_mount(source, one.name, mount, anonymous=anonymous) for mount in one.mounts])
        made.append(Imported(name=one.name, staging=staging, mounts=mounts))
    sync.syncfs_path(engine.paths.volumes)
    return tuple(made)


def _tidy(engine: Engine) -> None:
    """What killed commands left, if nobody is just making a volume."""
    held = store.lock(engine)
    if held.acquire(blocking=False):
        try:
            store.sweep(engine)
        finally:
            held.release()


def _mount(source: str, name: str, mount: VolumeMount, *, anonymous: bool) -> MountPoint:
    return MountPoint(
        type="volume",
        source=source,
        destination=mount.destination,
        name=name,
        anonymous=anonymous,
        read_only=mount.read_only,
        copy=mount.copy,
        subpath=mount.subpath,
        options=mount.options,
    )


def _fill(engine: Engine, path: str, target: str, one: VolumeFacts) -> None:
    """One archive into one empty directory."""
    from atoll.snapshots.policy import for_map
    from atoll.snapshots.worker import Worker

    idmap = engine.snapshots.idmap
    policy = for_map(rootless=idmap is not None, single=idmap is not None and idmap.single, bottom=True)
    blob = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            size = os.fstat(blob).st_size
            with Worker(idmap, unpacks=True) as worker:
                found, _ = worker.unpack(
                    blob, size, root, policy.replace(devices="drop", plain=True), path=target, held=root,
                    available=lambda: size,
                )  # fmt: skip
        finally:
            os.close(root)
    finally:
        os.close(blob)
    if found.stripped:
        engine.warnings.append(f"{found.stripped} nodes or attributes of the volume {one.name} were not taken")
