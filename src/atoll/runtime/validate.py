"""What must hold between the properties of a config.json before anything is created.

Holds: `validate`. Raises InvalidArgument or Unsupported naming the property; creates nothing. Source: config.md and
config-linux.md of the runtime-spec.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.runtime import sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Linux, Process, Spec


def validate(spec: Spec, *, has_root: bool) -> None:
    """Refuse a spec that this runtime cannot carry out as written."""
    major = spec.oci_version.split(".")[0]
    if major != "1":
        raise errors.Unsupported(f"ociVersion {spec.oci_version!r}: this runtime implements 1.x")
    if spec.linux is None:
        raise errors.InvalidArgument("linux: missing; this runtime runs Linux containers only")
    if spec.process is None:
        raise errors.InvalidArgument("process: missing")
    if spec.root is None and not has_root:
        raise errors.InvalidArgument("root: missing")
    validate_process(spec.process)
    _validate_linux(spec, spec.linux)


def validate_process(process: Process) -> None:
    """The rules of `process` alone, which exec shares."""
    if not process.args:
        raise errors.InvalidArgument("process.args: at least one entry is needed")
    if not process.cwd.startswith("/"):
        raise errors.InvalidArgument(f"process.cwd: {process.cwd!r} is not an absolute path")
    seen: set[str] = set()
    for limit in process.rlimits:
        if limit.type in seen:
            raise errors.InvalidArgument(f"process.rlimits: {limit.type} given twice")
        seen.add(limit.type)
        if limit.soft > limit.hard:
            raise errors.InvalidArgument(f"process.rlimits: soft limit of {limit.type} above the hard one")
    for name, value in (
        ("apparmorProfile", process.apparmor_profile),
        ("selinuxLabel", process.selinux_label),
        ("scheduler", process.scheduler),
        ("ioPriority", process.io_priority),
        ("execCPUAffinity", process.exec_cpu_affinity),
    ):
        if value:
            raise errors.Unsupported(f"process.{name} is not supported yet")


def _validate_linux(spec: Spec, linux: Linux) -> None:
    kinds = [namespace.type for namespace in linux.namespaces]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise errors.InvalidArgument(f"linux.namespaces: {kind} given twice")
    if "mount" not in kinds:
        raise errors.InvalidArgument("linux.namespaces: a mount namespace is needed")
    for namespace in linux.namespaces:
        if namespace.path is not None and namespace.type in ("mount", "user", "pid", "time"):
            raise errors.Unsupported(f"linux.namespaces: joining a {namespace.type} namespace by path")
    if (linux.uid_mappings or linux.gid_mappings) and "user" not in kinds:
        raise errors.InvalidArgument("linux.uidMappings: needs a user namespace")
    if "user" in kinds and not (linux.uid_mappings and linux.gid_mappings):
        raise errors.InvalidArgument("linux.namespaces: a new user namespace needs uidMappings and gidMappings")
    own = frozenset(kinds)
    if spec.hostname is not None and "uts" not in own:
        raise errors.InvalidArgument("hostname: needs a uts namespace")
    sysctl.check(linux.sysctl, own)
    for path in (*linux.masked_paths, *linux.readonly_paths, *[entry.destination for entry in spec.mounts]):
        if not os.path.isabs(path):
            raise errors.InvalidArgument(f"{path!r} is not an absolute path")
    for name, value in (
        ("hooks", spec.hooks),
        ("linux.intelRdt", linux.intel_rdt),
        ("linux.memoryPolicy", linux.memory_policy),
        ("linux.personality", linux.personality),
        ("linux.netDevices", linux.net_devices),
        ("linux.timeOffsets", linux.time_offsets),
        ("linux.mountLabel", linux.mount_label),
    ):
        if value:
            raise errors.Unsupported(f"{name} is not supported yet")
