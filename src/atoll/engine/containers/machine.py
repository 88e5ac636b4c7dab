"""The machine of a container at the level `vm`: what it is made of, decided once, at its creation.

Holds: `noted`, `with_machine`, `chosen`, `refuse`. Does not hold: the level (`isolation/vm.py`), the kernel's
installation (`engine/vm`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.monitor.requests import MachinePlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.plan import Planned
    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow, ImageRow
    from atoll.vm.drivers import Choice

LEVEL = "vm"


def noted(engine: Engine, planned: Planned, image: ImageRow | None) -> Planned:
    """The plan with a note of what its machine will be, before anything of it is made. Raises Unsupported."""
    if image is None and not planned.record.infra:
        raise errors.Unsupported(
            "isolation level 'vm' cannot show this host as an image",
            hint="name an image, or use --isolation container",
        )
    note = f"it runs in a machine of its own: {chosen(engine).said}"
    return planned.replace(record=planned.record.replace(notes=(*planned.record.notes, note)))


def with_machine(engine: Engine, planned: Planned, image: ImageRow | None, size: int) -> Planned:
    """The plan with its machine: the image as one file, made if it is not there, and a disk for what a container
    writes that is not removed at its end; `size` bounds that, 0 for the usual. Raises Unsupported, Denied."""
    from atoll.images import erofs
    from atoll.vm import disk
    from atoll.vm.drivers import named

    if planned.record.pod:
        from atoll.engine.pods import machine as pod_machine

        if pod_machine.is_one(engine, planned.record.pod):
            return pod_machine.with_machine(engine, planned, image, size)
    assert image is not None  # `noted` has seen to it
    record, container = planned.record, planned.container
    choice = chosen(engine)
    made = erofs.make(engine.snapshots, engine.store.chain_ids(image.id))
    place = None
    if not record.remove:
        place = f"{container.bundle}/disk.img"
        disk.make(f"{engine.paths.data}/vm", place, size or disk.DEFAULT)
    machine = MachinePlan(
        image=made.path,
        disk=place,
        disk_size=size,
        kernel=engine.config.vm_kernel,
        memory=_memory(engine, record),
        cpus=_cpus(record, named(choice.driver).cpus_max),
        accel=choice.accel,
        driver=choice.driver,
    )
    return planned.replace(container=container.replace(machine=machine))


def chosen(engine: Engine) -> Choice:
    """The driver and how its guest is executed: KVM where a kernel came up by it, anything else only where the
    configuration says so. Raises Unsupported."""
    from atoll.vm import drivers

    config = engine.config
    try:
        return drivers.choose(f"{engine.paths.data}/vm", config.vm_kernel, config.vm_driver, config.vm_accel)
    except (errors.Unsupported, errors.NotFound) as error:
        raise errors.Unsupported(f"isolation level 'vm': {error.message}", hint=error.hint) from None


def is_in_one(row: ContainerRow) -> bool:
    """Whether the container's files and processes are a guest's."""
    return '"isolation":"vm"' in row.record


def resized(engine: Engine, machine: MachinePlan, record: Record) -> MachinePlan:
    """The machine as it is made at the next start, for the limits of the record; a pod's is the pod's."""
    if machine.pod:
        return machine
    from atoll.vm.drivers import named

    return machine.replace(memory=_memory(engine, record), cpus=_cpus(record, named(machine.driver).cpus_max))


def _cpus(record: Record, most: int) -> int:
    return min(-(-record.cpus // 10**9) if record.cpus else 1, most)


def refuse(row: ContainerRow, what: str) -> None:
    """Raises Unsupported for a container in a machine."""
    if is_in_one(row):
        raise errors.Unsupported(f"isolation level 'vm' cannot {what}", hint="'atoll isolation ls' says what it can")


def _memory(engine: Engine, record: Record) -> int:
    """MiB for the guest: the usual size, or what the limit takes; the limit itself is kept inside."""
    from atoll.isolation.vm_sizing import size_for

    usual = engine.config.vm_memory >> 20
    return max(usual, size_for(record.memory)) if record.memory else usual
