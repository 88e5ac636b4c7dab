"""volume ls, volume inspect: what volumes there are, and all that is known of one."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.volumes import store
from atoll.engine.volumes.users import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.volumes.store import Volume

KINDS = ("dangling", "driver", "label", "name")


def list_volumes(engine: Engine, filters: tuple[str, ...] = ()) -> list[Volume]:
    """The volumes for which all filters hold, by name. Values of one kind are alternatives, but labels, which must
    all be there. Raises InvalidArgument in Docker's words."""
    given = split(filters, KINDS)
    found = store.everything(engine)
    if "dangling" in given:
        used = users(engine)
        wanted = {truth("dangling", value) for value in given["dangling"]}
        found = [volume for volume in found if (volume.name not in used) in wanted]
    if "driver" in given and "local" not in given["driver"]:
        return []
    if "name" in given:
        found = [volume for volume in found if any(part in volume.name for part in given["name"])]
    for label in given.get("label", ()):
        found = [volume for volume in found if has_label(volume, label)]
    return found


def split(filters: tuple[str, ...], known: tuple[str, ...]) -> dict[str, list[str]]:
    """`kind=value` by kind. Raises InvalidArgument for what is unknown or has no value."""
    given: dict[str, list[str]] = {}
    for one in filters:
        kind, equals, value = one.partition("=")
        if not equals:
            raise errors.InvalidArgument(
                f"invalid argument {one!r} for --filter: bad format of filter (expected name=value)"
            )
        if kind not in known:
            raise errors.InvalidArgument(f"invalid filter '{kind}'", hint="known are " + ", ".join(known))
        given.setdefault(kind, []).append(value)
    return given


def truth(kind: str, value: str) -> bool:
    """A filter's true or false. Raises InvalidArgument."""
    if value not in ("true", "1", "false", "0"):
        raise errors.InvalidArgument(f"invalid filter '{kind}={value}'", hint="true or false")
    return value in ("true", "1")


def has_label(volume: Volume, wanted: str) -> bool:
    """Whether a label `key`, or `key=value`, is there."""
    key, equals, value = wanted.partition("=")
    return any(k == key and (not equals or v == value) for k, v in volume.labels)


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
