"""Where checkpoints are: directories in their container's own, so that they go with it.

Holds: `Checkpoint`, `listed`, `need`, `remove`, `making` (a new one, whole or not at all), `abandoned` (what killed
commands left). Does not hold: what is written into them (`save.py`).

    containers/<id>/checkpoints/<name>/checkpoint.json   when, and whether with memory
                                      /machine.json      what the machine was made of (`vm/checkpoint.py`)
                                      /memory, state     the guest's memory, sparse, and its devices
                                      /disk.img          what the container had written, sparse
                               /.<random>/               being made, or left by who was killed: locked, or not

Files are 0600 in directories of 0700: memory holds whatever the container knew.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, ids, jsontext
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.engine.locks import is_busy, lock_container
from atoll.linux.rename import exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from atoll.engine.engine import Engine

FACTS, MEMORY, STATE, DISK = "checkpoint.json", "memory", "state", "disk.img"
UNNAMED = "checkpoint"
"""The name of one that was given none: the next takes its place."""


class Checkpoint(Value):
    """One of a container: RFC 3339, whether the machine's memory is in it, bytes that it takes."""

    name: str
    created: str
    memory: bool
    size: int


def folder(engine: Engine, container_id: str) -> str:
    """Where the checkpoints of a container are."""
    return f"{engine.paths.container(container_id)}/checkpoints"


def listed(engine: Engine, container_id: str) -> list[Checkpoint]:
    """Those of a container, by name."""
    place = folder(engine, container_id)
    names = sorted(os.listdir(place)) if os.path.isdir(place) else []
    return [_look(place, name) for name in names if not name.startswith(".")]


def list_checkpoints(engine: Engine, container: str) -> list[Checkpoint]:
    """The same, of the container that somebody named. Raises NotFound."""
    return listed(engine, engine.store.container(container).id)


def need(engine: Engine, container_id: str, container: str, name: str) -> tuple[str, Checkpoint]:
    """Its directory, and what is known of it. Raises NotFound in Docker's words, Corrupt."""
    place = folder(engine, container_id)
    if not ids.valid_name(name) or not os.path.isdir(f"{place}/{name}"):
        raise errors.NotFound(
            f"checkpoint {name} does not exist for container {container}",
            hint=f"'atoll checkpoint ls {container}' lists them",
        )
    return f"{place}/{name}", _look(place, name)


def remove(engine: Engine, container: str, name: str) -> None:
    """Remove one. Raises NotFound."""
    row = engine.store.container(container)
    with lock_container(engine.paths.container(row.id)):
        place, _ = need(engine, row.id, container, name)
        discard(place)


def discard(place: str) -> None:
    """Remove a checkpoint's directory: from one moment to the next it is none, and then what it took is given
    back. Raises OSError."""
    away = f"{os.path.dirname(place)}/.{ids.new_id()[:12]}"
    os.rename(place, away)
    files.remove_tree(away)


def _look(place: str, name: str) -> Checkpoint:
    path = f"{place}/{name}/{FACTS}"
    try:
        known = jsontext.loads(files.read_bytes(path))
        found = [os.stat(f"{place}/{name}/{one}").st_blocks * 512 for one in os.listdir(f"{place}/{name}")]
        return Checkpoint(name=name, created=str(known["created"]), memory=known["memory"] is True, size=sum(found))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.Corrupt(f"damaged record {path}: {error}") from None


class Making:
    """A checkpoint being made in the directory `place`, nobody's until `keep`; gone at the end of the block unless
    that was called."""

    def __init__(self, parent: str) -> None:
        self._parent = parent
        os.makedirs(parent, mode=0o700, exist_ok=True)
        self.place = f"{parent}/.{ids.new_id()[:12]}"
        self._undo = Rollback()
        os.mkdir(self.place, 0o700)
        self._undo.push(files.remove_tree, self.place)
        try:
            self._undo.push(lock_container(self.place).release)
        except BaseException:
            self._undo.run()
            raise

    def keep(self, name: str) -> None:
        """From here on it is the checkpoint `name`, in place of an earlier one: the old or the new, never a part, and
        never neither. Raises OSError."""
        for file in os.listdir(self.place):
            fd = os.open(f"{self.place}/{file}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        files.sync_directory(self.place)
        target = f"{self._parent}/{name}"
        if os.path.isdir(target):
            exchange(self.place, target)
            files.sync_directory(self._parent)
            return  # what is in our place now is the earlier one, and goes
        os.rename(self.place, target)
        files.sync_directory(self._parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.run()


def making(engine: Engine, container_id: str) -> Making:
    """Begin one. Raises OSError."""
    return Making(folder(engine, container_id))


def abandoned(engine: Engine, container_id: str) -> list[str]:
    """Directories that killed commands left half made or half removed."""
    place = folder(engine, container_id)
    names = os.listdir(place) if os.path.isdir(place) else []
    return [f"{place}/{name}" for name in names if name.startswith(".") and not is_busy(f"{place}/{name}")]
