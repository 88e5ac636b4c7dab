"""The containers of a pod, as the agent makes them: each from its own image, in what the pod's containers share.

Holds: `prepare` (once a machine), `Members` (made, entered, asked about, ended). Does not hold: streams and sessions
(`agent.py`), where images come from (`shelf.py`).
The first container is the pod's own: its program only waits, and its namespaces are what the others join. It has the
guest's network, and so have they. What they write lies on the machine's disk, a directory each by their ids; those of
containers that are not there any more go when the machine is set up.

    /run/atoll/images/<offset>     an image, mounted once from its place on vdb
              /members/<id>/       run directory and bundle of a container, files that are given to it
              /writable/<id>/      what it writes: stays
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.guest import setup
from atoll.linux import loop, mount
from atoll.runtime import create as runtime_create
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.delete import delete
from atoll.spec import codec
from atoll.spec import runtime as oci
from atoll.spec.rootfs import Overlay, RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.plan import Created

IMAGES, MEMBERS = f"{setup.RUN}/images", f"{setup.RUN}/members"
CGROUP = "/pod"
JOINED = "pod:"
"""Begins the path of a namespace, or the source of a mount, that is the pod's own container's."""
_NAMES = {"network": "net", "mount": "mnt"}


def prepare(message: dict[str, Any]) -> None:
    """The cgroup of all of them with its limits, and away with what containers wrote that are gone. Raises
    AtollError, OSError."""
    os.makedirs(IMAGES, 0o700, exist_ok=True)
    os.makedirs(MEMBERS, 0o700, exist_ok=True)
    limits = codec.parse(oci.Resources, message["limits"], "limits")
    Cgroup.create(CGROUP, limits, detect())
    for name in os.listdir(setup.WRITABLE):
        if len(name) == 64 and name not in message["members"]:
            files.remove_tree(f"{setup.WRITABLE}/{name}")


class Members:
    """The containers that there are, by their sessions."""

    def __init__(self) -> None:
        self._by_session: dict[int, tuple[str, bool]] = {}

    def create(self, number: int, message: dict[str, Any], stdio: tuple[int, int, int] | None, first: int) -> Created:
        """Make one; `first` is the first process of the pod's own container. Raises AtollError, OSError."""
        wanted = message["member"]
        name, goes = str(wanted["id"]), wanted["goes"] is True
        image = _image(int(message["image"]["offset"]), int(message["image"]["size"]))
        place, writable = f"{MEMBERS}/{name}", f"{setup.WRITABLE}/{name}"
        files.remove_tree(place)
        for path in (f"{place}/run", f"{place}/bundle", f"{place}/files", writable, f"{writable}/work"):
            os.makedirs(path, 0o700, exist_ok=True)
        os.makedirs(f"{writable}/upper", 0o755, exist_ok=True)
        setup.keep_files(wanted["files"], f"{place}/files")
        setup.keep_filters(wanted["filters"])
        self._by_session[number] = name, goes
        try:
            return runtime_create.create(
                container_id=name,
                spec=_joined(oci.Spec.from_json(wanted["spec"]), first),
                root=RootPlan(
                    steps=(Overlay(lower=(image,), upper=f"{writable}/upper", work=f"{writable}/work", target="/"),)
                ),
                bundle=f"{place}/bundle",
                run=f"{place}/run",
                stdio=stdio,
                terminal=message["terminal"] is True,
                cache=setup.FILTERS,
                start=True,
            )
        except (OSError, errors.AtollError):
            self.ended(number)
            raise

    def run_of(self, name: str) -> str:
        """The run directory of a container that runs. Raises FailedPrecondition."""
        if all(name != one for one, _ in self._by_session.values()):
            raise errors.FailedPrecondition(f"container {name[:12]} does not run in this machine")
        return f"{MEMBERS}/{name}/run"

    def out_of_memory(self, number: int) -> bool:
        """Whether the kernel killed a process of it for want of memory."""
        name, _ = self._by_session.get(number, ("", False))
        return bool(name) and setup.oom_kills(f"{MEMBERS}/{name}/run") > 0

    def ended(self, number: int) -> None:
        """A session has ended: if it was a container, the rest of it goes, and what it wrote is on the disk."""
        name, goes = self._by_session.pop(number, ("", False))
        if not name:
            return
        delete(f"{MEMBERS}/{name}/run", force=True)
        files.remove_tree(f"{MEMBERS}/{name}")
        if goes:
            files.remove_tree(f"{setup.WRITABLE}/{name}")
        os.sync()

    def end_all(self) -> None:
        """The pod's own container has ended, and they with it."""
        for number in list(self._by_session):
            self.ended(number)

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """To a question about one that runs. Raises AtollError, OSError."""
        known = state.read(self.run_of(str(message.get("in"))))
        cgroup = Cgroup.from_json(known.cgroup)
        asked = message["ask"]
        if asked == "freeze":
            cgroup.freeze()
        elif asked == "thaw":
            cgroup.thaw()
        elif asked == "update":
            cgroup.update(codec.parse(oci.Resources, message["limits"], "limits"), detect())
        elif asked == "top":
            from atoll.runtime.processes import look

            return {"rows": look(cgroup.pids())}
        elif asked == "stats":
            return _stats(cgroup)
        else:
            raise errors.Unsupported(f"this guest knows no {asked!r}")
        return {}


def _image(offset: int, size: int) -> str:
    """Where the image at that place of the device is mounted, mounted now if it was not."""
    path = f"{IMAGES}/{offset}"
    if os.path.isdir(path):
        return path
    device = os.open(setup.device(setup.IMAGE_DEVICES), os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Past the cache of the whole device: what that has read there before may have been no image yet.
        held, name = loop.attach(device, offset=offset, size=size, read_only=True, direct=True)
    finally:
        os.close(device)
    os.mkdir(path, 0o700)
    try:
        mount.mount(name, path, "erofs", mount.MS_RDONLY)
    except BaseException:
        os.rmdir(path)
        raise
    finally:
        os.close(held)
    return path


def _joined(spec: oci.Spec, first: int) -> oci.Spec:
    """With the namespaces and mounts of the pod's own container where its first process has them."""
    linux = spec.linux or oci.Linux()
    namespaces = [
        one.replace(path=f"/proc/{first}/ns/{_NAMES.get(one.type, one.type)}") if one.path == JOINED else one
        for one in linux.namespaces
    ]
    mounts = [
        one.replace(source=f"/proc/{first}/root{one.source.removeprefix(JOINED)}")
        if (one.source or "").startswith(JOINED) and one.source
        else one
        for one in spec.mounts
    ]
    return spec.replace(linux=linux.replace(namespaces=tuple(namespaces)), mounts=tuple(mounts))


def _stats(cgroup: Cgroup) -> dict[str, Any]:
    used = cgroup.stats()
    return {
        "cpu": used.cpu.usage,
        "memory": used.memory.usage,
        "inactive": used.memory.inactive_file,
        "limit": used.memory.limit,
        "pids": used.pids.current,
    }
