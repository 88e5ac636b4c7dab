"""Files of a container in a machine: by its own guest while it runs, else by a machine that is held for the purpose.

Holds: `open_files`, `layer`. Does not hold: how (`isolation/files/machine.py`), the verbs (`copy.py`, `diff.py`,
`commit.py`, `export.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, ids
from atoll.base.rollback import Rollback
from atoll.engine.containers import bundle
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.locks import lock_container
from atoll.isolation.files.machine import Held, MachineFiles, end_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.images.content import Blob
    from atoll.images.ingest import Ingest


def open_files(engine: Engine, row: ContainerRow, undo: Rollback, *, bare: bool) -> MachineFiles:
    """As `copy.open_files`. One that has ended is locked meanwhile: its disk has one writer. Raises NotFound,
    FailedPrecondition, Unsupported."""
    run, place = engine.paths.container_run(row.id), engine.paths.container(row.id)
    if not is_up(state_of(engine, row.id)):
        lock = lock_container(place)
        undo.push(lock.release)
        if not is_up(state_of(engine, row.id)):
            plan = bundle.load(place)
            if plan.machine is None or plan.machine.disk is None:
                raise errors.Unsupported(f"container {row.name} has ended, and with it its files")
            end_held(engine.driver, place)
            where = f"{engine.paths.containers_run}/{ids.new_id()}"
            held = Held(engine.driver, plan, engine.paths.data, where, bare=bare)
            undo.push(held.close)
            return held.files
        lock.release()
    found = MachineFiles.of_running(run, bare=bare)
    undo.push(found.close)
    return found


def layer(engine: Engine, row: ContainerRow, ingest: Ingest, skip: frozenset[str], *, pause: bool) -> Blob:
    """What the container has written, as a blob of `ingest`; with `pause` its processes stand still meanwhile, in
    their guest. What the bytes are is found here: a guest's word for it is not asked."""
    import hashlib

    with Rollback() as undo:
        files = open_files(engine, row, undo, bare=True)
        files.send_layer(ingest.fd, skip, pause=pause)
        files.finish()
    os.lseek(ingest.fd, 0, os.SEEK_SET)
    with open(os.dup(ingest.fd), "rb") as written:
        digest = hashlib.file_digest(written, "sha256")
    return ingest.commit_as(f"sha256:{digest.hexdigest()}", os.fstat(ingest.fd).st_size)
