"""A container's plan split in two: what its guest does, and what its jail must show for that. Pure but for the
small files that travel as data.

Holds: `Guest`, `guest_of`. Does not hold: the jail (`vm.py`). What a machine cannot do is refused here, by name:
nothing of a plan is dropped in silence.
"""

from __future__ import annotations

import binascii
import os
import stat

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.guest import setup
from atoll.spec import runtime as oci
from atoll.spec.rootfs import Overlay, RootPlan
from atoll.spec.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.monitor.requests import ContainerPlan

FILE_MAX = 1 << 20
_HOST_ONLY = ("idmap", "ridmap", "z", "Z")
_SHARED = ("shared", "rshared", "slave", "rslave")
_GUEST_OPTIONS = ("ro", "nosuid", "nodev", "noexec", "copyup")
HINT = "the same with --isolation container; 'atoll isolation ls' says what each level can do"


class Guest(Value):
    """`spec` and `root` as the guest's runtime gets them, `files` the contents of small files by name, `volumes` the
    mounts of the jail that virtiofsd shows."""

    spec: oci.Spec
    root: RootPlan
    files: dict[str, Any]
    volumes: tuple[Mount, ...]


def guest_of(plan: ContainerPlan) -> Guest:
    """Split a plan. Raises Unsupported naming what a machine cannot do, NotFound for a source that is not there."""
    spec = plan.spec
    linux = spec.linux or oci.Linux()
    if spec.process is None:
        raise errors.InvalidArgument("a container needs a process")
    _refuse(plan, linux)
    mounts: list[Mount] = []
    contents: dict[str, Any] = {}
    volumes: list[Mount] = []
    for entry in spec.mounts:
        if not _is_bind(entry):
            mounts.append(entry)
        elif _is_data(plan, entry):
            name = str(len(contents))
            contents[name] = _content(entry)
            mounts.append(entry.replace(source=f"{setup.FILES}/{name}", options=_inside(entry)))
        else:
            shown, inside = _volume(entry, len(volumes))
            volumes.append(shown)
            mounts.append(inside)
    process = spec.process.replace(apparmor_profile=None, selinux_label=None, oom_score_adj=None)
    return Guest(
        spec=spec.replace(process=process, mounts=tuple(mounts), linux=_linux(linux)),
        root=RootPlan(
            steps=(
                Overlay(
                    lower=(setup.IMAGE,), upper=f"{setup.WRITABLE}/upper", work=f"{setup.WRITABLE}/work", target="/"
                ),
            )
        ),
        files=contents,
        volumes=tuple(volumes),
    )


def _refuse(plan: ContainerPlan, linux: oci.Linux) -> None:
    refused = {
        "devices of the host (--device)": bool(linux.devices or linux.net_devices),
        "namespaces of others (--pid, --ipc, --network container:…)": any(one.path for one in linux.namespaces),
        "the host's network (--network host)": all(one.type != "network" for one in linux.namespaces),
        "the host's processes (--pid host)": all(one.type != "pid" for one in linux.namespaces),
        "hooks of the runtime, as of CDI devices": plan.spec.hooks is not None,
        "mounts of images": plan.root is not None and len(plan.root.steps) > 1,
        "cache and memory bandwidth classes": linux.intel_rdt is not None or linux.memory_policy is not None,
        "mounts that are shared with the host": any(set(one.options) & set(_SHARED) for one in plan.spec.mounts),
    }
    for what, wanted in refused.items():
        if wanted:
            raise errors.Unsupported(f"isolation level 'vm' cannot give a container {what}", hint=HINT)


def _linux(linux: oci.Linux) -> oci.Linux:
    """Its root is the guest's own: no user namespace is needed to keep it from the host. Of limits the guest keeps
    those that are about its own processes; the jail's cgroup keeps the rest."""
    resources = linux.resources or oci.Resources()
    memory = resources.memory.replace(swap=None, swappiness=None, kernel=None) if resources.memory else None
    return linux.replace(
        namespaces=tuple([one for one in linux.namespaces if one.type != "user"]),
        uid_mappings=(),
        gid_mappings=(),
        cgroups_path="/container",
        resources=oci.Resources(memory=memory, pids=resources.pids),
        mount_label=None,
    )


def _is_bind(entry: Mount) -> bool:
    return entry.type == "bind" or "bind" in entry.options or "rbind" in entry.options


def _is_data(plan: ContainerPlan, entry: Mount) -> bool:
    """Whether a file is Atoll's own and small: names, resolvers, secrets. It travels as data; a machine without
    volumes needs no server of files."""
    source = os.path.normpath(entry.source or "")
    # A pod's containers have the names that lie with its own.
    own = (os.path.dirname(plan.bundle), f"{os.path.dirname(os.path.dirname(plan.run))}/secrets")
    return any(source.startswith(f"{place}/") for place in own) and os.path.isfile(source)


def _content(entry: Mount) -> dict[str, Any]:
    try:
        found = os.stat(entry.source or "")
        data = files.read_bytes(entry.source or "")
    except OSError as error:
        raise errors.from_os_error(error, f"read the file for {entry.destination}") from error
    if len(data) > FILE_MAX:
        raise errors.Exhausted(f"{entry.source} is too large to be given to a machine as data")
    text = binascii.b2a_base64(data, newline=False).decode()
    return {"content": text, "mode": stat.S_IMODE(found.st_mode)}


def _inside(entry: Mount) -> tuple[str, ...]:
    return ("bind", *[option for option in entry.options if option in _GUEST_OPTIONS])


def _volume(entry: Mount, number: int) -> tuple[Mount, Mount]:
    """A volume as the jail shows it, with all that decides what of the host is seen, and as the guest mounts it."""
    name = f"/volumes/{number}"
    if os.path.isfile(entry.source or "") and not any(one.startswith("subpath=") for one in entry.options):
        name += "/file"  # virtiofs shows directories
    elif entry.source is not None and not os.path.exists(entry.source):
        raise errors.NotFound(f"the source of the mount on {entry.destination} is not there: {entry.source}")
    kept, inside = [option for option in entry.options if option != "copyup"], _inside(entry)
    if "copyup" in inside and "ro" in inside:
        # The guest fills a new one with what its image has there. One that holds something the jail shows read-only.
        if _is_new(entry.source or ""):
            kept = [option for option in kept if option not in ("ro", "rro")]
        else:
            inside = tuple([option for option in inside if option != "copyup"])
    shown = entry.replace(destination=name, options=tuple(kept))
    return shown, Mount(
        destination=entry.destination,
        type="bind",
        source=f"{setup.VOLUMES}{name.removeprefix('/volumes')}",
        options=inside,
    )


def _is_new(path: str) -> bool:
    """Whether `runtime/copyup.py` would fill it: nothing is there, or what a killed one has left."""
    from atoll.runtime.copyup import MARK

    try:
        names = os.listdir(path)
    except OSError:  # another id's: it has been used
        return False
    return not names or MARK in names
