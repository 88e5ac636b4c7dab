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
    from atoll.spec.runtime import Hooks, Linux, Process, Spec


def validate(spec: Spec, *, has_root: bool) -> None:
    """Refuse a spec that this runtime cannot carry out as written."""
    numbers = spec.oci_version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        raise errors.InvalidArgument(f"ociVersion: {spec.oci_version!r} is no semantic version such as 1.0.2")
    if numbers[0] != "1":
        raise errors.Unsupported(f"ociVersion {spec.oci_version!r}: this runtime implements 1.x")
    if spec.linux is None:
        raise errors.InvalidArgument("linux: missing; this runtime runs Linux containers only")
    if spec.process is None:
        raise errors.InvalidArgument("process: missing")
    if spec.root is None and not has_root:
        raise errors.InvalidArgument("root: missing")
    if not all(key for key, _ in spec.annotations):
        raise errors.InvalidArgument("annotations: an empty key")
    validate_process(spec.process)
    _validate_linux(spec, spec.linux, has_root=has_root)


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
    if process.apparmor_profile or process.selinux_label:
        _validate_labels(process)
    if process.scheduler or process.io_priority or process.exec_cpu_affinity:
        from atoll.runtime import placement

        placement.check(process, None)
    for index, entry in enumerate(process.env):
        if entry.startswith("="):
            raise errors.InvalidArgument(f"process.env[{index}]: {entry!r} has no name")


def _validate_labels(process: Process) -> None:
    from atoll.linux import lsm

    if process.apparmor_profile and not lsm.apparmor_enabled():
        raise errors.Unsupported("process.apparmorProfile: AppArmor is not enabled on this host")
    if process.selinux_label and not lsm.selinux_enabled():
        raise errors.Unsupported("process.selinuxLabel: SELinux is not enabled on this host")


def _validate_linux(spec: Spec, linux: Linux, *, has_root: bool) -> None:
    kinds = [namespace.type for namespace in linux.namespaces]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise errors.InvalidArgument(f"linux.namespaces: {kind} given twice")
    if "mount" not in kinds:
        if has_root:
            raise errors.InvalidArgument("linux.namespaces: a root that is mounted needs a mount namespace")
        _validate_shared_mounts(spec, linux)
    for index, namespace in enumerate(linux.namespaces):
        if namespace.path and not namespace.path.startswith("/"):
            raise errors.InvalidArgument(
                f"linux.namespaces[{index}].path: {namespace.path!r} is not an absolute path"
            )
    for index, device in enumerate(linux.devices):
        if device.type != "p" and (device.major is None or device.minor is None):
            raise errors.InvalidArgument(f"linux.devices[{index}]: major and minor are needed for {device.path}")
    new = {namespace.type for namespace in linux.namespaces if not namespace.path}
    if (linux.uid_mappings or linux.gid_mappings) and "user" not in kinds:
        raise errors.InvalidArgument("linux.uidMappings: needs a user namespace")
    if "user" in new and not (linux.uid_mappings and linux.gid_mappings):
        raise errors.InvalidArgument("linux.namespaces: a new user namespace needs uidMappings and gidMappings")
    own = frozenset(kinds)
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value and "uts" not in own:
            raise errors.InvalidArgument(f"{name}: needs a uts namespace")
    sysctl.check(linux.sysctl, own)
    _validate_time(linux, new)
    if spec.hooks is not None:
        _validate_hooks(spec.hooks)
    if linux.seccomp is not None:
        from atoll.runtime import notify

        notify.check(linux.seccomp)
    if any(
        entry.uid_mappings or entry.gid_mappings or "idmap" in entry.options or "ridmap" in entry.options
        for entry in spec.mounts
    ):
        from atoll.runtime import idmap

        idmap.check(spec.mounts, linux)
    if (linux.memory_policy or linux.personality) and spec.process is not None:
        from atoll.runtime import placement

        placement.check(spec.process, linux)
    if linux.mount_label:
        from atoll.linux import lsm

        if not lsm.selinux_enabled():
            raise errors.Unsupported("linux.mountLabel: SELinux is not enabled on this host")
    for path in (*linux.masked_paths, *linux.readonly_paths, *[entry.destination for entry in spec.mounts]):
        if not os.path.isabs(path):
            raise errors.InvalidArgument(f"{path!r} is not an absolute path")
    if linux.net_devices:
        from atoll.runtime import netdevices

        netdevices.check(linux)
    if linux.intel_rdt is not None:
        from atoll.runtime import resctrl

        resctrl.check(linux.intel_rdt, resctrl.mounted())


def _validate_shared_mounts(spec: Spec, linux: Linux) -> None:
    """Without a mount namespace the container is a chroot in the caller's mounts, which nothing may change."""
    asked = {
        "linux.maskedPaths": linux.masked_paths,
        "linux.readonlyPaths": linux.readonly_paths,
        "linux.rootfsPropagation": linux.rootfs_propagation,
        "root.readonly": spec.root is not None and spec.root.readonly,
        "mounts": spec.mounts,
    }
    for name, value in asked.items():
        if value:
            raise errors.InvalidArgument(
                f"{name}: unable to change mounts without a private mount namespace",
                hint="add one to linux.namespaces: without it the container's mounts are the host's",
            )


def _validate_time(linux: Linux, new: set[str]) -> None:
    if linux.time_offsets and "time" not in new:
        raise errors.InvalidArgument("linux.timeOffsets: needs a new time namespace")
    for clock, offset in linux.time_offsets:
        if clock not in ("monotonic", "boottime"):
            raise errors.InvalidArgument(f"linux.timeOffsets: no clock {clock!r}", hint="monotonic or boottime")
        if offset.nanosecs >= 10**9:
            raise errors.InvalidArgument(f"linux.timeOffsets.{clock}.nanosecs: {offset.nanosecs} is a second or more")


def _validate_hooks(hooks: Hooks) -> None:
    for kind in hooks.WIRE:
        for index, hook in enumerate(getattr(hooks, kind)):
            if not hook.path.startswith("/"):
                raise errors.InvalidArgument(f"hooks.{kind}[{index}].path: {hook.path!r} is not an absolute path")
            if hook.timeout is not None and hook.timeout <= 0:
                raise errors.InvalidArgument(f"hooks.{kind}[{index}].timeout: {hook.timeout} is not above zero")
