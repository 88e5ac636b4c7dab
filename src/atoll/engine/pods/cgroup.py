"""A pod's cgroup: below it lie those of its containers, and its limits are theirs together.

Holds: `path_of`, `ensure` (at each launch of one of its containers: a reboot has taken it away), `delete`, `places`.
Does not hold: what a container's own is (`runtime/cgroups`). Where it is, is written down before it is made, so that
a killed command leaves nothing that nobody knows of.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.engine.pods import machine
from atoll.engine.pods.record import PodRecord, PodRow
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.isolation.protocol import ContainerPlan
    from atoll.runtime.cgroups.detect import Hierarchy

PREFIX = "pod-"


def path_of(engine: Engine, pod: str, parent: str) -> str:
    """The path of a new pod's cgroup: below `parent`, the configured one, or for an ordinary user the user's own."""
    if parent:
        return f"/{parent.strip('/')}/{PREFIX}{pod}"
    return f"atoll-{PREFIX}{pod}" if engine.uid else f"{engine.config.cgroup_parent}/{PREFIX}{pod}"


def directory(engine: Engine) -> str:
    """Where it is written down which pods have one."""
    return engine.paths.run + "/pods"


def _file(engine: Engine, pod: str) -> str:
    return f"{directory(engine)}/{pod}.json"


def known(engine: Engine, pod: str) -> Cgroup | None:
    """The cgroup of a pod, made or half made. Raises Corrupt."""
    try:
        return Cgroup.from_json(jsontext.loads(files.read_bytes(_file(engine, pod))))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise errors.Corrupt(f"{_file(engine, pod)} is damaged: {error}") from None


def places(cgroup: Cgroup) -> list[str]:
    """Its directories."""
    return [*[place for _, place in cgroup.v1], *([cgroup.unified] if cgroup.unified is not None else [])]


def ensure(engine: Engine, pod: PodRow) -> Cgroup:
    """The pod's cgroup, with its limits. Raises what making it raises, naming the limit."""
    found = known(engine, pod.id)
    if found is not None and all(os.path.isdir(place) for place in places(found)):
        return found
    hierarchy, rootless = detect(), engine.uid != 0
    os.makedirs(directory(engine), 0o700, exist_ok=True)
    file = _file(engine, pod.id)
    planned = Cgroup.planned(pod.record.cgroup, hierarchy)
    files.write_atomic(file, jsontext.dumps(planned.to_json()))
    limits = resources(pod.record, hierarchy)
    if pod.record.isolation:
        limits = machine.around(pod.record, limits, engine.config.vm_memory)
    made = Cgroup.create(pod.record.cgroup, limits, hierarchy, rootless=rootless)
    files.write_atomic(file, jsontext.dumps(made.to_json()))
    return made


def resources(record: PodRecord, hierarchy: Hierarchy) -> oci.Resources:
    """Its limits. All devices, as cgroup v1 lets a container have none that its parent has not."""
    from atoll.engine.containers.plan_spec import resources as resources_of
    from atoll.engine.containers.record import Record

    as_container = Record(
        image="",
        args=("",),
        memory=record.memory,
        memory_swap=record.memory_swap,
        cpus=record.cpus,
        pids_limit=record.pids_limit,
        limits=record.limits,
    )
    unified = hierarchy.unified is not None and hierarchy.find("memory") is hierarchy.unified
    found = resources_of(as_container, devices=False, unified=unified)
    return found.replace(devices=(oci.DeviceRule(allow=True, access="rwm"),))


def completed(engine: Engine, plan: ContainerPlan) -> ContainerPlan:
    """The plan of a pod's container for one launch, its cgroup below the pod's, which is made. An ordinary user's
    relative path counts from wherever a process is; here it becomes that of the pod's own."""
    row = engine.store.container(plan.id)
    pod = _pod(engine, row.pod)
    linux = plan.spec.linux
    if pod is None or linux is None:
        return plan
    above = _absolute(ensure(engine, pod))
    if above is not None:
        linux = linux.replace(cgroups_path=f"{above}/{plan.id}")
        plan = plan.replace(spec=plan.spec.replace(linux=linux))
    return machine.completed(engine, plan, pod) if plan.machine is not None else plan


def _pod(engine: Engine, pod: str | None) -> PodRow | None:
    from atoll.engine.pods import rows

    return rows.by_id(engine.store, pod) if pod else None


def _absolute(cgroup: Cgroup) -> str | None:
    """Its path from the top, where it is the same in all hierarchies; None where it is not, or is in none."""
    hierarchy = detect()
    mounts = [mount.path for mount in (*hierarchy.v1, *([hierarchy.unified] if hierarchy.unified else []))]
    found = set()
    for place in places(cgroup):
        top = max((path for path in mounts if place.startswith(f"{path}/")), key=len, default=None)
        found.add(place[len(top) :] if top is not None else "")
    return found.pop() if len(found) == 1 and "" not in found else None


def delete(engine: Engine, pod: str) -> None:
    """Remove it; that it is gone is fine. Raises FailedPrecondition while processes live in it."""
    try:
        found = known(engine, pod)
    except errors.Corrupt:
        found = None
    if found is not None:
        found.delete()
    files.unlink_if_present(_file(engine, pod))
