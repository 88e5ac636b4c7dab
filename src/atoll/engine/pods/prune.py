"""pod prune: remove the pods that do not run."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.pods.list import list_pods
from atoll.engine.pods.remove import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

_ENDED = ("Exited", "Stopped")


def prune(engine: Engine, filters: tuple[str, ...] = ()) -> list[str]:
    """The ids of the pods that were removed: those that have ended, as Podman; one that is started meanwhile
    is passed over. Raises InvalidArgument for a filter that is none."""
    gone = []
    for view in list_pods(engine, filters):
        if view.status not in _ENDED:
            continue
        try:
            gone.append(remove(engine, view.id, force=False))
        except (errors.Conflict, errors.NotFound):
            continue
    return gone
