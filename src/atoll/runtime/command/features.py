"""`features`: what this runtime supports, as features.md has it; `kernel` facts only where they are asked of it.

Holds: the verb and its document. Does not hold: the tables it lists, which are those the code works by.
"""

from __future__ import annotations

import os

from atoll.runtime.command.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.command.context import Context


def features(context: Context, argv: list[str]) -> int:
    """Print the document."""
    from atoll.runtime.command.look import pretty, write

    parse("features", argv, {}, {})
    write(pretty(document(context.criu)) + "\n")
    return 0


def document(criu: str | None = None) -> dict[str, Any]:
    """The features of this runtime on this host; `criu` is the program that --criu names."""
    from atoll import __version__
    from atoll.linux.capability import NAMES
    from atoll.runtime import joining, mount_options
    from atoll.spec.runtime import VERSION, Hooks

    hooks = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    assert len(hooks) == len(Hooks.WIRE)
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(hooks),
        "mountOptions": mount_options.names(),
        "linux": {
            "namespaces": sorted(kind for kind in joining.FLAGS if _has_namespace(kind)),
            "capabilities": NAMES[: _last_cap() + 1],
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": True,
                "rdma": _has_controller("rdma"),
            },
            "seccomp": _seccomp(),
            "apparmor": {"enabled": _has_lsm("apparmor")},
            "selinux": {"enabled": _has_lsm("selinux")},
            "intelRdt": _intel_rdt(),
            "memoryPolicy": _memory_policy(),
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "io.atoll.runtime.version": __version__,
            "io.atoll.runtime.checkpoint.enabled": _checkpoint(criu),
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    }


def _checkpoint(criu: str | None) -> str:
    from atoll.base import errors
    from atoll.runtime.criu import rpc

    try:
        rpc.preflight(criu)
    except errors.AtollError:
        return "false"
    return "true"


def _intel_rdt() -> dict[str, Any]:
    from atoll.runtime import resctrl

    top = resctrl.mounted()
    monitoring = top is not None and os.path.isdir(f"{top}/info/L3_MON")
    return {"enabled": top is not None, "schemata": top is not None, "monitoring": monitoring}


def _memory_policy() -> dict[str, Any]:
    from atoll.runtime import placement

    return {"modes": sorted(placement.MODES), "flags": sorted(placement.MODE_FLAGS)}


def _seccomp() -> dict[str, Any]:
    from atoll.linux import seccomp as kernel
    from atoll.runtime.seccomp import arches, flags
    from atoll.spec.runtime import SeccompArg

    assert SeccompArg.WIRE
    known = sorted(flags._FLAGS)
    return {
        "enabled": os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        "actions": sorted(flags._ACTIONS),
        "operators": [f"SCMP_CMP_{name}" for name in ("EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE")],
        "archs": sorted(arches._ARCHES),
        "knownFlags": known,
        "supportedFlags": [name for name in known if kernel.seccomp_flag_avail(flags._FLAGS[name])],
    }


def _has_namespace(kind: str) -> bool:
    name = {"mount": "mnt", "network": "net"}.get(kind, kind)
    return os.path.exists(f"/proc/self/ns/{name}")


def _last_cap() -> int:
    from atoll.linux.capability import last_cap

    return last_cap()


def _has_controller(name: str) -> bool:
    from atoll.runtime.cgroups.detect import detect

    found = detect()
    return found.find(name) is not None or (found.unified is not None and name in found.unified.controllers)


def _has_lsm(name: str) -> bool:
    try:
        with open("/sys/kernel/security/lsm") as file:
            return name in file.read().split(",")
    except OSError:
        return os.path.isdir(f"/sys/fs/{name}") or os.path.isdir(f"/sys/module/{name}/parameters")
