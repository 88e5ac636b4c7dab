"""What `inspect` shows of the rarer flags, in the shape of Docker's `HostConfig`. Pure.

Holds: `host_config`. Loaded only for a container that has such flags.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.limits import DeviceValue, Limits
    from atoll.engine.containers.record import Record
    from atoll.engine.containers.rights import Rights
    from atoll.engine.containers.sharing import Sharing


def host_config(record: Record) -> dict[str, Any]:
    """The fields that `limits`, `rights` and `sharing` of a record set."""
    found: dict[str, Any] = {}
    if record.limits is not None:
        found.update(_limits(record.limits))
    if record.rights is not None:
        found.update(_rights(record.rights))
    if record.sharing is not None:
        found.update(_sharing(record.sharing))
    if record.annotations:
        found["Annotations"] = dict(record.annotations)
    tmpfs = {mount.destination: ",".join(mount.options) for mount in record.mounts if mount.type == "tmpfs"}
    if tmpfs:
        found["Tmpfs"] = tmpfs
    return found


def _limits(limits: Limits) -> dict[str, Any]:
    return {
        "CpuShares": limits.cpu_shares or 0,
        "CpuPeriod": limits.cpu_period or 0,
        "CpuQuota": limits.cpu_quota or 0,
        "CpuRealtimePeriod": limits.cpu_rt_period or 0,
        "CpuRealtimeRuntime": limits.cpu_rt_runtime or 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": limits.oom_score_adj or 0,
        "BlkioWeight": limits.blkio_weight or 0,
        "BlkioWeightDevice": _devices(limits.blkio_weight_device, "Weight"),
        "BlkioDeviceReadBps": _devices(limits.device_read_bps, "Rate"),
        "BlkioDeviceWriteBps": _devices(limits.device_write_bps, "Rate"),
        "BlkioDeviceReadIOps": _devices(limits.device_read_iops, "Rate"),
        "BlkioDeviceWriteIOps": _devices(limits.device_write_iops, "Rate"),
        "Ulimits": [{"Name": one.name, "Hard": one.hard, "Soft": one.soft} for one in limits.ulimits],
    }


def _devices(devices: tuple[DeviceValue, ...], value: str) -> list[dict[str, Any]]:
    return [{"Path": one.path, value: one.value} for one in devices]


def _rights(rights: Rights) -> dict[str, Any]:
    from atoll.engine.containers.rights import normal_capabilities

    return {
        "CapAdd": list(normal_capabilities(rights.cap_add, "CapAdd")) or None,
        "CapDrop": list(normal_capabilities(rights.cap_drop, "CapDrop")) or None,
        "Privileged": rights.privileged,
        "GroupAdd": list(rights.groups) or None,
        "Sysctls": dict(rights.sysctls) or None,
        "DeviceCgroupRules": list(rights.device_rules) or None,
        "Devices": [
            {"PathOnHost": node.source, "PathInContainer": node.path, "CgroupPermissions": node.access}
            for node in rights.nodes
        ]
        if not rights.privileged
        else [],
    }


def _sharing(sharing: Sharing) -> dict[str, Any]:
    return {
        "IpcMode": sharing.ipc or "private",
        "PidMode": sharing.pid,
        "UTSMode": sharing.uts,
        "CgroupnsMode": sharing.cgroupns or "private",
        "UsernsMode": sharing.userns,
        "CgroupParent": sharing.cgroup_parent,
    }
