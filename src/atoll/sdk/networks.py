"""Networks as objects.

Holds: `Network`, `Networks` (what `client.networks` is). Does not hold: what a network is (`engine/networks`).
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from atoll.sdk.client import Client
    from atoll.sdk.containers import Container


class Network(Value):
    """A network: its id, name and driver, the subnets that its containers have addresses of, and its labels."""

    id: str
    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    internal: bool = False
    labels: tuple[tuple[str, str], ...] = ()


class Networks:
    """`client.networks`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Network]:
        """All of them, those that are always there included."""
        from atoll.engine.networks.inspect import listed

        return [_network(one) for one in listed(self._client._engine)]

    def get(self, name: str) -> Network:
        """By name or id. Raises NotFound."""
        from atoll.engine.networks.inspect import inspect

        return _network(inspect(self._client._engine, name))

    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnets: Sequence[str] = (),
        internal: bool = False,
        ipv6: bool = False,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Network:
        """Make one. Raises Conflict for a name or a subnet that is taken, InvalidArgument, Exhausted."""
        from atoll.engine.networks.create import CreateRequest, create

        request = CreateRequest(
            name=name,
            driver=driver,
            subnets=tuple(subnets),
            internal=internal,
            ipv6=ipv6,
            labels=tuple((labels or {}).items()),
            options=tuple((options or {}).items()),
        )
        return self.get(create(self._client._engine, request))

    def remove(self, name: str) -> None:
        """Remove it. Raises Conflict while a container is on it."""
        from atoll.engine.networks.remove import remove

        remove(self._client._engine, name)

    def connect(self, name: str, container: Container, *, aliases: Sequence[str] = (), ip: str | None = None) -> None:
        """Put a container on it, at once if it runs. Raises Conflict, Exhausted, Denied."""
        from atoll.engine.networks.connect import connect

        connect(self._client._engine, name, container.id, aliases=tuple(aliases), address=ip)

    def disconnect(self, name: str, container: Container) -> None:
        """Take a container off it."""
        from atoll.engine.networks.connect import disconnect

        disconnect(self._client._engine, name, container.id)


def _network(found: dict[str, Any]) -> Network:
    pools = (found.get("IPAM") or {}).get("Config") or ()
    return Network(
        id=found["Id"],
        name=found["Name"],
        driver=found["Driver"],
        subnets=tuple([one["Subnet"] for one in pools if one.get("Subnet")]),
        internal=bool(found.get("Internal")),
        labels=tuple(sorted((found.get("Labels") or {}).items())),
    )
