"""A pod at the level `vm`: one machine for all its containers, which the pod's own container has.

Holds: `check` (what such a pod can be), `with_machine` (at a container's creation), `completed` (at each launch),
`around`. Does not hold: the level (`isolation/vm_pod.py`).
The machine begins with the pod's own container and ends with it. What it is made of is settled at each of its starts:
its memory by the limits of its containers, the volumes that it shows by theirs.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.record import Record
from atoll.engine.pods import rows
from atoll.guest.pod import JOINED
from atoll.monitor.requests import MachinePlan, PodPart
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.plan import Planned
    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRecord, PodRequest, PodRow
    from atoll.engine.store import ContainerRow, ImageRow
    from atoll.isolation.protocol import ContainerPlan

LEVEL = "vm"
DRIVER = "qemu"
ANNOTATION = "org.atoll.isolation"
"""In a document of Kubernetes: the level of its pod."""
BESIDE = 128
"""MiB that a guest needs beside what its containers may use, and in steps of which it grows: a template is for one
size."""
STANDS = 128 << 20
"""Bytes that the processes which stand for containers may take on the host, beside the machine."""
STOP_SECONDS = 10
"""How long the machine may take to bring what was written to its disk."""


def level_of(engine: Engine, asked: str) -> str:
    """The level of a pod, as the record has it: `vm`, or "" for one that shares namespaces. Raises Unsupported for
    others."""
    level = asked or engine.config.isolation
    if level == LEVEL:
        return LEVEL
    if asked not in ("", "container"):
        raise errors.Unsupported(
            f"isolation level {asked!r} cannot have a pod: its containers would share namespaces of this kernel",
            hint="container, or vm: one machine for all of it",
        )
    return ""


def check(request: PodRequest, record: PodRecord) -> None:
    """Refuse what one machine cannot be, by name. Raises Unsupported, InvalidArgument."""
    sharing = request.sharing
    refused = {
        "be without its own container (--infra=false)": not record.infra,
        "have several networks: a machine has one (--share without net)": record.infra and "net" not in record.share,
        "share the host's namespaces (--pid, --ipc, --uts host)": bool(record.hosts),
        "use the host's network (--network host)": request.network == "host",
        "have a user namespace: its root is the guest's own": bool(sharing.userns not in ("", "host"))
        or bool(sharing.uid_map or sharing.gid_map),
        "have devices of the host (--device)": bool(record.devices),
    }
    for what, wanted in refused.items():
        if wanted:
            raise errors.Unsupported(f"a pod of isolation level 'vm' cannot {what}", hint="--isolation container")


def is_one(engine: Engine, pod: str) -> bool:
    """Whether that pod is a machine."""
    row = rows.by_id(engine.store, pod)
    return row is not None and row.record.isolation == LEVEL


def with_machine(engine: Engine, planned: Planned, image: ImageRow | None, size: int) -> Planned:
    """The plan with its part in the pod's machine. Raises Unsupported, NotFound."""
    from atoll.engine.containers.machine import chosen
    from atoll.images import erofs
    from atoll.vm import disk

    record, container = planned.record, planned.container
    choice = chosen(engine)
    if choice.driver != DRIVER:
        raise errors.Unsupported(
            f"a pod's machine needs QEMU, which can exchange the medium of a disk; the settings say {choice.driver}",
            hint='driver = "qemu" in [vm] of atoll.toml',
        )
    pod = rows.by_id(engine.store, record.pod)
    if pod is None:
        raise errors.NotFound(f"no pod with name or ID {record.pod} found: no such pod")
    if record.infra:
        place = f"{container.bundle}/disk.img"
        disk.make(f"{engine.paths.data}/vm", place, disk.DEFAULT)
        machine = MachinePlan(
            image="", disk=place, kernel=engine.config.vm_kernel, accel=choice.accel, pod=container.run
        )
        return planned.replace(container=container.replace(machine=machine))
    if size:
        raise errors.Unsupported(
            "--storage-opt size= of a container in a pod's machine: they share its disk", hint="leave it out"
        )
    assert image is not None
    infra = rows.infra_of(engine, pod)
    if infra is None:
        raise errors.FailedPrecondition(f"pod {pod.name} has lost its own container", hint="remove it")
    made = erofs.make(engine.snapshots, engine.store.chain_ids(image.id))
    machine = MachinePlan(image=made.path, accel=choice.accel, pod=engine.paths.container_run(infra.id))
    return planned.replace(container=container.replace(machine=machine))


def completed(engine: Engine, plan: ContainerPlan, pod: PodRow) -> ContainerPlan:
    """The plan for one launch. For the pod's own container: what its machine must hold. For another: that machine
    runs, started if need be. Raises what starting it raises."""
    machine = plan.machine
    assert machine is not None
    if machine.pod == plan.run:
        return plan.replace(machine=_sized(engine, machine, pod))
    infra = rows.infra_of(engine, pod)
    if infra is None:
        raise errors.FailedPrecondition(f"pod {pod.name} has lost its own container", hint="remove it")
    plan = _with_ids(engine, infra, _with_joined(plan))
    engine.plans[plan.id] = plan  # where the machine's plan finds what this one mounts, also without a file of it
    try:
        _ensure_running(engine, infra)
    finally:
        engine.plans.pop(plan.id, None)
    return plan


def _with_ids(engine: Engine, infra: ContainerRow, plan: ContainerPlan) -> ContainerPlan:
    """An ordinary user's: what stands for it has a user namespace like that of the machine, not the same one, which
    nobody can enter."""
    from atoll.engine.containers import bundle

    linux = plan.spec.linux
    if linux is None or all(one.type != "user" for one in linux.namespaces):
        return plan
    own = bundle.load(engine.paths.container(infra.id))
    ids = own.spec.linux or oci.Linux()
    linux = linux.replace(uid_mappings=ids.uid_mappings, gid_mappings=ids.gid_mappings)
    return plan.replace(spec=plan.spec.replace(linux=linux), helpers=own.helpers)


def _with_joined(plan: ContainerPlan) -> ContainerPlan:
    """With the mounts of the pod's own container (/dev/shm, of an ipc namespace that is joined) as the guest finds
    them."""
    mounts = []
    for mount in plan.spec.mounts:
        if (mount.source or "").startswith("container:"):
            below = (mount.source or "").partition("/")[2]
            mount = mount.replace(source=f"{JOINED}/{below}")
        mounts.append(mount)
    return plan.replace(spec=plan.spec.replace(mounts=tuple(mounts)))


def _ensure_running(engine: Engine, infra: ContainerRow) -> None:
    from atoll.engine.containers.state import RUNNING, state_of
    from atoll.engine.pods.infra import wake

    if state_of(engine, infra.id).status != RUNNING:
        wake(engine, infra)


def _sized(engine: Engine, machine: MachinePlan, pod: PodRow) -> MachinePlan:
    """The pod's machine as its containers want it now."""
    from atoll.engine.containers import bundle
    from atoll.isolation.vm_pod import volumes_of

    shown: dict[str, oci.Mount] = {}
    memory = cpus = 0
    members = [one for one in engine.store.in_pod(pod.id) if not Record.from_text(one.record).infra]
    for one in members:
        record = Record.from_text(one.record)
        memory += record.memory or 0
        cpus += record.cpus or 0
        plan = engine.plans.get(one.id)
        place = engine.paths.container(one.id)
        if plan is None and bundle.is_whole(place):
            plan = _with_joined(bundle.load(place))
        if plan is not None:
            shown.update({mount.destination: mount for mount in volumes_of(plan)})
    cpus = pod.record.cpus or cpus
    return machine.replace(
        memory=memory_of(engine.config.vm_memory, pod.record.memory or memory),
        cpus=-(-cpus // 10**9) if cpus else 1,
        part=PodPart(
            members=tuple([one.id for one in members]),
            volumes=tuple(shown.values()),
            limits=_limits(pod.record),
        ),
    )


def memory_of(usual: int, wanted: int) -> int:
    """MiB for the guest, of the bytes that its containers may use together (0: nobody has said)."""
    if not wanted:
        return usual >> 20
    steps = -(-((wanted >> 20) + BESIDE) // BESIDE)
    return max(usual >> 20, steps * BESIDE)


def _limits(record: PodRecord) -> oci.Resources:
    """What the guest keeps of the pod's limits; those of CPUs and disks are kept around the machine."""
    return oci.Resources(
        memory=oci.Memory(limit=record.memory) if record.memory else None,
        pids=oci.Pids(limit=record.pids_limit) if record.pids_limit else None,
    )


def around(record: PodRecord, found: oci.Resources, usual: int) -> oci.Resources:
    """The limits of the pod's cgroup on this host: of memory what the machine takes besides, of processes none, as
    they are the guest's."""
    from atoll.isolation.vm import OVERHEAD

    memory = None
    if record.memory:
        limit = (memory_of(usual, record.memory) << 20) + OVERHEAD + STANDS
        memory = oci.Memory(limit=limit)
    return found.replace(memory=memory, pids=None)
