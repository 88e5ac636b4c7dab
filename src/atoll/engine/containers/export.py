"""export: a container's root file system as a tar archive."""

from __future__ import annotations

from atoll.base.rollback import Rollback
from atoll.engine.containers.copy import Copied, open_files
from atoll.engine.events import note as events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def export(engine: Engine, name: str, out: int) -> Copied:
    """Write it into a descriptor. What is mounted in the container is not part of it: volumes, /proc, /etc/hosts.

    Raises NotFound, Unsupported for one of the host's own root that has ended.
    """
    with Rollback() as undo:
        files = open_files(engine, name, undo, bare=True)
        files.send_get("/", out, arcname="", follow=True, one_mount=True)
        done = files.finish()
    events.container(engine, name, "export")
    return Copied(entries=done["entries"], size=done["size"])
