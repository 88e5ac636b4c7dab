"""A container's place in a pod: its request with the pod's namespaces, cgroup and common settings.

Holds: `settle`, `completed`. Does not hold: the infra container that it joins (`infra.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.launch import argv as own_command
from atoll.engine.containers.record import Record
from atoll.engine.containers.sharing import CONTAINER, Sharing
from atoll.engine.pods import rows
from atoll.engine.pods.record import STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.plan import Planned
    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRow
    from atoll.engine.requests import RunRequest

_FIELDS = ("ipc", "pid", "uts")


def settle(engine: Engine, request: RunRequest) -> RunRequest:
    """The request of a container that is to be in the pod `request.pod`, by any of its names. Raises NotFound,
    InvalidArgument for what contradicts the pod."""
    if request.infra:
        return request
    if request.image == "host":
        raise errors.Unsupported(
            "the host image cannot be in a pod: its ids are nobody else's", hint="take an image, or leave out --pod"
        )
    pod = rows.find(engine, request.pod)
    level = request.isolation or pod.record.isolation or engine.config.isolation
    if pod.record.isolation and level != pod.record.isolation:
        raise errors.InvalidArgument(
            f"conflicting options: --isolation {level} and pod {pod.name}, which is a machine (--isolation vm)",
            hint="leave out --isolation",
        )
    if not pod.record.isolation and level != "container" and (pod.record.share or pod.record.hosts):
        raise errors.Unsupported(
            f"a container of isolation {level} cannot be in pod {pod.name}, which shares namespaces of this kernel",
            hint="--isolation container; or 'pod create --isolation vm': one machine for all of it",
        )
    sharing = _sharing(engine, request, pod)
    changes: dict[str, Any] = {"pod": pod.id, "sharing": sharing}
    if pod.record.isolation:
        changes["isolation"] = pod.record.isolation
    changes.update(_network(engine, request, pod))
    if "uts" in pod.record.share or "uts" in pod.record.hosts:
        if request.hostname:
            raise errors.InvalidArgument(
                f"cannot set the hostname of a container in pod {pod.name}, which shares it",
                hint="give it to the pod: pod create --hostname",
            )
        changes["hostname"] = pod.record.hostname if "uts" in pod.record.share else None
    if request.restart == "no" and not request.remove:
        changes["restart"], changes["restart_max"] = pod.record.restart, pod.record.restart_max
    changes["volumes"] = (*pod.record.volumes, *request.volumes)
    changes["security_opt"] = (*pod.record.security_opt, *request.security_opt)
    if pod.record.devices:
        from atoll.engine.containers.rights import Rights

        rights = request.rights or Rights()
        changes["rights"] = rights.replace(devices=(*pod.record.devices, *rights.devices))
    return request.replace(**changes)


def _sharing(engine: Engine, request: RunRequest, pod: PodRow) -> Sharing:
    wanted = request.sharing or Sharing()
    if wanted.cgroup_parent:
        raise errors.InvalidArgument("conflicting options: --cgroup-parent and --pod, which has a cgroup")
    infra = rows.infra_of(engine, pod)
    changes: dict[str, Any] = {"cgroup_parent": pod.record.cgroup}
    for name in _FIELDS:
        given = getattr(wanted, name)
        if name in pod.record.share and infra is not None:
            if given not in ("", "shareable"):
                raise errors.InvalidArgument(f"conflicting options: --{name}={given} and a pod that shares it")
            changes[name] = CONTAINER + infra.id
        elif name in pod.record.hosts and not given:
            changes[name] = "host"
    if infra is None:
        return wanted.replace(**changes)
    if wanted.userns or wanted.uid_map or wanted.gid_map:
        raise errors.InvalidArgument(
            "conflicting options: a container in a pod has the pod's user namespace", hint="pod create --userns"
        )
    theirs = Record.from_text(infra.record).sharing or Sharing()
    if theirs.uid_map or theirs.gid_map:
        changes.update(userns="private", uid_map=theirs.uid_map, gid_map=theirs.gid_map)
    else:
        changes["userns"] = theirs.userns
    return wanted.replace(**changes)


def _network(engine: Engine, request: RunRequest, pod: PodRow) -> dict[str, Any]:
    infra = rows.infra_of(engine, pod)
    if "net" not in pod.record.share or infra is None:
        return {}
    if request.network:
        raise errors.InvalidArgument(
            f"conflicting options: --network and pod {pod.name}, which shares its own", hint="pod create --network"
        )
    if request.networking is not None and request.networking.publish:
        raise errors.InvalidArgument(
            f"cannot publish ports of a container in pod {pod.name}, whose network it shares",
            hint="publish them with the pod: pod create -p",
        )
    return {"network": "host" if pod.record.network == "host" else CONTAINER + infra.id}


def completed(engine: Engine, planned: Planned) -> Planned:
    """The plan with what follows its end: a pod that stops with its last container is told."""
    record = planned.record
    pod = rows.by_id(engine.store, record.pod)
    if record.infra or record.remove or pod is None or pod.record.exit_policy != STOP:
        return planned
    container = planned.container
    argv = tuple(own_command("internal", "pod", container.id))
    return planned.replace(container=container.replace(on_exit=argv))
