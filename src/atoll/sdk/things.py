"""Images and volumes as objects.

Holds: `Image`, `Images`, `Volume`, `Volumes` (what `client.images` and `client.volumes` are).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.sdk.client import Client


class Image(Value):
    """An image: its id, the names it has, bytes."""

    id: str
    names: tuple[str, ...]
    size: int


class Images:
    """`client.images`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Image]:
        """All of them, newest first."""
        found: dict[str, list[str]] = {}
        sizes: dict[str, int] = {}
        for view in self._client._engine.images():
            names = found.setdefault(view.id, [])
            sizes[view.id] = view.size
            if view.repository is not None and view.tag is not None:
                names.append(f"{view.repository}:{view.tag}")
        return [Image(id=one, names=tuple(names), size=sizes[one]) for one, names in found.items()]

    def get(self, name: str) -> Image:
        """By name or id. Raises NotFound."""
        from atoll.engine.images.resolve import find

        row = find(self._client._engine, name)
        if row is None:
            raise errors.NotFound(f"No such image: {name}", hint="pull it first")
        return next(one for one in self.list() if one.id == row.id)

    def details(self, name: str) -> dict[str, Any]:
        """All that is known of it, in the shape of Docker's API."""
        return self._client._engine.inspect_image(name)

    def pull(self, name: str, *, platform: str | None = None) -> Image:
        """Download it."""
        pulled = self._client._engine.pull(name, platform=platform)
        return self.get(pulled.config_digest)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Take the name away, and with the last one the image."""
        self._client._engine.remove_image(name, force=force)


class Volume(Value):
    """A volume: its name, and where its files are on this machine."""

    name: str
    path: str


class Volumes:
    """`client.volumes`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Volume]:
        """All of them."""
        from atoll.engine.volumes.list import list_volumes

        return [self.get(one.name) for one in list_volumes(self._client._engine)]

    def get(self, name: str) -> Volume:
        """By name. Raises NotFound."""
        from atoll.engine.volumes.list import inspect

        found = inspect(self._client._engine, name)
        return Volume(name=found["Name"], path=found["Mountpoint"])

    def create(self, name: str | None = None) -> Volume:
        """Make one; one of that name that is there is fine."""
        from atoll.engine.volumes.create import create

        return self.get(create(self._client._engine, name))

    def remove(self, name: str) -> None:
        """Remove it. Raises Conflict while a container uses it."""
        from atoll.engine.volumes.remove import remove

        remove(self._client._engine, name)
