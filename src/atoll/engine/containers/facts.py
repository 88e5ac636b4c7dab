"""Looks at the host for what a plan needs to know, and at no more than the request makes necessary."""

from __future__ import annotations

import os

from atoll.engine.containers.plan import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.config import Config
    from atoll.engine.containers.devices import DeviceNode
    from atoll.engine.containers.rights import Rights
    from atoll.engine.requests import RunRequest


def gather(request: RunRequest, config: Config, uid: int) -> Facts:
    """The facts for one request. A file that cannot be read counts as empty. Raises what `devices.find` does."""
    in_host_network = (request.network or config.network) == "host"
    delegated, processes, swap = None, -1, False
    if uid != 0:
        import resource

        from atoll.runtime.cgroups import detect

        delegated = detect.delegated(detect.detect())
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if request.memory:
        swap = _swap_can_be_limited()
    known = Facts(
        uid=uid,
        hostname=os.uname().nodename,
        cpus=len(os.sched_getaffinity(0)) if request.cpus else os.cpu_count() or 1,
        delegated=delegated,
        processes=processes,
        hosts=_read("/etc/hosts") if in_host_network else "",
        resolv_conf=_read("/etc/resolv.conf") if in_host_network else "",
        swap=swap,
    )
    if request.limits is not None:
        known = _for_limits(known)
    if os.path.exists("/sys/module/apparmor"):
        known = known.replace(apparmor=_apparmor(request, uid))
    if request.rights is not None:
        known = known.replace(nodes=_nodes(request.rights))
    return known


def _apparmor(request: RunRequest, uid: int) -> tuple[str, str | None]:
    from atoll.engine.containers import apparmor, security_options

    privileged = request.rights is not None and request.rights.privileged
    return apparmor.settle(security_options.parse(request.security_opt), privileged=privileged, uid=uid)


def _for_limits(known: Facts) -> Facts:
    """What the rarer limits are measured by."""
    import resource

    from atoll.engine.containers.limits import RLIMITS
    from atoll.linux import capability
    from atoll.runtime.cgroups import detect

    may_raise = bool(capability.capget()[0] & capability.mask_of(("CAP_SYS_RESOURCE",)))
    numbers = {name: getattr(resource, f"RLIMIT_{name.upper()}", None) for name in RLIMITS}
    hard = {name: resource.getrlimit(number)[1] for name, number in numbers.items() if number is not None}
    hierarchy = detect.detect()
    return known.replace(
        unified=hierarchy.unified is not None and hierarchy.find("memory") is hierarchy.unified,
        highest_cpu=_highest("/sys/devices/system/cpu/online"),
        highest_node=_highest("/sys/devices/system/node/online"),
        oom_score_adj=int(_read("/proc/self/oom_score_adj").strip() or "0"),
        rlimits=tuple(hard.items()),
        may_raise_rlimits=may_raise and known.uid == 0,
    )


def _highest(path: str) -> int:
    """The last number of a list such as `0-3,8`; 0 for none."""
    last = _read(path).strip().rpartition(",")[2].rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def _nodes(rights: Rights) -> tuple[DeviceNode, ...]:
    from atoll.engine.containers import devices

    found = devices.find([entry for entry in rights.devices if not devices.is_cdi(entry)])
    if rights.privileged:
        asked = {node.path for node in found}
        found = (*found, *[node for node in devices.all_of_host() if node.path not in asked])
    return found


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
