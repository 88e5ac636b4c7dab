"""Which containers use which volumes: by the containers' records, which are the only ones to know."""

from __future__ import annotations

from atoll.engine.containers.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def users(engine: Engine) -> dict[str, list[str]]:
    """The ids of the containers that use a volume, by the volume's name."""
    found: dict[str, list[str]] = {}
    for row in engine.store.containers():
        for mount in Record.from_text(row.record).mounts:
            if mount.type == "volume" and mount.name:
                found.setdefault(mount.name, []).append(row.id)
    return found
