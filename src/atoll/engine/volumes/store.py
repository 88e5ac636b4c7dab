"""A volume as a directory: `volumes/<name>/_data` is its content, `volumes/<name>/volume.json` what is known of it.

Holds: `Volume`, making, finding, removing one, the lock. Does not hold: who uses one (`users.py`), the verbs
(`create.py`, `list.py`, `remove.py`), what its options mean (`options.py`).

A volume is made under another name and renamed: it is there whole or not at all. `volumes.lock` is shared by whoever
makes a container that will use a volume, from its making until the container's row names it, and exclusive by whoever
removes volumes that nobody uses.
"""

from __future__ import annotations

import errno
import os
import time

from atoll.base import clock, errors, files, ids, jsontext
from atoll.base.value import Value
from atoll.snapshots import store as snapshots
from atoll.spec import codec
from atoll.spec.codec import flag, map_of, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

FACTS = "volume.json"
DATA = "_data"
_STAGING = ".making-"


class Volume(Value):
    """`created_at` is RFC 3339; `options` are those of the local driver (`type`, `device`, `o`, `size`)."""

    name: str
    path: str
    created_at: str = clock.ZERO
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    WIRE = {
        "name": text,
        "path": text,
        "created_at": text,
        "labels": map_of(text),
        "options": map_of(text),
        "anonymous": flag,
    }

    @property
    def mountpoint(self) -> str:
        """Where its content is."""
        return f"{self.path}/{DATA}"


def lock(engine: Engine) -> files.FileLock:
    """The lock on what volumes there are; not yet taken."""
    return files.FileLock(engine.paths.data + "/volumes.lock")


def ensure(
    engine: Engine,
    name: str,
    *,
    labels: tuple[tuple[str, str], ...] = (),
    options: tuple[tuple[str, str], ...] = (),
    anonymous: bool = False,
) -> Volume:
    """The volume of that name, made if it is not there. The caller holds the lock. Raises Conflict for one that is
    there with other options, and what the disk says."""
    path = f"{engine.paths.volumes}/{name}"
    try:
        # What every `run -v name:/path` after the first meets.
        if not options and os.path.isdir(f"{path}/{DATA}"):
            ensure_bound(path)
            return Volume(name=name, path=path)
        if os.path.isdir(path):
            known = find(engine, name)
            ensure_bound(path)
            if options and options != known.options:
                raise errors.Conflict(
                    f"volume {name} exists already, with other options",
                    hint=f"remove it first: atoll volume rm {name}",
                )
            return known
        return _make(engine, name, path, labels, options, anonymous=anonymous)
    except OSError as error:
        raise errors.from_os_error(error, f"make the volume {name}") from error


def ensure_bound(path: str) -> None:
    """Have the volume's own file system mounted, if it has one (`size`): after a reboot it is not. Raises
    AtollError."""
    if os.path.isdir(f"{path}/disks"):
        from atoll.snapshots import quota

        quota.ensure(path, DATA, f"{path}/{DATA}")


def _make(
    engine: Engine,
    name: str,
    path: str,
    labels: tuple[tuple[str, str], ...],
    options: tuple[tuple[str, str], ...],
    *,
    anonymous: bool,
) -> Volume:
    volume = Volume(
        name=name,
        path=path,
        created_at=clock.rfc3339(time.time_ns()),
        labels=labels,
        options=options,
        anonymous=anonymous,
    )
    staging = stage(engine, volume)
    try:
        os.rename(staging, path)
    except OSError as error:
        remove_tree(engine, staging)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return find(engine, name)  # another command was faster
        raise
    except BaseException:
        remove_tree(engine, staging)
        raise
    return volume


def stage(engine: Engine, volume: Volume) -> str:
    """The directory of a volume that is not there yet: whoever renames it makes the volume. One that nobody has
    locked (`lock_container`) and that lies there when volumes are removed was left. Raises AtollError, OSError."""
    os.makedirs(engine.paths.volumes, 0o711, exist_ok=True)
    staging = f"{engine.paths.volumes}/{_STAGING}{ids.new_id()[:16]}"
    os.mkdir(staging, 0o711)
    try:
        os.mkdir(f"{staging}/{DATA}", 0o755)
        if volume.options:
            from atoll.engine.volumes import options as meaning

            meaning.prepare(engine, volume, f"{staging}/{DATA}")
        files.write_atomic(f"{staging}/{FACTS}", jsontext.dumps(codec.dump(volume)))
    except BaseException:
        remove_tree(engine, staging)
        raise
    return staging


def find(engine: Engine, name: str) -> Volume:
    """A volume by its name. Raises NotFound in Docker's words."""
    path = f"{engine.paths.volumes}/{name}"
    if not ids.valid_name(name) or not os.path.isdir(path):
        raise errors.NotFound(f"get {name}: no such volume")
    try:
        known = codec.parse(Volume, jsontext.loads(files.read_bytes(f"{path}/{FACTS}")), FACTS)
        return known.replace(name=name, path=path)  # the place says both, whatever was written
    except FileNotFoundError:
        # Made by an older Atoll, or by hand.
        return Volume(name=name, path=path, created_at=clock.rfc3339(os.stat(path).st_mtime_ns))
    except (ValueError, errors.InvalidArgument) as error:
        raise errors.Corrupt(f"{path}/{FACTS} is damaged: {error}") from None


def everything(engine: Engine) -> list[Volume]:
    """All volumes, by name."""
    try:
        names = os.listdir(engine.paths.volumes)
    except FileNotFoundError:
        return []
    found = []
    for name in sorted(names):
        try:
            found.append(find(engine, name))
        except errors.NotFound:  # being made, or gone just now
            continue
    return found


def remove_tree(engine: Engine, path: str) -> None:
    """Remove a volume's directory; files of other ids of this user's map inside that map. Absent is fine."""
    if os.path.isdir(f"{path}/disks"):
        from atoll.snapshots import quota

        quota.release(path, DATA, f"{path}/{DATA}")
    snapshots.remove_tree(path, engine.idmap)


def sweep(engine: Engine) -> None:
    """Remove what killed commands left half made. The caller holds the lock exclusively."""
    for path in abandoned(engine):
        remove_tree(engine, path)


def abandoned(engine: Engine) -> list[str]:
    """What `sweep` removes; without the lock, also what is just being made."""
    from atoll.engine.locks import is_busy

    try:
        names = os.listdir(engine.paths.volumes)
    except FileNotFoundError:
        return []
    found = [f"{engine.paths.volumes}/{name}" for name in names if name.startswith(_STAGING)]
    return [path for path in found if not is_busy(path)]
