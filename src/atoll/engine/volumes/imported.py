"""Volumes that come with a container, out of an archive: there when it is there, and gone when its making fails.

Holds: `Imported`, `stage`, `settle`, `done`, `take_back`, `end`. Does not hold: where their content comes from
(`engine/checkpoints/volumes.py`), the making of a container (`containers/create.py`).

A volume lies ready under another name, locked (`store.stage`), and gets its own just before the container's plan is
written. A note in the container's directory tells of it until then: whoever removes a container that was left half
made takes its volumes back; of one that was whole, the note goes before the plan does (`end`).
"""

from __future__ import annotations

import errno
import os

from atoll.base import clock, errors, files, ids, jsontext
from atoll.base.value import Value
from atoll.engine.containers.record import MountPoint
from atoll.engine.volumes import store
from atoll.engine.volumes.store import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from atoll.engine.engine import Engine

NOTE = "imported.json"


class Imported(Value):
    """One of a container's `mounts`, or several: its volume lies ready at `staging`."""

    name: str
    staging: str
    mounts: tuple[MountPoint, ...]


def stage(engine: Engine, name: str, *, anonymous: bool) -> str:
    """The directory of a volume to be, empty; the caller locks it. Raises AtollError, OSError."""
    path = f"{engine.paths.volumes}/{name}"
    made = Volume(name=name, path=path, created_at=clock.rfc3339(_now()), anonymous=anonymous)
    return store.stage(engine, made)


def _now() -> int:
    import time

    return time.time_ns()


def settle(engine: Engine, directory: str, volumes: Iterable[Imported]) -> None:
    """Give volumes their names, for the container of `directory`. On failure none has one. Raises Conflict for a name
    that was taken meanwhile, OSError."""
    noted = {}
    for one in volumes:
        found = os.stat(one.staging)
        noted[one.name] = [found.st_dev, found.st_ino]
    files.write_atomic(f"{directory}/{NOTE}", jsontext.dumps(noted))
    try:
        for one in volumes:
            os.rename(one.staging, f"{engine.paths.volumes}/{one.name}")
        files.sync_directory(engine.paths.volumes)
    except OSError as error:
        take_back(engine, directory)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise errors.Conflict(f"volume {one.name} was made by another command meanwhile") from None
        raise


def done(directory: str) -> None:
    """The container is there, and its volumes stay, whatever becomes of it."""
    files.unlink_if_present(f"{directory}/{NOTE}")


def take_back(engine: Engine, directory: str) -> None:
    """Remove the volumes that came with a container which is not to be. Raises Corrupt, OSError."""
    try:
        noted = jsontext.loads(files.read_bytes(f"{directory}/{NOTE}"))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise errors.Corrupt(f"{directory}/{NOTE} is damaged: {error}") from None
    remove(engine, {name: (known[0], known[1]) for name, known in noted.items() if ids.valid_name(name)})
    done(directory)


def end(engine: Engine, directory: str) -> None:
    """Before a container is removed: with one that was never whole its volumes go. Raises Corrupt, OSError."""
    from atoll.engine.containers import bundle

    if bundle.is_whole(directory):
        done(directory)
    else:
        take_back(engine, directory)


def remove(engine: Engine, known: dict[str, tuple[int, int]]) -> None:
    """Remove those volumes of these names that are still the same directories (device and inode)."""
    for name, which in known.items():
        path = f"{engine.paths.volumes}/{name}"
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue
        if (found.st_dev, found.st_ino) == which:
            store.remove_tree(engine, path)
