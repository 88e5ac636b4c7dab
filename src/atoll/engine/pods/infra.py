"""The container that holds a pod's namespaces: a request, and a plan whose root is one small program.

Holds: `request`, `planned`, `write_program`, `wake`. Does not hold: that program (`program.py`), the order in which a
pod is made (`create.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.engine.pods.machine import STOP_SECONDS
from atoll.engine.pods.program import image
from atoll.engine.pods.record import PodRecord, PodRequest
from atoll.engine.requests import RunRequest
from atoll.spec.image import RunConfig
from atoll.spec.rootfs import Bind, RootPlan, Tmpfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.plan import Planned
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.spec.idmap import RootlessMap

IMAGE = "pause"
"""What lists show as its image; there is none of that name behind it."""
PROGRAM = "/pause"
_SIZE = 64 << 10


def request(wanted: PodRequest, record: PodRecord, pod: str) -> RunRequest:
    """What is asked of it: nothing but to be there. Its network is the pod's."""
    from atoll.engine.containers.rights import Rights

    limits = wanted.limits
    host = set(record.hosts)
    sharing = wanted.sharing.replace(
        ipc="host" if "ipc" in host else "shareable",
        pid="host" if "pid" in host else "",
        uts="host" if "uts" in host else "",
        cgroup_parent=record.cgroup if record.isolation else "",
    )
    ending: dict[str, Any] = {"stop_signal": "SIGKILL", "stop_timeout": 0}
    if record.isolation:  # a machine, with a disk
        ending = {"stop_signal": "SIGTERM", "stop_timeout": STOP_SECONDS}
    return RunRequest(
        image=IMAGE,
        name=wanted.infra_name or f"{pod[:12]}-infra",
        hostname=None if "uts" in host else record.hostname,
        network=wanted.network or "default",
        networking=wanted.networking,
        sharing=sharing,
        rights=Rights(cap_drop=("ALL",), sysctls=wanted.sysctls),
        limits=None if limits is None or limits.shm_size is None else type(limits)(shm_size=limits.shm_size),
        read_only=True,
        log_driver="none",
        **ending,
        isolation=record.isolation or "container",
        detach=True,
        starts_later=True,
        pod=pod,
        infra=True,
    )


def planned(idmap: RootlessMap | None, common: dict[str, Any]) -> Planned:
    """The plan: a tmpfs with the program in it."""
    from atoll.engine.containers.plan import plan

    bundle = common["paths"].container(common["container_id"])
    program = Bind(source=f"{bundle}{PROGRAM}", target=PROGRAM, read_only=True, recursive=False)
    return plan(
        image=RunConfig(entrypoint=(PROGRAM,)),
        platform="",
        root=RootPlan(steps=(Tmpfs(target="/", size=_SIZE), program)),
        idmap=idmap,
        **common,
    )


def write_program(bundle: str) -> None:
    """Put the program into the bundle. Raises OSError, Unsupported."""
    files.write_atomic(f"{bundle}{PROGRAM}", image(os.uname().machine), mode=0o755)


def wake(engine: Engine, row: ContainerRow) -> None:
    """Start it for a container that is to join it. Raises why it does not start."""
    from atoll.engine.containers.start import start
    from atoll.engine.containers.state import is_up, state_of

    try:
        start(engine, row.id)
    except errors.FailedPrecondition:
        if not is_up(state_of(engine, row.id)):  # else another of the pod's containers was first
            raise
