"""update: other limits and another restart policy for a container that exists.

Holds: `Update` and `update`. Does not hold: what a limit means (`limits.py`), writing it (`runtime/cgroups`).
First the kernel, which may refuse; then what a later start goes by (the plan in the directory), then the record.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value, fields
from atoll.engine.containers import bundle, machine
from atoll.engine.containers.limits import Limits
from atoll.engine.containers.plan_record import MEMORY_MIN
from atoll.engine.containers.plan_spec import resources
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.isolation.protocol import ContainerPlan

_LIMITS = (
    "cpu_shares", "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems", "memory_reservation", "blkio_weight",
)  # fmt: skip


class Update(Value):
    """What is to be another; None stays. Units as in `RunRequest`; `memory_swap` -1 is no limit, `pids_limit` 0 or -1
    too; `restart` is a policy and its most restarts."""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    blkio_weight: int | None = None
    pids_limit: int | None = None
    restart: tuple[str, int] | None = None


def update(engine: Engine, name: str, asked: Update) -> None:
    """Change it, at once for one that runs. Raises NotFound, InvalidArgument, and what the kernel says to a value."""
    row = engine.store.container(name)
    with lock_container(engine.paths.container(row.id)):
        before = Record.from_text(engine.store.container(row.id).record)
        after = changed(before, asked)
        if after == before:
            return
        limits = after.replace(restart=before.restart, restart_max=before.restart_max) != before
        if limits and is_up(state_of(engine, row.id)):
            _apply(engine, row.id, after, asked)
        place = engine.paths.container(row.id)
        if bundle.is_whole(place):
            bundle.save(_replanned(engine, bundle.load(place), after))
        text = after.to_text()
        engine.store.write(lambda db: db.execute("UPDATE containers SET record = ? WHERE id = ?", (text, row.id)))
        if asked.restart is not None:
            from atoll.engine.containers import restarting

            restarting.change(engine, row.id, after)
    events.container(engine, row.id, "update")


def changed(record: Record, asked: Update) -> Record:
    """The record with the changes. Pure. Raises InvalidArgument for what contradicts itself, in Docker's words."""
    given = {name: getattr(asked, name) for name in fields(asked) if getattr(asked, name) is not None}
    if record.remove and asked.restart is not None and asked.restart[0] != "no":
        raise errors.InvalidArgument(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
            hint="make it again without --rm",
        )
    if "cpus" in given and ("cpu_period" in given or "cpu_quota" in given):
        raise errors.InvalidArgument("Conflicting options: Nano CPUs and CPU period or quota cannot both be set.")
    memory, swap = given.get("memory", record.memory), given.get("memory_swap", record.memory_swap)
    if asked.memory is not None and asked.memory < MEMORY_MIN:
        raise errors.InvalidArgument("Minimum memory limit allowed is 6MB", hint="give more with --memory")
    if memory and swap and 0 < swap < memory:
        raise errors.InvalidArgument(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    made = record.replace(memory=memory, memory_swap=swap)
    if "cpus" in given:
        made = made.replace(cpus=given["cpus"] or None)
    if "pids_limit" in given:
        made = made.replace(pids_limit=given["pids_limit"] if given["pids_limit"] > 0 else None, pids_by="cgroup")
    if asked.restart is not None:
        made = made.replace(restart=asked.restart[0], restart_max=asked.restart[1])
    rare = {name: given[name] for name in _LIMITS if name in given}
    if "memory_swap" in given and record.limits is not None:
        rare["memory_swap"] = given["memory_swap"]
    return made.replace(limits=(record.limits or Limits()).replace(**rare)) if rare else made


def _apply(engine: Engine, container_id: str, record: Record, asked: Update) -> None:
    from atoll.runtime.cgroups import detect
    from atoll.spec import runtime as oci

    hierarchy = detect.detect()
    unified = hierarchy.unified is not None and hierarchy.find("memory") is hierarchy.unified
    wanted = resources(record, devices=False, unified=unified)
    if asked.pids_limit is not None and asked.pids_limit <= 0:
        wanted = wanted.replace(pids=oci.Pids(limit=-1))
    if asked.cpus == 0:
        wanted = wanted.replace(cpu=oci.CPU(quota=-1, period=100_000))
    engine.driver.update(engine.paths.container_run(container_id), wanted)


def _replanned(engine: Engine, plan: ContainerPlan, record: Record) -> ContainerPlan:
    """The plan with the record's limits; its device rules stay."""
    linux = plan.spec.linux
    if linux is None:
        return plan
    devices = linux.resources.devices if linux.resources is not None else ()
    limits = resources(record, devices=False).replace(devices=devices)
    if plan.machine is not None:
        plan = plan.replace(machine=machine.resized(engine, plan.machine, record))
    return plan.replace(spec=plan.spec.replace(linux=linux.replace(resources=limits)))
