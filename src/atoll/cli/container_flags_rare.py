"""The flags of `run` and `create` that a usual command line goes without; read as text, judged by the engine.

Holds: `FLAGS` and `read`, which gives the fields of the request. Does not hold: those of every day
(`container_flags.py`). A group of fields is made only when one of its flags was given, so that no module is loaded
for nothing.
"""

from __future__ import annotations

import os

from atoll.base import errors, units
from atoll.cli.network_flags import FLAGS as NETWORK
from atoll.cli.options import LIST, NUMBER, TEXT, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given


def _text(name: str, help: str, what: str = "string") -> Flag:
    return Flag(name=name, kind=TEXT, what=what, help=help)


def _list(name: str, help: str) -> Flag:
    return Flag(name=name, kind=LIST, help=help)


def _number(name: str, help: str) -> Flag:
    return Flag(name=name, kind=NUMBER, what="int", help=help)


LIMITS = (
    Flag(name="blkio-weight", kind=NUMBER, what="int", help="Weight of its block I/O, 10 to 1000; 0 for none"),
    _list("blkio-weight-device", "Weight for one device: /dev/NAME:WEIGHT"),
    _number("cpu-period", "Period of the CPU bandwidth, in microseconds"),
    _number("cpu-quota", "CPU time within each period, in microseconds"),
    _number("cpu-rt-period", "Period of the real-time scheduler, in microseconds (cgroup v1)"),
    _number("cpu-rt-runtime", "Real-time CPU time within each period, in microseconds (cgroup v1)"),
    Flag(
        name="cpu-shares",
        short="c",
        kind=NUMBER,
        what="int",
        help="Weight among those who want the CPU; 1024 is usual",
    ),
    _text("cpuset-cpus", "CPUs to run on, e.g. 0-3 or 0,1"),
    _text("cpuset-mems", "Memory nodes to use, e.g. 0-1"),
    _list("device-read-bps", "Most bytes a second read from a device: /dev/NAME:1mb"),
    _list("device-read-iops", "Most reads a second from a device: /dev/NAME:1000"),
    _list("device-write-bps", "Most bytes a second written to a device"),
    _list("device-write-iops", "Most writes a second to a device"),
    _text("memory-reservation", "Memory that is its own when memory is short", "bytes"),
    _text("memory-swap", "Memory and swap together; -1 for as much swap as there is", "bytes"),
    _number("memory-swappiness", "How readily its memory is swapped out, 0 to 100 (cgroup v1)"),
    Flag(name="oom-kill-disable", help="Let it wait for memory rather than be killed (cgroup v1)"),
    _number("oom-score-adj", "Preference of the host's out-of-memory killer, -1000 to 1000"),
    _text("shm-size", "Size of /dev/shm", "bytes"),
    _list("ulimit", "A limit of setrlimit(2): NAME=SOFT[:HARD], e.g. nofile=1024:2048"),
)
RIGHTS = (
    _list("cap-add", "Add a capability, or ALL"),
    _list("cap-drop", "Drop a capability, or ALL"),
    _list("device", "Give it a device: /dev/A[:/dev/B][:rwm], a directory of them, or a CDI name"),
    _list("device-cgroup-rule", "Allow devices by number, e.g. 'c 42:* rmw'"),
    _text("gpus", "GPUs by CDI: all, a number, or device=NAME[,NAME]", "gpu-request"),
    _list("group-add", "A further group, by name or number"),
    Flag(name="privileged", help="Give it nearly all that the host's root can do"),
    _list("sysctl", "A sysctl of its own namespaces: KEY=VALUE"),
)
SHARING = (
    _text("cgroup-parent", "The cgroup below which it gets its own"),
    _text("cgroupns", "Its view of cgroups: private or host"),
    _text("domainname", "Its NIS domain name"),
    _list("gidmap", "Group ids of its user namespace: INSIDE:OUTSIDE:COUNT"),
    _text("ipc", "IPC namespace: private, shareable, none, host or container:NAME"),
    _text("pid", "Process namespace: private, host or container:NAME"),
    _list("uidmap", "User ids of its user namespace: INSIDE:OUTSIDE:COUNT"),
    _text("userns", "User namespace: host, auto[:size=N], keep-id[:uid=N,gid=N] or nomap"),
    _text("uts", "Host name's namespace: private or host"),
)
STORAGE = (
    _list("mount", "Mount something: type=bind|volume|tmpfs|image|devpts,source=…,target=…,…"),
    _list("secret", "A secret: NAME[,type=mount|env,target=…,uid=…,gid=…,mode=…]"),
    _list("storage-opt", "size=BYTES bounds what it writes"),
    _list("tmpfs", "Mount a tmpfs: PATH[:OPTIONS]"),
    _text("volume-driver", "Driver of its volumes; there is 'local'"),
    _list("volumes-from", "The volumes of another container: NAME[:ro]"),
)
HEALTH = (
    _text("health-cmd", "Command that checks the container's health"),
    _text("health-interval", "Time between two checks, e.g. 30s", "duration"),
    _text("health-on-failure", "What becomes of an unhealthy one: none, kill, restart or stop"),
    _number("health-retries", "Failures in a row that make it unhealthy"),
    _text("health-start-interval", "Time between two checks while it starts", "duration"),
    _text("health-start-period", "Time to start, in which failures don't count", "duration"),
    _text("health-timeout", "Most time that one check may take", "duration"),
    Flag(name="no-healthcheck", help="Do without the image's HEALTHCHECK"),
)
OTHERS = (
    _list("annotation", "An annotation for the runtime: KEY=VALUE"),
    _text("arch", "The image's architecture, as in --platform"),
    _text("cidfile", "Write the container's ID into a new file"),
    _list("env-file", "Read environment variables from a file"),
    Flag(name="env-host", help="Give it all environment variables that are set here"),
    _list("label-file", "Read labels from a file"),
    _text("log-driver", "json-file, local or none"),
    _list("log-opt", "Option of the log: max-size=10m, max-file=3"),
    _text("os", "The image's operating system, as in --platform"),
    Flag(name="init-system", help="Boot the image's own init, such as systemd, in a machine (--isolation vm)"),
    _text("pod", "The pod to be in, or new:NAME for one that is made for it"),
    Flag(name="quiet", short="q", help="Do not show what a pull does"),
    _text("systemd", "Run it as systemd wants it: true (if it is one), always or false"),
    _text("umask", "Its umask, octal; 0022", "octal"),
    _text("variant", "The architecture's variant, as in --platform"),
    Flag(name="disable-content-trust", help="Accepted for Docker's sake, without effect", hidden=True),
    Flag(name="kernel-memory", kind=TEXT, what="bytes", help="Withdrawn: the kernel has no such limit", hidden=True),
)
FLAGS = (*LIMITS, *RIGHTS, *SHARING, *STORAGE, *NETWORK, *HEALTH, *OTHERS)


def read(given: Given) -> dict[str, Any]:
    """The request's fields for the flags here. Raises UsageError and InvalidArgument."""
    fields: dict[str, Any] = {}
    for group, reader in ((LIMITS, _limits), (RIGHTS, _rights), (SHARING, _sharing), (STORAGE, _storage)):
        if any(given.has(flag.name) for flag in group):
            fields.update(reader(given))
    if any(given.has(flag.name) for flag in HEALTH):
        fields["health"] = _health(given)
    fields.update(_others(given))
    return fields


def _limits(given: Given) -> dict[str, Any]:
    from atoll.engine.containers import limits

    def size(name: str) -> int | None:
        text = given.text(name)
        return units.parse_size(text, f"value for --{name}") if text is not None else None

    swap = given.text("memory-swap")
    devices: dict[str, Any] = {
        "blkio_weight_device": limits.weight_of,
        "device_read_bps": limits.bytes_of,
        "device_write_bps": limits.bytes_of,
        "device_read_iops": limits.count_of,
        "device_write_iops": limits.count_of,
    }
    numbers = ("blkio_weight", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares",
               "memory_swappiness", "oom_score_adj")  # fmt: skip
    plain: dict[str, Any] = {name: given.number(name.replace("_", "-")) for name in numbers}
    for name, value_of in devices.items():
        plain[name] = limits.devices_of(given.texts(name.replace("_", "-")), value_of)
    return {
        "limits": limits.Limits(
            **plain,
            cpuset_cpus=given.text("cpuset-cpus"),
            cpuset_mems=given.text("cpuset-mems"),
            memory_swap=limits.parse_memory_swap(swap) if swap is not None else None,
            memory_reservation=size("memory-reservation"),
            oom_kill_disable=given.on("oom-kill-disable"),
            shm_size=size("shm-size"),
            ulimits=tuple([limits.parse_ulimit(one) for one in given.texts("ulimit")]),
        )
    }


def _rights(given: Given) -> dict[str, Any]:
    from atoll.engine.containers import rights

    gpus = given.text("gpus")
    devices = given.texts("device")
    if gpus is not None:
        from atoll.engine.containers import cdi

        devices = (*devices, *cdi.names_of_gpus(gpus))
    return {
        "rights": rights.Rights(
            cap_add=given.texts("cap-add"),
            cap_drop=given.texts("cap-drop"),
            privileged=given.on("privileged"),
            devices=devices,
            device_rules=given.texts("device-cgroup-rule"),
            groups=given.texts("group-add"),
            sysctls=rights.check_sysctls(given.texts("sysctl")),
        )
    }


def _sharing(given: Given) -> dict[str, Any]:
    from atoll.engine.containers.sharing import Sharing

    words = ("ipc", "pid", "uts", "cgroupns", "userns", "cgroup_parent", "domainname")
    return {
        "sharing": Sharing(
            **{name: given.text(name.replace("_", "-")) or "" for name in words},
            uid_map=given.texts("uidmap"),
            gid_map=given.texts("gidmap"),
        )
    }


def _storage(given: Given) -> dict[str, Any]:
    from atoll.engine.containers.mount_flags import Storage

    size = None
    for option in given.texts("storage-opt"):
        key, equals, value = option.partition("=")
        if not equals or key.lower() != "size":
            raise errors.InvalidArgument(f"unknown option in storage-opt: {option}", hint="there is size=BYTES")
        size = units.parse_size(value, "value for --storage-opt size")
    return {
        "storage": Storage(
            mounts=given.texts("mount"),
            tmpfs=given.texts("tmpfs"),
            volumes_from=given.texts("volumes-from"),
            volume_driver=given.text("volume-driver"),
            size=size,
            secrets=given.texts("secret"),
        )
    }


def _health(given: Given) -> Any:
    from atoll.engine.containers import health_request

    return health_request.read(
        command=given.text("health-cmd"),
        interval=given.text("health-interval"),
        timeout=given.text("health-timeout"),
        start_period=given.text("health-start-period"),
        start_interval=given.text("health-start-interval"),
        retries=given.number("health-retries"),
        on_failure=given.text("health-on-failure"),
        none=given.on("no-healthcheck"),
    )


def _others(given: Given) -> dict[str, Any]:
    systemd = given.text("systemd") or "true"
    if systemd not in ("true", "false", "always"):
        raise UsageError(f"invalid value {systemd!r} for --systemd: true, false or always", given.command.name)
    if given.on("init-system"):
        if given.has("systemd"):
            raise UsageError("--init-system and --systemd contradict one another", given.command.name)
        systemd = "boot"
    found: dict[str, Any] = {
        "annotations": _annotations(given.texts("annotation")),
        "log_driver": given.text("log-driver"),
        "log_options": given.texts("log-opt"),
        "systemd": systemd,
        "pod": given.text("pod") or "",
    }
    if given.has("env-file") or given.on("env-host"):
        from atoll.cli.env_file import variables

        here = [f"{name}={value}" for name, value in os.environ.items()] if given.on("env-host") else []
        found["env"] = (*here, *variables(given.texts("env-file")), *given.texts("env"))
    if given.has("umask"):
        found["umask"] = _umask(given)
    if given.has("arch") or given.has("os") or given.has("variant"):
        found["platform"] = _platform(given)
    if given.has("label-file"):
        from atoll.cli.env_file import variables

        found["labels"] = (*variables(given.texts("label-file")), *given.texts("label"))
    return found


def _umask(given: Given) -> int:
    text = given.text("umask") or ""
    if not text or len(text) > 4 or text.strip("01234567") or int(text, 8) > 0o777:
        raise UsageError(f"invalid umask {text!r}: up to 0777, octal", given.command.name)
    return int(text, 8)


def _platform(given: Given) -> str:
    """Podman's three words for one."""
    if given.has("platform"):
        raise UsageError("--platform option can not be specified with --arch, --os or --variant", given.command.name)
    machine = os.uname().machine
    arch = given.text("arch") or {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return "/".join([word for word in (given.text("os") or "linux", arch, given.text("variant")) if word])


def _annotations(entries: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        if not key or "\0" in entry:
            raise errors.InvalidArgument(f"invalid annotation: {entry!r}", hint="write KEY=VALUE")
        if key.startswith("org.atoll."):
            raise errors.InvalidArgument(
                f"invalid annotation: {key!r}: names that begin with org.atoll. are Atoll's own"
            )
        found[key] = value
    return tuple(found.items())
