"""Volumes as objects.

Holds: `Volume`, `Volumes` (what `client.volumes` is).
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.sdk.client import Client


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
