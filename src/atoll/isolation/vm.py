"""The level `vm`: a container in a machine of its own, whose monitor (VMM) is itself a container: the jail.

Holds: `jailed`, which turns the plan of the one into the plan of the other, `VmDriver`. Does not hold: the machine
(`vm`), the two ends of the channel into it (`guest`), what the guest gets (`vm_guest.py`).

    monitor ─ stdio, log, exit, start ─► the jail's first process: the keeper, which stands for the container
                                           └─ VMM: own user, no capability, no file but what it was given
                                                └─ guest: the agent, and by Atoll's runtime in it the container

The jail is made by our own runtime from an ordinary plan: own root (a copy of the closure, read-only), namespaces,
cgroup with the container's limits, seccomp filter, limits. So whatever is asked of a container that exists (signals,
pause, statistics, its end) is asked of the jail, by `ContainerDriver`, and a fault in the VMM leads into a container
with nothing in it. docs/vm.md has the wall, brick by brick.
"""

from __future__ import annotations

import os
from zlib import crc32

from atoll.base import errors, files, jsontext
from atoll.guest import enter
from atoll.guest.starting import FILE_CAPABILITIES, MEETING, PLACE
from atoll.isolation import vm_pod
from atoll.isolation.container import ContainerDriver
from atoll.isolation.protocol import Attachment, Availability, ContainerPlan
from atoll.isolation.vm_guest import HINT, Guest, guest_of
from atoll.linux import tsc
from atoll.spec import runtime as oci
from atoll.spec.rootfs import Bind, RootPlan
from atoll.spec.runtime import Mount
from atoll.vm import kernel as kernels
from atoll.vm.closure import Closure, closure
from atoll.vm.drivers import named, probed
from atoll.vm.kernel import Kernel
from atoll.vm.machine import KVM, OWN, TCG
from atoll.vm.template import Template, ensure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.monitor.requests import MachinePlan

VMM_FIRST, VMM_COUNT = 2_000_100_000, 1 << 16
"""Ids of VMMs and keepers, two a container: above every range that systemd assigns, beside the `host` image's."""
VMM_READERS = VMM_FIRST - 1
"""The group of VMMs that open their files by name."""
OVERHEAD = 256 << 20
"""Bytes that a VMM and a keeper may take beside the guest's memory: translated code above all."""
PORTS = (("net.ipv4.ip_unprivileged_port_start", "0"),)
"""A VMM with a network of its own listens in the guest's stead, and has no capability for low ports."""
PIDS, PIDS_OWN = 128, 8192
"""Processes and threads in a jail: the VMM's, the keeper, one for each exec under way; of user-mode Linux also those
of its guest."""
_NEW = ("pid", "mount", "ipc", "uts", "cgroup")
SYSTEM = (
    Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
    Mount(destination="/dev", type="tmpfs", source="dev", options=("nosuid", "noexec", "mode=755", "size=64k")),
    Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
    ),
    Mount(
        destination="/run", type="tmpfs", source="run", options=("nosuid", "nodev", "noexec", "mode=755", "size=1m")
    ),
    Mount(destination="/tmp", type="tmpfs", source="tmp", options=("nosuid", "nodev", "noexec", "size=1m")),
    Mount(
        destination=PLACE, type="tmpfs", source="vm", options=("nosuid", "nodev", "noexec", "mode=755", "size=64k")
    ),
)


class VmDriver(ContainerDriver):
    """As `ContainerDriver`, for plans with a machine; the store below `data_root`/vm."""

    name = "vm"

    def probe(self) -> Availability:
        """Whether a VMM and its kernel are here. Whether KVM works is found by booting (`vm/probe.py`)."""
        found = probed()
        here = [name for name, one in found.items() if one.ok]
        by_itself = [name for name in here if named(name).kernel]
        reason = None if by_itself else found["qemu"].reason
        try:
            if by_itself:
                kernels.installed(f"{self._data_root}/vm")
        except errors.AtollError as error:
            reason = str(error)
        if reason is None:
            return super().probe()
        if here != by_itself:
            reason += '; user-mode Linux is here, and works where [vm] driver = "uml" asks for its weaker wall'
        return Availability(ok=False, reason=reason)

    def create(self, plan: ContainerPlan, *, promise: bool = False, start: bool = False) -> Attachment:
        """Through a monitor, which makes the jail. Raises Unsupported for what a machine cannot do."""
        if plan.machine is None:
            raise errors.InvalidArgument("a container of the level 'vm' needs a machine in its plan")
        return super().create(plan, promise=promise, start=start)


def jailed(plan: ContainerPlan, data_root: str) -> ContainerPlan:
    """The plan of the jail in which the machine for `plan` runs; what its keeper is to do is written into the run
    directory. Raises Unsupported, NotFound (no kernel, no image), what making the closure raises."""
    machine, root = plan.machine, f"{data_root}/vm"
    assert machine is not None
    if machine.pod and machine.pod != plan.run:
        return vm_pod.seated(plan, closure(root))
    guest = vm_pod.holding(plan) if machine.pod else guest_of(plan)
    driver = named(machine.driver)
    made = closure(root, driver.program)
    kernel = kernels.installed(root, machine.kernel) if driver.kernel else Kernel(path=made.agent, digest=made.key)
    if guest.volumes and not driver.volumes:
        raise errors.Unsupported(f"{driver.title} cannot show a container volumes", hint=HINT)
    if guest.volumes and not made.virtiofsd:
        raise errors.Unsupported("volumes of a machine need virtiofsd", hint="apt install qemu-system-common")
    saved = None
    if machine.resume:
        saved = _saved(machine, guest, made, kernel)
    elif driver.saves and machine.template and not guest.volumes:  # a server of files cannot be saved
        saved = ensure(root, kernel, made, memory=machine.memory, cpus=machine.cpus, accel=machine.accel)
    _write_note(plan, machine, guest, made, kernel, saved)
    linux = plan.spec.linux or oci.Linux()
    held = tuple(FILE_CAPABILITIES) if guest.volumes else ("CAP_SETUID", "CAP_SETGID")
    wanted = plan.spec.process
    assert wanted is not None
    process = oci.Process(
        args=enter.command(made.python, "keeper"),
        cwd="/",
        terminal=wanted.terminal or plan.terminal,
        console_size=wanted.console_size,
        capabilities=oci.Capabilities(bounding=held, effective=held, permitted=held),
        no_new_privileges=True,
        apparmor_profile=wanted.apparmor_profile,
        selinux_label=wanted.selinux_label,
        oom_score_adj=wanted.oom_score_adj,
    )
    kinds = [one for one in linux.namespaces if one.type in (*_NEW, "network", "user")]
    mounts = [*SYSTEM, *_files(plan, machine, made, kernel, saved)]
    if machine.pod:
        mounts.append(vm_pod.door(plan.run, fresh=True))
    if driver.by_name:
        mounts.append(_meeting(machine.memory if driver.memory_place else 0))
    if guest.volumes:
        mounts.append(Mount(destination="/volumes", type="tmpfs", source="volumes", options=("mode=755", "size=64k")))
        mounts += guest.volumes
    spec = plan.spec.replace(
        process=process,
        root=oci.Root(path="rootfs", readonly=True),
        hostname="vm",
        domainname=None,
        mounts=tuple(mounts),
        hooks=None,
        linux=linux.replace(
            namespaces=tuple(kinds),
            devices=(_KVM_NODE,) if machine.accel == KVM else (),
            resources=_resources(linux.resources, machine),
            seccomp=jail_filter(held, serves=bool(guest.volumes)),
            sysctl=PORTS if any(one.type == "network" and not one.path for one in kinds) else (),
            rootfs_propagation=None,
            masked_paths=("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger"),
            readonly_paths=("/proc/sys",),
            time_offsets=(),
            personality=None,
        ),
    )
    return plan.replace(
        spec=spec,
        root=RootPlan(steps=(Bind(source=made.jail, target="/", read_only=True, recursive=False),)),
        helpers=plan.helpers if _own_user(plan) else None,
        machine=None,
        stands=True,
    )


def _saved(machine: MachinePlan, guest: Guest, made: Closure, kernel: Kernel) -> Template:
    """The machine that was saved, if this one is its equal. Raises FailedPrecondition naming what differs."""
    from atoll.isolation.vm_saving import shape_of
    from atoll.vm.checkpoint import read_shape

    if guest.volumes:
        raise errors.Unsupported("a saved machine has no volumes: their server is a process of the host's")
    read_shape(machine.resume).check(shape_of(made, kernel.digest, machine))
    return Template(memory=f"{machine.resume}/memory", state=f"{machine.resume}/state")


_KVM_NODE = oci.Device(path="/dev/kvm", type="c", major=10, minor=232, file_mode=0o666, uid=0, gid=0)


def _write_note(
    plan: ContainerPlan, machine: MachinePlan, guest: Guest, made: Closure, kernel: Kernel, saved: Template | None
) -> None:
    """What the keeper reads: everything is decided here."""
    wanted = plan.spec.process
    assert wanted is not None
    by_name = named(machine.driver).by_name
    user = 0 if by_name and _own_user(plan) else _vmm_user(plan)  # 0: who owns the files, without capabilities
    note = {
        "python": made.python,
        "closure": made.key,
        "kernel": kernel.digest,
        "initrd": bool(kernel.initrd),
        "tsc_khz": tsc.khz() if machine.accel == TCG and saved is None else 0,
        "driver": machine.driver,
        "terminal_port": named(machine.driver).terminal,
        "vmm": made.vmm,
        "virtiofsd": made.virtiofsd,
        "memory": machine.memory,
        "cpus": machine.cpus,
        "accel": machine.accel,
        "user": user,
        "group": _readers(plan, machine) if by_name else 0,
        "image": bool(machine.image),
        "pod": bool(machine.pod),
        "disk": machine.disk is not None,
        "template": saved is not None,
        "resumed": bool(machine.resume),
        "volumes": bool(guest.volumes),
        "shown": [one.destination for one in guest.volumes],
        "terminal": plan.terminal or wanted.terminal,
        "stdin": plan.stdin,
        "setup": {
            "hostname": plan.id[:12],
            "image": bool(machine.image),
            "disk": machine.disk is not None,
            "scratch": machine.disk_size,
            "volumes": bool(guest.volumes),
            "files": guest.files,
            "filters": vm_pod.filters(plan, guest.spec),
            **vm_pod.told(machine),
        },
        "container": {
            "id": plan.id,
            "spec": guest.spec.to_json(),
            "root": guest.root.to_json(),
            "terminal": plan.terminal or wanted.terminal,
            "stdin": plan.stdin,
        },
    }
    files.write_atomic(f"{plan.run}/{enter.NOTE}", jsontext.dumps(note))


def jail_filter(held: tuple[str, ...], *, serves: bool) -> oci.Seccomp:
    """The default profile, for jails; who serves files gives each thread a root and directory of its own."""
    from atoll.runtime import seccomp

    profile = seccomp.default_profile(frozenset(held))
    if not serves:
        return profile
    rule = oci.SyscallRule(
        names=("unshare",), action="SCMP_ACT_ALLOW", args=(oci.SeccompArg(index=0, value=0x200, op="SCMP_CMP_EQ"),)
    )
    return profile.replace(syscalls=(*profile.syscalls, rule))


def _files(
    plan: ContainerPlan, machine: MachinePlan, made: Closure, kernel: Kernel, saved: Template | None
) -> list[Mount]:
    """The files of this one machine, and no other's."""
    shown = {
        "kernel": (kernel.path, "ro"),
        "agent.img": (made.agent, "ro"),
    }
    if kernel.initrd:
        shown["initrd"] = (kernel.initrd, "ro")
    if machine.image:
        shown["image.img"] = (machine.image, "ro")
    if saved is not None:
        shown |= {"memory": (saved.memory, "ro"), "state": (saved.state, "ro")}
    if machine.disk is not None:
        shown["disk.img"] = (machine.disk, "rw")
    found = []
    for name, (source, mode) in shown.items():
        if not os.path.isfile(source):
            raise errors.NotFound(f"a file of the machine is not there: {source}")
        options = ("bind", "rprivate", "nosuid", "nodev", "noexec", mode)
        found.append(Mount(destination=f"{PLACE}/{name}", type="bind", source=source, options=options))
    return found


def _meeting(memory: int) -> Mount:
    """Where a VMM makes sockets, and maybe the file of its guest's memory, which it executes: all that is in the
    machine's cgroup, and gone with it."""
    options = ("nosuid", "nodev", "mode=1777", f"size={memory + 16}m")
    return Mount(destination=MEETING, type="tmpfs", source="shm", options=options)


def _readers(plan: ContainerPlan, machine: MachinePlan) -> int:
    """The group of VMMs that open their files by name: the files of this one become its, and nobody else gets a
    right to them. 0 where the VMM is who owns them."""
    if _own_user(plan):
        return 0
    for path, mode in ((machine.image, 0o640), (machine.disk, 0o660)):
        if path is not None and os.stat(path).st_gid != VMM_READERS:
            os.chown(path, -1, VMM_READERS)
            os.chmod(path, mode)
    return VMM_READERS


def _own_user(plan: ContainerPlan) -> bool:
    return plan.spec.linux is not None and any(one.type == "user" for one in plan.spec.linux.namespaces)


def _vmm_user(plan: ContainerPlan) -> int:
    """The VMM's id, and with one more the keeper's: nobody's on the host, and no other machine's. Where the user
    namespace maps one id only it stays that one, without capabilities."""
    linux = plan.spec.linux or oci.Linux()
    if _own_user(plan):
        mapped = sum(one.size for one in linux.uid_mappings if one.container_id <= 1000)
        return 1000 if mapped > 1001 else 0
    return VMM_FIRST + 2 * (crc32(plan.id.encode()) % VMM_COUNT)


def _resources(wanted: oci.Resources | None, machine: MachinePlan) -> oci.Resources:
    """The container's limits, on the machine as a whole: its memory is bounded by the guest's, and by this once
    more; how many processes are in it is the guest's affair."""
    base = wanted or oci.Resources()
    memory = base.memory
    if memory is not None and memory.limit is not None and memory.limit > 0:
        memory = memory.replace(limit=(machine.memory << 20) + OVERHEAD, swap=None, reservation=None)
    rules = (oci.DeviceRule(allow=True, type="c", major=10, minor=232, access="rw"),) if machine.accel == KVM else ()
    devices = (*base.devices, *rules) if base.devices else ()
    most = PIDS_OWN if machine.accel == OWN else PIDS
    pids = oci.Pids(limit=most) if base.pids is not None else None  # an ordinary user may have no such controller
    return base.replace(memory=memory, pids=pids, devices=devices)
