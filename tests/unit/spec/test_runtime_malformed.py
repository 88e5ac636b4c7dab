"""Every property of config.json with a value of another kind: an error that names it by its JSON path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atoll.base import errors
from atoll.spec.runtime import Spec

MAP = {"containerID": 0, "hostID": 1000, "size": 1}
DEVICE = {"major": 8, "minor": 0}
WHOLE: dict[str, Any] = {
    "ociVersion": "1.2.1",
    "hostname": "box",
    "domainname": "example",
    "annotations": {"key": "value"},
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {
            "destination": "/a",
            "type": "bind",
            "source": "/a",
            "options": ["ro"],
            "uidMappings": [MAP],
            "gidMappings": [MAP],
        }
    ],
    "hooks": {
        kind: [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 1}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "process": {
        "terminal": True,
        "consoleSize": {"height": 1, "width": 1},
        "cwd": "/",
        "args": ["x"],
        "env": ["A=b"],
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [1]},
        "capabilities": {
            kind: ["CAP_KILL"] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}],
        "noNewPrivileges": True,
        "apparmorProfile": "p",
        "selinuxLabel": "l",
        "oomScoreAdj": 1,
        "scheduler": {
            "policy": "SCHED_OTHER",
            "nice": 1,
            "priority": 0,
            "flags": ["F"],
            "runtime": 1,
            "deadline": 1,
            "period": 1,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
        "execCPUAffinity": {"initial": "0", "final": "0"},
    },
    "linux": {
        "namespaces": [{"type": "pid", "path": "/p"}],
        "uidMappings": [MAP],
        "gidMappings": [MAP],
        "timeOffsets": {"boottime": {"secs": 1, "nanosecs": 1}},
        "devices": [{"path": "/dev/x", "type": "c", **DEVICE, "fileMode": 438, "uid": 0, "gid": 0}],
        "netDevices": {"eth0": {"name": "e"}},
        "cgroupsPath": "/c",
        "rootfsPropagation": "private",
        "maskedPaths": ["/m"],
        "readonlyPaths": ["/r"],
        "mountLabel": "l",
        "sysctl": {"net.x": "1"},
        "personality": {"domain": "LINUX", "flags": ["F"]},
        "intelRdt": {
            "closID": "c",
            "schemata": ["L3:0=1"],
            "l3CacheSchema": "L3:0=1",
            "memBwSchema": "MB:0=1",
            "enableCMT": True,
            "enableMBM": True,
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["F"]},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["F"],
            "listenerPath": "/l",
            "listenerMetadata": "m",
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
        "resources": {
            "devices": [{"allow": True, "type": "c", **DEVICE, "access": "rwm"}],
            "memory": {
                **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness"), 1),
                **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), True),
            },
            "cpu": {
                **dict.fromkeys(
                    ("shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "idle"), 1
                ),
                "cpus": "0",
                "mems": "0",
            },
            "pids": {"limit": 1},
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{**DEVICE, "weight": 10, "leafWeight": 10}],
                **{
                    f"throttle{kind}Device": [{**DEVICE, "rate": 1}]
                    for kind in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
                },
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
            "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 1}},
            "unified": {"memory.high": "1"},
        },
    },
}


def places(value: Any, path: str = "") -> list[str]:
    """The JSON path of everything in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, one in value.items():
            found += places(one, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += places(one, f"{path}[{index}]")
    return found


def put(document: Any, path: str, value: object) -> Any:
    """Replace what is at a path; a key of `sysctl` and `unified` may hold a dot."""
    rest, place = path, document
    while True:
        step = next(
            (
                key
                for key in sorted(place, key=len, reverse=True)
                if rest == key or rest.startswith((f"{key}.", f"{key}["))
            )
            if isinstance(place, dict)
            else iter([rest[: rest.index("]") + 1]])
        )
        rest = rest[len(step) :].removeprefix(".")
        key: Any = int(step[1:-1]) if step.startswith("[") else step
        if not rest:
            place[key] = value
            return document
        place = place[key]


def test_the_whole_is_good_and_comes_back():
    spec = Spec.from_json(WHOLE)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.to_json() == WHOLE


@pytest.mark.parametrize("path", places(WHOLE))
def test_another_kind_is_an_error_that_names_it(path: str):
    for wrong in (1.5, [[]], "\0"):
        document = put(json.loads(json.dumps(WHOLE)), path, wrong)
        with pytest.raises(errors.InvalidArgument) as caught:
            Spec.from_json(document)
        assert str(caught.value).startswith(path), (wrong, str(caught.value))
