"""Looks at the host for what a plan needs to know, and at no more than the request makes necessary."""

from __future__ import annotations

import os

from atoll.engine.containers.plan import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.config import Config
    from atoll.engine.requests import RunRequest


def gather(request: RunRequest, config: Config, uid: int) -> Facts:
    """The facts for one request. Raises nothing: a file that cannot be read counts as empty."""
    in_host_network = (request.network or config.network) == "host"
    delegated, processes, swap = None, -1, False
    if uid != 0:
        import resource

        from atoll.runtime.cgroups import detect

        delegated = detect.delegated(detect.detect())
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if request.memory:
        swap = _swap_can_be_limited()
    return Facts(
        uid=uid,
        hostname=os.uname().nodename,
        cpus=len(os.sched_getaffinity(0)) if request.cpus else os.cpu_count() or 1,
        delegated=delegated,
        processes=processes,
        hosts=_read("/etc/hosts") if in_host_network else "",
        resolv_conf=_read("/etc/resolv.conf") if in_host_network else "",
        swap=swap,
    )


def _swap_can_be_limited() -> bool:
    from atoll.runtime.cgroups import detect

    hierarchy = detect.detect()
    mount = hierarchy.find("memory")
    if mount is None:
        return False
    if mount is hierarchy.unified:
        return os.path.exists("/proc/swaps")
    return os.path.exists(f"{mount.path}/memory.memsw.limit_in_bytes")


def _read(path: str) -> str:
    from atoll.base import files

    try:
        return files.read_text(path)
    except (OSError, ValueError):
        return ""
