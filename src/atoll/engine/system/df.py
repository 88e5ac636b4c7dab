"""system df: what takes the space under the data root, every byte of it under some name.

Holds: `df`, its values. Docker's four kinds come first; what else there is (the database, caches, what is half
downloaded) is told by name, and what has none is `other`, which `system check` looks into.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Kind(Value):
    """One row: `count` things, `active` of them in use, bytes on the disk, and how many a prune would give back."""

    name: str
    count: int
    active: int
    size: int
    reclaimable: int


class ImageSpace(Value):
    """An image: bytes of its layers and blobs, those that others have too, those that are its own."""

    id: str
    repository: str | None
    tag: str | None
    created: str | None
    size: int
    shared: int
    unique: int
    containers: int


class ContainerSpace(Value):
    """A container: bytes that it wrote, with its log, records and checkpoints."""

    id: str
    name: str
    image: str
    created_ns: int
    state: str
    size: int


class VolumeSpace(Value):
    """A volume: how many containers use it, its bytes."""

    name: str
    links: int
    size: int


class Space(Value):
    """All of it; `total` is what the data root takes, the sum of `kinds`. `driver` is how new containers get their
    roots, `budget` the bytes that images may take (0: any)."""

    kinds: tuple[Kind, ...]
    images: tuple[ImageSpace, ...]
    containers: tuple[ContainerSpace, ...]
    volumes: tuple[VolumeSpace, ...]
    total: int
    driver: str
    budget: int


def df(engine: Engine) -> Space:
    """Measure. Bytes are those that are allocated (`st_blocks`), hard links counted once."""
    usage = _Usage(engine.paths.data)
    images = _images(engine, usage)
    containers = _containers(engine, usage)
    volumes = _volumes(engine, usage)
    layers = usage.below(f"{engine.paths.snapshots}/layers") + usage.below(f"{engine.paths.content}/blobs")
    writable = usage.below(f"{engine.paths.snapshots}/writable")
    in_use = [one for one in images if one.containers]
    stopped = [one for one in containers if one.state not in ("running", "paused")]
    unused = [one for one in volumes if not one.links]
    saved = _checkpoints(engine, usage)
    kept = _kept_bytes(engine, usage, {one.id for one in in_use})
    kinds = [
        Kind(
            name="Images",
            count=len({one.id for one in images}),
            active=len({one.id for one in in_use}),
            size=layers,
            reclaimable=max(0, layers - kept),
        ),
        Kind(
            name="Containers",
            count=len(containers),
            active=len(containers) - len(stopped),
            size=writable + usage.below(engine.paths.containers) - sum(saved.values()),
            reclaimable=sum(one.size - saved.get(one.id, 0) for one in stopped),
        ),
        Kind(
            name="Local Volumes",
            count=len(volumes),
            active=len(volumes) - len(unused),
            size=usage.below(engine.paths.volumes),
            reclaimable=sum(one.size for one in unused),
        ),
    ]
    if saved:
        of_stopped = sum(saved.get(one.id, 0) for one in stopped)
        size = sum(saved.values())
        kinds.append(Kind(name="Checkpoints", count=len(saved), active=0, size=size, reclaimable=of_stopped))
    cache = usage.below(f"{engine.paths.data}/cache")
    kinds.append(
        Kind(
            name="Build Cache",
            count=usage.files(f"{engine.paths.data}/cache"),
            active=0,
            size=cache,
            reclaimable=cache,
        )
    )
    kinds += _machines(engine, usage)
    partial = usage.below(f"{engine.paths.content}/partial") + usage.below(f"{engine.paths.snapshots}/tmp")
    partial += usage.below(f"{engine.paths.snapshots}/trash")
    kinds.append(
        Kind(
            name="Unfinished",
            count=usage.files(f"{engine.paths.content}/partial"),
            active=0,
            size=partial,
            reclaimable=partial,
        )
    )
    database = sum(usage.below(engine.paths.database + end) for end in ("", "-wal", "-shm"))
    kinds.append(Kind(name="Records", count=1, active=1, size=database, reclaimable=0))
    other = usage.total - sum(one.size for one in kinds)
    kinds.append(Kind(name="Other", count=0, active=0, size=other, reclaimable=0))
    return Space(
        kinds=tuple(kinds),
        images=tuple(images),
        containers=tuple(containers),
        volumes=tuple(volumes),
        total=usage.total,
        driver=engine.snapshots.driver(),
        budget=engine.config.storage_keep,
    )


class _Usage:
    """One walk over the data root: allocated bytes of every directory and of the files at its top."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._bytes: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._seen: set[tuple[int, int]] = set()
        self.total = self._walk(root, 0) + os.lstat(root).st_blocks * 512

    def below(self, path: str) -> int:
        """Bytes of a file, or of a directory with all in it; 0 if it is not there."""
        return self._bytes.get(path, 0)

    def files(self, path: str) -> int:
        """How many files are in a directory and below it."""
        return self._files.get(path, 0)

    def _walk(self, path: str, depth: int) -> int:
        total = count = 0
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    size = 0
                    if (info.st_dev, info.st_ino) not in self._seen:
                        if info.st_nlink > 1:
                            self._seen.add((info.st_dev, info.st_ino))
                        size = info.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        size += self._walk(entry.path, depth + 1)
                        count += self._files.get(entry.path, 0)
                    else:
                        count += 1
                    if depth < 4:  # what `below` is asked for lies no deeper
                        self._bytes[entry.path] = size
                    total += size
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # gone meanwhile, or another id's of this user: its owner alone could tell
        self._files[path] = count
        return total


def _layer_bytes(engine: Engine, usage: _Usage, image_id: str) -> dict[str, int]:
    """What an image keeps: its layers' directories and its blobs, by path."""
    found = {}
    for chain in engine.store.chain_ids(image_id):
        path = engine.snapshots.layer_path(chain)
        found[path] = usage.below(path)
    content = engine.content()
    for (digest,) in engine.store.read("SELECT digest FROM blobs WHERE image = ?", image_id):
        path = content.path(str(digest))
        found[path] = usage.below(path)
    return found


def _kept_bytes(engine: Engine, usage: _Usage, image_ids: set[str]) -> int:
    kept: dict[str, int] = {}
    for one in image_ids:
        kept |= _layer_bytes(engine, usage, one)
    return sum(kept.values())


def _images(engine: Engine, usage: _Usage) -> list[ImageSpace]:
    rows = engine.store.images()
    parts = {row.id: _layer_bytes(engine, usage, row.id) for row in rows}
    owners: dict[str, int] = {}
    for part in parts.values():
        for path in part:
            owners[path] = owners.get(path, 0) + 1
    found = []
    for view in engine.images():
        part = parts.get(view.id, {})
        shared = sum(size for path, size in part.items() if owners[path] > 1)
        size = sum(part.values())
        found.append(
            ImageSpace(
                id=view.id,
                repository=view.repository,
                tag=view.tag,
                created=view.created_at,
                size=size,
                shared=shared,
                unique=size - shared,
                containers=view.containers,
            )
        )
    return found


def _checkpoints(engine: Engine, usage: _Usage) -> dict[str, int]:
    """Bytes of containers' checkpoints, of those that have any: they go with their containers."""
    places = {row.id: f"{engine.paths.container(row.id)}/checkpoints" for row in engine.store.containers()}
    return {container: usage.below(place) for container, place in places.items() if usage.files(place)}


def _machines(engine: Engine, usage: _Usage) -> list[Kind]:
    """Kernels, closures, templates and formatted disks, where there are any."""
    from atoll.engine.system import machines

    root = f"{engine.paths.data}/vm"
    if not usage.below(root):
        return []
    left = machines.leftovers(engine)
    entries = [name for kind in ("closure", "templates") for name in _names(f"{root}/{kind}")]
    reclaimable = sum(usage.below(path) for path in left)
    count = len(entries)
    active = count - len(left)
    return [Kind(name="Machines", count=count, active=active, size=usage.below(root), reclaimable=reclaimable)]


def _names(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if not name.endswith(".lock")]
    except FileNotFoundError:
        return []


def _containers(engine: Engine, usage: _Usage) -> list[ContainerSpace]:
    from atoll.engine.containers.state import state_of

    found = []
    for row in engine.store.containers():
        try:
            state = state_of(engine, row.id).status
        except errors.NotFound:  # removed meanwhile
            continue
        size = usage.below(engine.snapshots.writable(row.id).path) + usage.below(engine.paths.container(row.id))
        found.append(
            ContainerSpace(
                id=row.id,
                name=row.name,
                image=_name_of(engine, row.image),
                created_ns=row.created_at,
                state=state,
                size=size,
            )
        )
    return found


def _name_of(engine: Engine, image_id: str | None) -> str:
    if image_id is None:
        return "host"
    tags = [tag for tag in engine.store.tags(image_id) if tag.tag is not None]
    return references.parse(tags[0].reference).familiar if tags else image_id[7:19]


def _volumes(engine: Engine, usage: _Usage) -> list[VolumeSpace]:
    from atoll.engine.volumes import store
    from atoll.engine.volumes.users import users

    used = users(engine)
    return [
        VolumeSpace(name=one.name, links=len(used.get(one.name, ())), size=usage.below(one.path))
        for one in store.everything(engine)
    ]
