"""volume ls, volume inspect: what volumes there are, and all that is known of one."""

from __future__ import annotations

from atoll.engine.filters import by_kind, has_labels, truth
from atoll.engine.volumes import store
from atoll.engine.volumes.users import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.volumes.store import Volume

KINDS = ("dangling", "driver", "label", "name")


def list_volumes(engine: Engine, filters: tuple[str, ...] = ()) -> list[Volume]:
    """The volumes for which all filters hold, by name. Raises InvalidArgument in Docker's words."""
    given = by_kind(filters, KINDS)
    found = store.everything(engine)
    if "dangling" in given:
        used = users(engine)
        wanted = {truth("dangling", value) for value in given["dangling"]}
        found = [volume for volume in found if (volume.name not in used) in wanted]
    if "driver" in given and "local" not in given["driver"]:
        return []
    if "name" in given:
        found = [volume for volume in found if any(part in volume.name for part in given["name"])]
    return [volume for volume in found if has_labels(volume.labels, given)]


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Docker's `Volume`. Raises NotFound."""
    volume = store.find(engine, name)
    return {
        "CreatedAt": volume.created_at,
        "Driver": "local",
        "Labels": dict(volume.labels) or None,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }
