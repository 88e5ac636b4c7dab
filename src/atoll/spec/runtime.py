"""The OCI runtime-spec's `config.json` as typed records (config.md and config-linux.md, version 1.2 and 1.3).

Holds: every property for Linux, parsing with JSON paths in the errors, writing back. Does not hold: rules between
properties (`runtime/validate.py`), defaults of the engine (`engine/containers/plan.py`).
Start reading at `Spec`. Maps (annotations, sysctl, unified) are tuples of pairs: records hold nothing mutable.
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.spec.codec import (
    dump,
    flag,
    int32,
    int64,
    list_of,
    map_of,
    number_between,
    one_of,
    parse,
    record,
    text,
    uint16,
    uint32,
    uint64,
    user_id,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.2.1"

texts = list_of(text)
text_map = map_of(text)


class Box(Value):
    """`process.consoleSize`, in characters."""

    height: int
    width: int
    WIRE = {"height": uint16, "width": uint16}


class User(Value):
    """`process.user`. `username` is Atoll's own use of that (Windows) property: `name[:group]` not yet looked up,
    which the init resolves by the container's own `/etc/passwd` and `/etc/group`; so are further `group_names`."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str | None = None
    group_names: tuple[str, ...] = ()
    WIRE = {
        "uid": user_id,
        "gid": user_id,
        "umask": number_between(0, 0o777),
        "additional_gids": list_of(user_id),
        "username": text,
        "group_names": texts,
    }


class Capabilities(Value):
    """`process.capabilities`: names such as `CAP_CHOWN` in the five sets of capabilities(7)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    WIRE = {"bounding": texts, "effective": texts, "inheritable": texts, "permitted": texts, "ambient": texts}


class Rlimit(Value):
    """One of `process.rlimits`; `type` as `RLIMIT_NOFILE`."""

    type: str
    soft: int
    hard: int
    WIRE = {"type": text, "soft": uint64, "hard": uint64}


class Scheduler(Value):
    """`process.scheduler`, as sched_setattr(2)."""

    policy: str
    nice: int | None = None
    priority: int | None = None
    flags: tuple[str, ...] = ()
    runtime: int | None = None
    deadline: int | None = None
    period: int | None = None
    WIRE = {
        "policy": text,
        "nice": int32,
        "priority": int32,
        "flags": texts,
        "runtime": uint64,
        "deadline": uint64,
        "period": uint64,
    }


class IOPriority(Value):
    """`process.ioPriority`, as ioprio_set(2); `class_` reads `IOPRIO_CLASS_BE`."""

    class_: str
    priority: int = 0
    KEYS = {"class_": "class"}
    WIRE = {"class_": text, "priority": int32}


class ExecCPUAffinity(Value):
    """`process.execCPUAffinity`: cpu lists while a process enters (`initial`) and after (`final`)."""

    initial: str | None = None
    final: str | None = None
    WIRE = {"initial": text, "final": text}


class Process(Value):
    """`process`: what runs, as whom, with which rights."""

    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None
    KEYS = {"exec_cpu_affinity": "execCPUAffinity", "io_priority": "ioPriority"}
    WIRE = {
        "cwd": text,
        "args": texts,
        "env": texts,
        "terminal": flag,
        "console_size": record(Box),
        "user": record(User),
        "capabilities": record(Capabilities),
        "rlimits": list_of(record(Rlimit)),
        "no_new_privileges": flag,
        "apparmor_profile": text,
        "selinux_label": text,
        "oom_score_adj": number_between(-1000, 1000),
        "scheduler": record(Scheduler),
        "io_priority": record(IOPriority),
        "exec_cpu_affinity": record(ExecCPUAffinity),
    }


class Root(Value):
    """`root`: the root file system's path, absolute or relative to the bundle."""

    path: str
    readonly: bool = False
    WIRE = {"path": text, "readonly": flag}


class IDMapping(Value):
    """One line of a uid_map or gid_map, user_namespaces(7). `size` counts ids."""

    container_id: int
    host_id: int
    size: int
    KEYS = {"container_id": "containerID", "host_id": "hostID"}
    WIRE = {"container_id": uint32, "host_id": uint32, "size": uint32}


class Mount(Value):
    """One of `mounts`; options as in mount(8) and config.md."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    WIRE = {
        "destination": text,
        "type": text,
        "source": text,
        "options": texts,
        "uid_mappings": list_of(record(IDMapping)),
        "gid_mappings": list_of(record(IDMapping)),
    }


class Hook(Value):
    """One hook: a program that gets the state on its standard input; `timeout` in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None
    WIRE = {"path": text, "args": texts, "env": texts, "timeout": int32}


_hooks = list_of(record(Hook))


class Hooks(Value):
    """`hooks`, in the order in which they run."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()
    WIRE = {
        "prestart": _hooks,
        "create_runtime": _hooks,
        "create_container": _hooks,
        "start_container": _hooks,
        "poststart": _hooks,
        "poststop": _hooks,
    }


class Namespace(Value):
    """One of `linux.namespaces`; without `path` a new one."""

    type: str
    path: str | None = None
    WIRE = {"type": one_of("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"), "path": text}


class TimeOffset(Value):
    """An offset of a clock in a time namespace, time_namespaces(7)."""

    secs: int = 0
    nanosecs: int = 0
    WIRE = {"secs": int64, "nanosecs": uint32}


class Device(Value):
    """One of `linux.devices`: a node made in the container."""

    path: str
    type: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    WIRE = {
        "path": text,
        "type": one_of("c", "b", "u", "p"),
        "major": int64,
        "minor": int64,
        "file_mode": uint32,
        "uid": user_id,
        "gid": user_id,
    }


class NetDevice(Value):
    """A host's network device moved into the container; `name` renames it there."""

    name: str | None = None
    WIRE = {"name": text}


class DeviceRule(Value):
    """One of `linux.resources.devices`: what the device controller allows; None matches all."""

    allow: bool
    type: str | None = None
    major: int | None = None
    minor: int | None = None
    access: str | None = None
    WIRE = {"allow": flag, "type": one_of("a", "c", "b"), "major": int64, "minor": int64, "access": text}


class Memory(Value):
    """`linux.resources.memory`; bytes, -1 for no limit."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None
    KEYS = {"kernel_tcp": "kernelTCP", "disable_oom_killer": "disableOOMKiller"}
    WIRE = {
        "limit": int64,
        "reservation": int64,
        "swap": int64,
        "kernel": int64,
        "kernel_tcp": int64,
        "swappiness": uint64,
        "disable_oom_killer": flag,
        "use_hierarchy": flag,
        "check_before_update": flag,
    }


class CPU(Value):
    """`linux.resources.cpu`; quota, period, burst and realtime values in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: int | None = None
    WIRE = {
        "shares": uint64,
        "quota": int64,
        "burst": uint64,
        "period": uint64,
        "realtime_runtime": int64,
        "realtime_period": uint64,
        "cpus": text,
        "mems": text,
        "idle": int64,
    }


class Pids(Value):
    """`linux.resources.pids`; -1 for no limit."""

    limit: int | None = None
    WIRE = {"limit": int64}


class WeightDevice(Value):
    """A weight of one block device."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None
    WIRE = {"major": int64, "minor": int64, "weight": uint16, "leaf_weight": uint16}


class ThrottleDevice(Value):
    """A rate of one block device, bytes or operations a second."""

    major: int
    minor: int
    rate: int
    WIRE = {"major": int64, "minor": int64, "rate": uint64}


_throttles = list_of(record(ThrottleDevice))


class BlockIO(Value):
    """`linux.resources.blockIO`."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()
    KEYS = {
        "throttle_read_iops_device": "throttleReadIOPSDevice",
        "throttle_write_iops_device": "throttleWriteIOPSDevice",
    }
    WIRE = {
        "weight": uint16,
        "leaf_weight": uint16,
        "weight_device": list_of(record(WeightDevice)),
        "throttle_read_bps_device": _throttles,
        "throttle_write_bps_device": _throttles,
        "throttle_read_iops_device": _throttles,
        "throttle_write_iops_device": _throttles,
    }


class HugepageLimit(Value):
    """One of `linux.resources.hugepageLimits`; `page_size` as `2MB`, limit in bytes."""

    page_size: str
    limit: int
    WIRE = {"page_size": text, "limit": uint64}


class InterfacePriority(Value):
    """One of `linux.resources.network.priorities`."""

    name: str
    priority: int
    WIRE = {"name": text, "priority": uint32}


class NetworkResources(Value):
    """`linux.resources.network` (cgroup v1 net_cls and net_prio)."""

    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()
    KEYS = {"class_id": "classID"}
    WIRE = {"class_id": uint32, "priorities": list_of(record(InterfacePriority))}


class Rdma(Value):
    """One entry of `linux.resources.rdma`."""

    hca_handles: int | None = None
    hca_objects: int | None = None
    WIRE = {"hca_handles": uint32, "hca_objects": uint32}


class Resources(Value):
    """`linux.resources`: what the container's cgroup allows."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: NetworkResources | None = None
    rdma: tuple[tuple[str, Rdma], ...] = ()
    unified: tuple[tuple[str, str], ...] = ()
    KEYS = {"block_io": "blockIO"}
    WIRE = {
        "devices": list_of(record(DeviceRule)),
        "memory": record(Memory),
        "cpu": record(CPU),
        "pids": record(Pids),
        "block_io": record(BlockIO),
        "hugepage_limits": list_of(record(HugepageLimit)),
        "network": record(NetworkResources),
        "rdma": map_of(record(Rdma)),
        "unified": text_map,
    }


class SeccompArg(Value):
    """A comparison of one argument: `op` as `SCMP_CMP_EQ`; `value_two` is the datum of a masked one."""

    index: int
    value: int
    op: str
    value_two: int = 0
    WIRE = {
        "index": number_between(0, 5),
        "value": uint64,
        "value_two": uint64,
        "op": one_of(
            "SCMP_CMP_NE",
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_MASKED_EQ",
        ),
    }


_action = one_of(
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
)


class SyscallRule(Value):
    """System calls by name, what becomes of them, and the argument values for which it holds (all of them)."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()
    WIRE = {"names": texts, "action": _action, "errno_ret": uint32, "args": list_of(record(SeccompArg))}


class Seccomp(Value):
    """`linux.seccomp`."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[SyscallRule, ...] = ()
    WIRE = {
        "default_action": _action,
        "default_errno_ret": uint32,
        "architectures": texts,
        "flags": texts,
        "listener_path": text,
        "listener_metadata": text,
        "syscalls": list_of(record(SyscallRule)),
    }


class IntelRdt(Value):
    """`linux.intelRdt`, resctrl."""

    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    enable_cmt: bool = False
    enable_mbm: bool = False
    enable_monitoring: bool = False
    KEYS = {
        "clos_id": "closID",
        "l3_cache_schema": "l3CacheSchema",
        "enable_cmt": "enableCMT",
        "enable_mbm": "enableMBM",
    }
    WIRE = {
        "clos_id": text,
        "schemata": texts,
        "l3_cache_schema": text,
        "mem_bw_schema": text,
        "enable_cmt": flag,
        "enable_mbm": flag,
        "enable_monitoring": flag,
    }


class MemoryPolicy(Value):
    """`linux.memoryPolicy`, set_mempolicy(2)."""

    mode: str
    nodes: str | None = None
    flags: tuple[str, ...] = ()
    WIRE = {"mode": text, "nodes": text, "flags": texts}


class Personality(Value):
    """`linux.personality`, personality(2)."""

    domain: str
    flags: tuple[str, ...] = ()
    WIRE = {"domain": one_of("LINUX", "LINUX32"), "flags": texts}


class Linux(Value):
    """`linux`."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: tuple[tuple[str, TimeOffset], ...] = ()
    devices: tuple[Device, ...] = ()
    net_devices: tuple[tuple[str, NetDevice], ...] = ()
    cgroups_path: str | None = None
    resources: Resources | None = None
    rootfs_propagation: str | None = None
    seccomp: Seccomp | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    sysctl: tuple[tuple[str, str], ...] = ()
    personality: Personality | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    WIRE = {
        "namespaces": list_of(record(Namespace)),
        "uid_mappings": list_of(record(IDMapping)),
        "gid_mappings": list_of(record(IDMapping)),
        "time_offsets": map_of(record(TimeOffset)),
        "devices": list_of(record(Device)),
        "net_devices": map_of(record(NetDevice)),
        "cgroups_path": text,
        "resources": record(Resources),
        "rootfs_propagation": one_of(
            "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", ""
        ),
        "seccomp": record(Seccomp),
        "masked_paths": texts,
        "readonly_paths": texts,
        "mount_label": text,
        "sysctl": text_map,
        "personality": record(Personality),
        "intel_rdt": record(IntelRdt),
        "memory_policy": record(MemoryPolicy),
    }


class Spec(Value):
    """A whole `config.json`."""

    oci_version: str = VERSION
    process: Process | None = None
    root: Root | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    linux: Linux | None = None
    WIRE = {
        "oci_version": text,
        "process": record(Process),
        "root": record(Root),
        "hostname": text,
        "domainname": text,
        "mounts": list_of(record(Mount)),
        "hooks": record(Hooks),
        "annotations": text_map,
        "linux": record(Linux),
    }

    @staticmethod
    def from_json(document: Any) -> Spec:
        """Parse a whole document. Raises InvalidArgument naming the JSON path."""
        return parse(Spec, document, "")

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return dump(self)
