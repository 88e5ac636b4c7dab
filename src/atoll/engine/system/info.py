"""info: what this host grants and this installation does with it, without wishful thinking."""

from __future__ import annotations

import os

import atoll
from atoll.base import files
from atoll.engine.containers.state import state_of
from atoll.linux import lsm
from atoll.spec import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine

DOCKERS_NAMES = {"overlay": "overlay2", "fuse-overlayfs": "fuse-overlayfs", "copy": "vfs"}
_LIMITS = (("memory", "--memory"), ("cpu", "--cpus"), ("pids", "--pids-limit"))


def info(engine: Engine) -> dict[str, Any]:
    """Docker's keys where Docker has them. `Warnings` says what does not work here, and why."""
    states = [state_of(engine, row.id).status for row in engine.store.containers()]
    uname = os.uname()
    warnings: list[str] = []
    cgroups = _cgroups(engine, warnings)
    available = engine.driver.probe()
    if not available.ok:
        warnings.append(f"containers do not work here: {available.reason}")
    security = _security(engine, warnings)
    return {
        "ServerVersion": atoll.__version__,
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len(engine.store.images()),
        **_storage(engine),
        "LoggingDriver": engine.config.log_driver,
        **cgroups,
        "Isolation": {"container": "available" if available.ok else f"not available: {available.reason}"},
        "Networks": ["none", "host"],
        "SecurityOptions": security,
        "Rootless": engine.uid != 0,
        "IdMap": _idmap(engine),
        "KernelVersion": uname.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": uname.machine,
        "Platform": str(platform.host()),
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": uname.nodename,
        "DataRoot": engine.paths.data,
        "RunRoot": engine.paths.run,
        "ConfigFiles": list(engine.config.source),
        "Security": engine.config.security,
        "DefaultPidsLimit": engine.config.pids_limit,
        "Warnings": warnings,
    }


def _storage(engine: Engine) -> dict[str, Any]:
    """Docker's name for the driver of new containers; its status says what was asked for."""
    wanted, driver = engine.config.storage_driver, engine.snapshots.driver()
    status = [["Backing Filesystem", _filesystem(engine.paths.data)], ["Storage Driver", f"{driver} ({wanted})"]]
    if driver == "overlay":
        status.append(["userxattr", str(engine.uid != 0)])
    return {"Driver": DOCKERS_NAMES[driver], "DriverStatus": status}


def _cgroups(engine: Engine, warnings: list[str]) -> dict[str, Any]:
    from atoll.runtime.cgroups import detect

    hierarchy = detect.detect()
    usable = None if engine.uid == 0 else detect.delegated(hierarchy)
    limits = {}
    for controller, option in _LIMITS:
        if hierarchy.find(controller) is None:
            limits[controller] = "this host has no such controller"
        elif usable is not None and controller not in usable:
            limits[controller] = "not delegated to this user"
        else:
            limits[controller] = "available"
            continue
        warnings.append(f"{option} does not work here: the {controller} controller: {limits[controller]}")
    kind = hierarchy.kind if isinstance(hierarchy.kind, str) else hierarchy.kind()
    return {
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if kind == "v2" else "1",
        "CgroupHierarchy": kind,
        "CgroupParent": engine.config.cgroup_parent,
        "Limits": limits,
    }


def _security(engine: Engine, warnings: list[str]) -> list[str]:
    options = ["name=apparmor"] if lsm.apparmor_enabled() else []
    actions = _read("/proc/sys/kernel/seccomp/actions_avail")
    if "errno" in actions.split():
        options.append("name=seccomp,profile=" + ("docker" if engine.config.security == "docker" else "builtin"))
    else:
        warnings.append("no seccomp filters on this kernel: containers may call everything")
    if engine.uid != 0:
        options.append("name=rootless")
    if engine.config.security != "docker":
        options.append("name=no-new-privileges")
    options.append("name=cgroupns")
    return options


def _idmap(engine: Engine) -> str:
    if engine.idmap is None:
        return "none: root in a container is root outside"
    if engine.idmap.single:
        return "single: only this user's own id (install uidmap and grant ranges in /etc/subuid for more)"
    return f"{sum(m.count for m in engine.idmap.uid_map)} user ids"


def _read(path: str) -> str:
    try:
        return files.read_text(path).strip()
    except (OSError, ValueError):
        return ""


def _operating_system() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _filesystem(path: str) -> str:
    """The type of the file system that a path lies on, by the longest mount point above it."""
    best, kind = "", "unknown"
    for line in _read("/proc/self/mounts").splitlines():
        words = line.split(" ")
        if len(words) > 2 and (path + "/").startswith(words[1].rstrip("/") + "/") and len(words[1]) >= len(best):
            best, kind = words[1], words[2]
    return kind
