"""A pod at the level `vm`: one machine, which the pod's own container has, and its other containers in it.

Holds: `holding` (what the guest of that container is), `seated` (the plan of the process that stands for another),
`volumes_of`. Does not hold: the jail of a machine (`vm.py`), the guest's side (`guest/pod.py`), what is decided
(`engine/pods/machine.py`).

    monitor of the pod's own container ─► keeper ─► VMM ─► guest: agent ─► that container, and by its door:
    monitor of each other container ──► a process that stands for it (`guest/member.py`), in a jail with nothing in it

So each container has its streams, log, exit code, restarts and exec sessions from a monitor of its own, as ever. The
jail of a stand-in shows the door and the one image; nothing of the guest's runs in it. Volumes are shown by the
machine's server of files, which sees those that the pod's containers had when the machine was started.
"""

from __future__ import annotations

import binascii
import os

from atoll.base import errors, files, jsontext
from atoll.guest import enter, member, pod, setup
from atoll.isolation.vm_guest import HINT, Guest, guest_of
from atoll.spec import codec
from atoll.spec import runtime as oci
from atoll.spec.rootfs import Bind, RootPlan, Tmpfs
from atoll.spec.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.monitor.requests import ContainerPlan, MachinePlan
    from atoll.runtime.cgroups.stats import CgroupStats
    from atoll.vm.closure import Closure

PIDS = 64
"""Processes in a stand-in's jail: itself, and one for each exec under way."""
_FRESH = ("mount", "pid", "ipc", "uts", "cgroup", "network")


def holding(plan: ContainerPlan) -> Guest:
    """The guest's part of the pod's own container: its root is one small program, which travels as data. Raises as
    `guest_of`."""
    machine, root = plan.machine, plan.root
    assert machine is not None
    assert root is not None
    ground, program = root.steps
    assert isinstance(ground, Tmpfs)
    assert isinstance(program, Bind)
    guest = guest_of(plan.replace(root=RootPlan(steps=(ground,))))
    name = os.path.basename(program.target)
    content = binascii.b2a_base64(files.read_bytes(program.source), newline=False).decode()
    linux = guest.spec.linux or oci.Linux()
    return guest.replace(
        spec=guest.spec.replace(linux=linux.replace(cgroups_path=f"{pod.CGROUP}/own")),
        root=RootPlan(steps=(ground, program.replace(source=f"{setup.FILES}/{name}"))),
        files={**guest.files, name: {"content": content, "mode": 0o755}},
        volumes=machine.part.volumes if machine.part is not None else (),
    )


def told(machine: MachinePlan) -> dict[str, Any]:
    """What the guest is told of the pod whose machine it is."""
    if not machine.pod or machine.part is None:
        return {}
    return {"pod": {"members": list(machine.part.members), "limits": codec.dump(machine.part.limits)}}


def door(run: str, *, fresh: bool = False) -> Mount:
    """The keeper's door, in a directory that the jails of the pod's containers share; `fresh`: it is to be made.
    Raises OSError."""
    place = member.door_of(run)
    if fresh:
        os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
        os.makedirs(place, 0o700, exist_ok=True)
        os.chmod(place, 0o711)  # the VMM's way to the server of volumes, beside the door
        for name in os.listdir(place):
            os.unlink(f"{place}/{name}")
    options = ("bind", "rprivate", "nosuid", "nodev", "noexec")
    return Mount(destination=os.path.dirname(enter.DOOR), type="bind", source=place, options=options)


def volumes_of(plan: ContainerPlan) -> tuple[Mount, ...]:
    """What the pod's machine must show for this container, each under a name that says what it is: the same volume
    with the same options is there once. Raises as `guest_of`."""
    return _split(plan)[1]


def seated(plan: ContainerPlan, made: Closure) -> ContainerPlan:
    """The plan of the process that stands for a container in its pod's machine; what the guest is to make is written
    into the run directory. Raises Unsupported, FailedPrecondition for a volume that the machine does not show."""
    from atoll.isolation import vm

    machine, wanted = plan.machine, plan.spec.process
    assert machine is not None
    assert wanted is not None
    guest, volumes = _split(plan)
    _check_shown(machine.pod, volumes)
    terminal = plan.terminal or wanted.terminal
    note = {
        "python": made.python,
        "in": plan.id,
        "machine": machine.pod,
        "member": {
            "id": plan.id,
            "goes": "cleanup" in plan.on_exit,
            "spec": guest.spec.to_json(),
            "files": guest.files,
            "filters": filters(plan, guest.spec),
            "terminal": terminal,
            "stdin": plan.stdin,
        },
    }
    files.write_atomic(f"{plan.run}/{enter.NOTE}", jsontext.dumps(note))
    linux = plan.spec.linux or oci.Linux()
    own_user = any(one.type == "user" for one in linux.namespaces)
    shut = ("bind", "rprivate", "nosuid", "nodev", "noexec", "ro")
    base = linux.resources or oci.Resources()
    spec = plan.spec.replace(
        process=oci.Process(
            args=enter.command(made.python, "member"),
            cwd="/",
            terminal=terminal,
            console_size=wanted.console_size,
            capabilities=oci.Capabilities(),
            no_new_privileges=True,
            apparmor_profile=wanted.apparmor_profile,
            selinux_label=wanted.selinux_label,
            oom_score_adj=wanted.oom_score_adj,
        ),
        root=oci.Root(path="rootfs", readonly=True),
        hostname="vm",
        domainname=None,
        mounts=(
            *vm.SYSTEM,
            door(machine.pod),
            Mount(destination=member.IMAGE, type="bind", source=machine.image, options=shut),
        ),
        hooks=None,
        linux=linux.replace(
            namespaces=tuple([oci.Namespace(type=kind) for kind in (*_FRESH, *(("user",) if own_user else ()))]),
            devices=(),
            resources=oci.Resources(
                devices=base.devices, pids=oci.Pids(limit=PIDS) if base.pids is not None else None
            ),
            seccomp=vm.jail_filter((), serves=False),
            sysctl=(),
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
        helpers=plan.helpers if own_user else None,
        machine=None,
        stands=True,
    )


# --- verbs on a container that is in a pod's machine, by its run directory; others are left alone -------------------


def stats(run: str) -> CgroupStats | None:
    """What it uses of the machine, as the guest counts it; None for a container that is in none. Raises what
    `member.ask` does."""
    from atoll.runtime.cgroups.stats import CgroupStats, CpuStats, MemoryStats, PidsStats

    said = _ask(run, "stats")
    if said is None:
        return None

    def number(name: str) -> int | None:
        value = said.get(name)
        return value if type(value) is int and 0 <= value < 1 << 63 else None

    return CgroupStats(
        cpu=CpuStats(usage=number("cpu")),
        memory=MemoryStats(usage=number("memory"), inactive_file=number("inactive"), limit=number("limit")),
        pids=PidsStats(current=number("pids")),
    )


def top(run: str) -> list[tuple[str, ...]] | None:
    """Its processes, as `runtime/processes.py` has them, by the guest's ids; None for a container that is in no pod's
    machine. Raises what `member.ask` does, Denied for an answer that is none."""
    said = _ask(run, "top")
    if said is None:
        return None
    rows = said.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 8 for row in rows):
        raise errors.Denied("the guest's answer is none")
    return [tuple(["".join([c if c.isprintable() else "?" for c in str(word)]) for word in row]) for row in rows]


def pause(run: str) -> None:
    """Its processes in the guest stand still when this returns. Raises what `member.ask` does."""
    _ask(run, "freeze")


def resume(run: str) -> None:
    """They go on; so does the machine's own container first where the whole pod was paused. Raises what `member.ask`
    does."""
    _ask(run, "thaw")


def update(run: str, resources: oci.Resources) -> bool:
    """Other limits, kept by the guest; whether it is in a pod's machine. Raises what `member.ask` does."""
    return _ask(run, "update", limits=codec.dump(resources)) is not None


def _ask(run: str, question: str, **more: object) -> dict[str, Any] | None:
    try:
        note = jsontext.loads(files.read_bytes(f"{run}/{enter.NOTE}"))
        machine, name = note.get("machine"), note.get("in")
    except (OSError, ValueError, AttributeError) as error:
        raise errors.Corrupt(f"damaged record {run}/{enter.NOTE}: {error}") from None
    if not isinstance(machine, str) or not isinstance(name, str):
        return None
    return member.ask(machine, name, question, **more)


def filters(plan: ContainerPlan, spec: oci.Spec) -> dict[str, str]:
    """A container's seccomp filter as the host has compiled it: under emulation that takes a second."""
    rules = spec.linux.seccomp if spec.linux is not None else None
    if rules is None or plan.cache is None:
        return {}
    from atoll.runtime.seccomp import cache

    cache.read_or_compile(rules, plan.cache)
    name = cache.file_name(rules)
    try:
        content = files.read_bytes(f"{plan.cache}/{name}")
    except OSError:  # a cache that cannot be written: the guest compiles
        return {}
    return {name: binascii.b2a_base64(content, newline=False).decode()}


def _split(plan: ContainerPlan) -> tuple[Guest, tuple[Mount, ...]]:
    """What the guest gets, and what of the host is shown for it. Raises Unsupported for what cannot be."""
    linux = plan.spec.linux or oci.Linux()
    _refuse(linux.resources or oci.Resources())
    joined = {one.type for one in linux.namespaces if one.path}
    fresh = tuple([one.replace(path=None) for one in linux.namespaces])
    shared = tuple([one for one in plan.spec.mounts if (one.source or "").startswith(pod.JOINED)])
    rest = tuple([one for one in plan.spec.mounts if one not in shared])
    guest = guest_of(plan.replace(spec=plan.spec.replace(linux=linux.replace(namespaces=fresh), mounts=rest)))
    names: dict[str, str] = {}
    volumes = []
    for one in guest.volumes:
        name = _name(one)
        names[f"{setup.VOLUMES}{one.destination.removeprefix('/volumes')}"] = setup.VOLUMES + name.removeprefix(
            "/volumes"
        )
        volumes.append(one.replace(destination=name))
    place = f"{pod.MEMBERS}/{plan.id}/files"
    mounts = [one.replace(source=_moved(one.source or "", names, place)) for one in guest.spec.mounts]
    inside = guest.spec.linux or oci.Linux()
    namespaces = [one.replace(path=pod.JOINED) if one.type in joined else one for one in inside.namespaces]
    wanted, own = linux.resources or oci.Resources(), inside.resources or oci.Resources()
    inside = inside.replace(
        namespaces=tuple(namespaces),
        cgroups_path=f"{pod.CGROUP}/{plan.id}",
        resources=own.replace(cpu=wanted.cpu),
        sysctl=inside.sysctl,
    )
    spec = guest.spec.replace(mounts=(*mounts, *shared), linux=inside)
    return guest.replace(spec=spec), tuple(volumes)


def _refuse(wanted: oci.Resources) -> None:
    refused = {
        "limits of disks: the machine has one for all of its pod": wanted.block_io is not None,
        "limits of huge pages": bool(wanted.hugepage_limits),
    }
    for what, given in refused.items():
        if given:
            raise errors.Unsupported(f"isolation level 'vm' cannot give a container of a pod {what}", hint=HINT)


def _name(shown: Mount) -> str:
    """The name of a volume in the jail: the same for the same source and options."""
    import _sha256  # type: ignore[import-not-found, unused-ignore]

    about = jsontext.dumps([shown.source, shown.type, sorted(shown.options)]).encode()
    digest = _sha256.sha256(about).hexdigest()[:32]
    return f"/volumes/{digest}{'/file' if shown.destination.endswith('/file') else ''}"


def _moved(source: str, names: dict[str, str], place: str) -> str:
    if source.startswith(f"{setup.FILES}/"):
        return place + source.removeprefix(setup.FILES)
    return names.get(source, source)


def _check_shown(run: str, volumes: tuple[Mount, ...]) -> None:
    if not volumes:
        return
    try:
        shown = jsontext.loads(files.read_bytes(f"{run}/{enter.NOTE}")).get("shown") or []
    except (OSError, ValueError, AttributeError):
        shown = []
    for one in volumes:
        if one.destination not in shown:
            raise errors.FailedPrecondition(
                f"the pod's machine runs already, and does not show {one.source}: it shows the volumes that "
                "the pod's containers had when it was started",
                hint="make the container with 'atoll create --pod', then 'atoll pod restart'",
            )
