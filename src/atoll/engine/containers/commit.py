"""commit: an image of what a container is now.

Holds: `commit`, the configuration that the container's own choices make. Does not hold: the layer
(`snapshots/diff.py`), the image's documents and rows (`images/making.py`, `engine/images/making.py`).
"""

from __future__ import annotations

import time

from atoll.base import clock, errors
from atoll.base.rollback import Rollback
from atoll.base.value import Value
from atoll.engine.containers import machine
from atoll.engine.containers.diff import have_writable, image_of, made_places
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import RUNNING, state_of
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.images.content import Blob
    from atoll.images.ingest import Ingest


class Asked(Value):
    """What `commit` is asked for: the image's `name` (None: none), `changes` as Dockerfile instructions. `pause` None
    is "where it can be"."""

    name: str | None = None
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool | None = None


def commit(engine: Engine, container: str, asked: Asked) -> str:
    """Make the image; returns its id. A container that runs stands still meanwhile. What is mounted in it is not part
    of it. Raises NotFound, InvalidArgument for a change that is none, Unsupported for the host's own root."""
    from atoll.engine.images import making
    from atoll.images import making as documents
    from atoll.images.ingest import Ingest

    making.name_of(asked.name)
    row = engine.store.container(container)
    record = Record.from_text(row.record)
    image = engine.store.image(image_of(row, "commit"))
    assert image is not None  # a container keeps its image
    config = documents.changed(
        {**making.config_of(engine, image), "config": _own(making.config_of(engine, image), record)}, asked.changes
    )
    with making.content_lock(engine), Rollback() as undo:
        ingest = Ingest(engine.content())
        undo.push(ingest.close)
        blob = _layer(engine, row, record, image.id, asked.pause, ingest)
        config = documents.with_layer(
            config,
            blob.digest,
            created=clock.rfc3339(time.time_ns()),
            created_by=" ".join(record.args),
            author=asked.author,
            comment=asked.message,
        )
        made = making.make(engine, config, [*making.layers_of(engine, image), documents.layer(blob)], asked.name)
    making.keep_within(engine, [made])
    events.container(engine, row.id, "commit", imageID=made, imageRef=asked.name or "", comment=asked.message)
    return made


def _layer(engine: Engine, row: ContainerRow, record: Record, image: str, pause: bool | None, ingest: Ingest) -> Blob:
    """What the container has written as a blob, uncompressed: its digest is the diffID."""
    skip = made_places(record)
    with Rollback() as undo:
        if machine.is_in_one(row):
            from atoll.engine.containers import machine_files

            return machine_files.layer(engine, row, ingest, skip, pause=pause is not False)
        from atoll.snapshots.diff import layer_of

        have_writable(engine, row)
        _pause(engine, row.id, pause, undo)
        facts = layer_of(engine.snapshots, row.id, engine.store.chain_ids(image), ingest.fd, skip=skip)
    return ingest.commit_as(facts.diff_id, facts.size)


def _own(config: dict[str, Any], record: Record) -> dict[str, Any]:
    """The image's run configuration with the container's choices in it."""
    run = dict(config.get("config") or {})
    chosen = {
        "Cmd": list(record.cmd) or None,
        "Entrypoint": list(record.entrypoint) or None,
        "Env": list(record.env),
        "User": record.user,
        "WorkingDir": record.workdir,
        "Labels": dict(record.labels) or None,
        "StopSignal": record.stop_signal if record.stop_signal != "SIGTERM" else run.get("StopSignal"),
    }
    run.update(chosen)
    return {key: value for key, value in run.items() if value not in (None, "", [])}


def _pause(engine: Engine, container_id: str, wanted: bool | None, undo: Rollback) -> None:
    if wanted is False or state_of(engine, container_id).status != RUNNING:
        return
    run = engine.paths.container_run(container_id)
    try:
        engine.driver.pause(run)
    except (errors.Unsupported, errors.Denied):
        if wanted:
            raise
        return
    except (errors.NotFound, errors.FailedPrecondition):  # it has just ended
        return
    undo.push(engine.driver.resume, run)
