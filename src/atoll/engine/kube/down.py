"""kube down: what `kube play` made of documents goes again."""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.kube import sources
from atoll.engine.kube.play import Options, pods_of, read
from atoll.engine.pods import rows
from atoll.engine.pods.remove import remove
from atoll.engine.pods.stop import stop
from atoll.spec.kube import Claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


class Gone(Value):
    """What was stopped and removed: ids of pods, names of secrets and volumes."""

    stopped: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def down(engine: Engine, name: str, data: bytes, *, force: bool = False) -> Gone:
    """Stop and remove the pods of the documents, and their secrets; with `force` also the volumes of their claims.
    What is not there is fine. Raises InvalidArgument for documents that are none, and what stopping raises."""
    documents, _ = read(name, data, Options())
    stopped, removed = [], []
    for meta, _spec, _path in pods_of(documents):
        try:
            row = rows.find(engine, meta.name)
        except errors.NotFound:
            continue
        if row.name != meta.name:  # the beginning of another's id
            continue
        stopped.append(stop(engine, row.id))
        removed.append(remove(engine, row.id, force=True))
    secrets = sources.forget_secrets(engine, documents)
    volumes = []
    if force:
        from atoll.engine.volumes.remove import remove as remove_volume

        for one in documents:
            if isinstance(one, Claim):
                try:
                    remove_volume(engine, one.metadata.name)
                except errors.NotFound:
                    continue
                volumes.append(one.metadata.name)
    return Gone(stopped=tuple(stopped), removed=tuple(removed), secrets=tuple(secrets), volumes=tuple(volumes))
