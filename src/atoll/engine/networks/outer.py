"""Where bridges are: root's in the host's network namespace, an ordinary user's in his outer one.

Holds: `host`, `host_if_any`, `keeper`, `keeper_if_any`, `resolvers`. Does not hold: the namespace itself
(`network/rootless`), what is made again in a new one (`reattach.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.networks import resolver
from atoll.network.bridge import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.network.rootless.outer import Outer


def is_host(engine: Engine) -> bool:
    """Whether bridges are in the host's own network namespace."""
    return engine.uid == 0


def folder(engine: Engine) -> str:
    """Where helpers' sockets are."""
    return f"{engine.paths.run}/networks"


def host(engine: Engine, uplink: str = "") -> Host:
    """To make bridges and ports with; an outer namespace is made if there is none, with the way out `uplink`. Raises
    AtollError."""
    return Host.here() if is_host(engine) else keeper(engine, uplink).host()


def host_if_any(engine: Engine) -> Host | None:
    """To take them away with: None where there is no such namespace, and so nothing in it. Raises AtollError."""
    if is_host(engine):
        return Host.here()
    found = keeper_if_any(engine)
    return None if found is None else found.host()


def keeper(engine: Engine, uplink: str = "") -> Outer:
    """An ordinary user's outer namespace, made if there is none; with the way out `uplink`, or as the settings say.
    Raises AtollError, FailedPrecondition where others use it with another way out."""
    from atoll.network.rootless import outer

    made = outer.ensure(folder(engine), engine.environ, uplink or engine.config.uplink)
    if uplink and made.await_uplink() != uplink:
        made.end()  # if nobody is on it
        made.close()
        made = outer.ensure(folder(engine), engine.environ, uplink)
    if uplink and (found := made.await_uplink()) != uplink:
        made.close()
        raise errors.FailedPrecondition(
            f"this user's networks go out by {found}, not by {uplink}", hint="stop the containers that are on them"
        )
    return made


def keeper_if_any(engine: Engine) -> Outer | None:
    """The same, if there is one. Raises AtollError."""
    from atoll.network.rootless import outer

    return outer.find(folder(engine))


def resolvers(engine: Engine) -> resolver.Resolvers:
    """The host's name servers, as containers see them: where only TCP goes out, nobody but this host reaches them."""
    found = resolver.of_host()
    if is_host(engine):
        return found
    there = keeper_if_any(engine)
    if there is None:
        return found
    try:
        return found.replace(alone=there.await_uplink() not in ("pasta", "slirp4netns"))
    finally:
        there.close()
