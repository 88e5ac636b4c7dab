"""A request whose devices have CDI names, with what those ask for."""

from __future__ import annotations

from atoll.engine.containers import cdi
from atoll.engine.containers.devices import is_cdi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.plan import Facts
    from atoll.engine.containers.record import MountPoint
    from atoll.engine.requests import RunRequest
    from atoll.spec.runtime import Hooks


def settle(
    request: RunRequest, mounts: tuple[MountPoint, ...], facts: Facts
) -> tuple[RunRequest, tuple[MountPoint, ...], Facts, Hooks | None]:
    """All four with the devices' edits; what the user says of a variable or a place goes over them. Raises what
    `cdi.find` does."""
    assert request.rights is not None
    names = [name for name in request.rights.devices if is_cdi(name)]
    if not names:
        return request, mounts, facts, None
    edits = cdi.find(names)
    rights = request.rights.replace(groups=(*request.rights.groups, *edits.groups))
    taken = {mount.destination for mount in mounts}
    given = {node.path for node in facts.nodes}
    return (
        request.replace(env=(*edits.env, *request.env), rights=rights),
        (*mounts, *[mount for mount in edits.mounts if mount.destination not in taken]),
        facts.replace(nodes=(*facts.nodes, *[node for node in edits.nodes if node.path not in given])),
        edits.hooks,
    )
