"""From a request, an image and facts of the host to the plan of a container: a pure function.

Holds: `Facts`, `build`, and the defaults that are not settings. Does not hold: looking anything up; what it needs is
in `Facts`, so that a test can print and compare a whole plan, and `--explain` can show it, without touching anything.
"""

from __future__ import annotations

from atoll.base import errors, ids, jsontext
from atoll.base.value import Value
from atoll.engine.containers import volumes
from atoll.isolation.protocol import ContainerPlan, LogPlan
from atoll.runtime import seccomp
from atoll.spec.idmap import RootlessMap, outside_id
from atoll.spec.runtime import (
    CPU,
    Box,
    Capabilities,
    DeviceRule,
    IDMapping,
    Linux,
    Memory,
    Mount,
    Namespace,
    Pids,
    Process,
    Resources,
    Rlimit,
    Root,
    Seccomp,
    Spec,
    User,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.config import Config
    from atoll.engine.requests import RunRequest
    from atoll.spec.idmap import IdMap
    from atoll.spec.image import RunConfig
    from atoll.spec.rootfs import RootPlan

# Docker's fourteen. Atoll leaves out three: NET_RAW forges packets on a shared network, MKNOD makes device nodes,
# AUDIT_WRITE writes into the host's audit log. Nothing common needs them but ping without its own socket type.
DOCKER_CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP "
    "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
).split()
_LEFT_OUT = frozenset(("CAP_NET_RAW", "CAP_MKNOD", "CAP_AUDIT_WRITE"))
ATOLL_CAPABILITIES = tuple([name for name in DOCKER_CAPABILITIES if name not in _LEFT_OUT])

# What tells of the host or reaches into it through procfs and sysfs. Docker's list, and /proc/kallsyms-like leaks.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CPU_PERIOD = 100_000  # microseconds: Docker's and the kernel's
_LEAST_MEMORY = 6 << 20  # Docker's: with less, not even the set-up of most programs fits
_TTY_GROUP = 5


class Facts(Value):
    """What the plan depends on beside request and image. `delegated` are the cgroup controllers that this user may
    limit (None: all, as root); `nproc_hard` is the caller's own hard limit of processes, -1 for none.
    `files` are the host paths to bind on `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`."""

    id: str
    bundle: str
    run: str
    root: RootPlan
    idmap: RootlessMap | None = None
    rootless: bool = False
    delegated: frozenset[str] | None = None
    nproc_hard: int = -1
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    host_name: str = "localhost"
    volumes_root: str = ""
    cwd: str = "/"
    seccomp_cache: str | None = None
    on_exit: tuple[str, ...] = ()
    machine: str | None = None


class Built(Value):
    """The plan; the host directories that a `-v` names and that are to be made (Docker makes them too); what the
    user should be told."""

    plan: ContainerPlan
    make_directories: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Security(Value):
    no_new_privileges: bool
    capabilities: tuple[str, ...]
    seccomp: Seccomp | None


def build(request: RunRequest, image: RunConfig, facts: Facts, config: Config) -> Built:
    """The plan of a container. Raises InvalidArgument, Unsupported and Denied naming the option."""
    security = _security(request, config, facts)
    binds, to_make = volumes.resolve(request.volumes, facts.volumes_root, facts.cwd)
    resources, limits, notes = _limits(request, config, facts)
    network = request.network or config.network
    spec = Spec(
        process=Process(
            cwd=_working_directory(request, image),
            args=arguments(request, image),
            env=environment(request, image, facts),
            terminal=request.terminal,
            console_size=Box(height=request.window[0], width=request.window[1]) if request.window else None,
            # Looked up inside the root, by the container's own files; "0" finds root's groups and home there.
            user=User(username=_user(request, image)),
            capabilities=Capabilities(
                bounding=security.capabilities,
                effective=security.capabilities,
                permitted=security.capabilities,
            ),
            rlimits=limits,
            no_new_privileges=security.no_new_privileges,
        ),
        root=Root(path="rootfs", readonly=request.read_only),
        hostname=hostname(request, facts, network),
        mounts=(*_mounts(facts, config), *_file_mounts(facts), *binds),
        linux=Linux(
            namespaces=_namespaces(network, user=facts.idmap is not None),
            uid_mappings=_mappings(facts.idmap.uid_map) if facts.idmap else (),
            gid_mappings=_mappings(facts.idmap.gid_map) if facts.idmap else (),
            cgroups_path=f"{config.cgroup_parent}/{facts.id}",
            resources=resources,
            seccomp=security.seccomp,
            masked_paths=MASKED,
            readonly_paths=READ_ONLY,
        ),
    )
    return Built(plan=_container(request, facts, config, spec), make_directories=to_make, notes=notes)


def _container(request: RunRequest, facts: Facts, config: Config, spec: Spec) -> ContainerPlan:
    helpers = None
    if facts.idmap is not None and facts.idmap.newuidmap and facts.idmap.newgidmap:
        helpers = (facts.idmap.newuidmap, facts.idmap.newgidmap)
    return ContainerPlan(
        id=facts.id,
        spec=spec,
        root=facts.root,
        bundle=facts.bundle,
        run=facts.run,
        terminal=request.terminal,
        stdin=request.stdin,
        stdin_stays=request.stdin and request.detach,
        log=LogPlan(
            driver=config.log_driver,
            path=f"{facts.bundle}/container.log",
            max_size=config.log_max_size,
            max_files=config.log_max_files,
        ),
        on_exit=facts.on_exit,
        cache=facts.seccomp_cache,
        helpers=helpers,
    )


def arguments(request: RunRequest, image: RunConfig) -> tuple[str, ...]:
    """ENTRYPOINT and CMD, the request's over the image's: a new entrypoint drops the image's CMD.

    Raises InvalidArgument if nothing is left to run.
    """
    if request.entrypoint is not None:
        entrypoint: tuple[str, ...] = (request.entrypoint,) if request.entrypoint else ()
        command = request.command
    else:
        entrypoint, command = image.entrypoint, request.command or image.cmd
    if not (*entrypoint, *command):
        raise errors.InvalidArgument("no command specified", hint="the image has none: give one after its name")
    return (*entrypoint, *command)


def environment(request: RunRequest, image: RunConfig, facts: Facts) -> tuple[str, ...]:
    """PATH, HOSTNAME and TERM, then the image's, then the request's; a name alone takes the caller's value or is
    taken out. Raises InvalidArgument for an entry without a name."""
    found: dict[str, str] = {"PATH": DEFAULT_PATH.partition("=")[2]}
    found["HOSTNAME"] = hostname(request, facts, request.network or "none")
    if request.terminal:
        found["TERM"] = "xterm"
    for entry in image.env:
        name, equals, value = entry.partition("=")
        if name and equals:
            found[name] = value
    caller = dict(facts.environment)
    for entry in request.env:
        name, equals, value = entry.partition("=")
        if not name:
            raise errors.InvalidArgument(f"invalid environment variable: '{entry}'", hint="write NAME=value")
        if equals:
            found[name] = value
        elif name in caller:
            found[name] = caller[name]
        else:
            found.pop(name, None)
    return tuple([f"{name}={value}" for name, value in found.items()])


def hostname(request: RunRequest, facts: Facts, network: str) -> str:
    """The one asked for, the host's own with the host's network, else the first twelve digits of the id."""
    if request.hostname is not None:
        if not request.hostname or len(request.hostname) > 63:
            raise errors.InvalidArgument(f"invalid hostname '{request.hostname}'", hint="1 to 63 characters")
        return request.hostname
    return facts.host_name if network == "host" else ids.short_id(facts.id)


def _user(request: RunRequest, image: RunConfig) -> str:
    user = request.user if request.user is not None else image.user
    if any(c in user for c in "\n\0") or user.startswith(":") or user.count(":") > 1:
        raise errors.InvalidArgument(f"invalid user '{user}'", hint="write USER, UID, or either with :GROUP")
    return user or "0"


def _working_directory(request: RunRequest, image: RunConfig) -> str:
    path = request.workdir or image.working_dir or "/"
    if not path.startswith("/"):
        raise errors.InvalidArgument(
            f"the working directory '{path}' is invalid: it needs to be an absolute path", hint="begin it with /"
        )
    return path


def _namespaces(network: str, *, user: bool) -> tuple[Namespace, ...]:
    if network not in ("none", "host"):
        raise errors.InvalidArgument(f"network {network} not found", hint="there are none and host")
    kinds = ["pid", "mount", "ipc", "uts", "cgroup"]
    if network == "none":
        kinds.append("network")
    if user:
        kinds.append("user")
    return tuple([Namespace(type=kind) for kind in kinds])


def _mappings(maps: tuple[IdMap, ...]) -> tuple[IDMapping, ...]:
    return tuple([IDMapping(container_id=m.inside, host_id=m.outside, size=m.count) for m in maps])


def _mounts(facts: Facts, config: Config) -> tuple[Mount, ...]:
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if facts.idmap is None or outside_id(facts.idmap.gid_map, _TTY_GROUP) is not None:
        devpts.append(f"gid={_TTY_GROUP}")  # the tty group; where it is not mapped the kernel refuses it
    quiet = ("nosuid", "noexec", "nodev")
    return (
        Mount(destination="/proc", type="proc", source="proc", options=quiet),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(destination="/dev/pts", type="devpts", source="devpts", options=tuple(devpts)),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=(*quiet, "ro")),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*quiet, "relatime", "ro")),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=quiet),
        Mount(
            destination="/dev/shm",
            type="tmpfs",
            source="shm",
            options=(*quiet, "mode=1777", f"size={config.shm_size}"),
        ),
    )


def _file_mounts(facts: Facts) -> tuple[Mount, ...]:
    options = ("rbind", "rprivate")
    return tuple([Mount(destination=to, type="bind", source=source, options=options) for to, source in facts.files])


# --- limits ------------------------------------------------------------------------------------------------------


def _limits(
    request: RunRequest, config: Config, facts: Facts
) -> tuple[Resources, tuple[Rlimit, ...], tuple[str, ...]]:
    """Cgroup limits, rlimits and notes. An explicit limit that this user cannot set is refused, never dropped; the
    default limit of processes becomes an rlimit there, and a note says so."""
    _check_limits(request)
    for option, controller, given in (
        ("--memory", "memory", request.memory),
        ("--cpus", "cpu", request.cpus),
        ("--pids-limit", "pids", request.pids_limit),
    ):
        if given is not None and facts.delegated is not None and controller not in facts.delegated:
            raise errors.Denied(
                f"{option}: this user may not limit '{controller}': no cgroup with it is delegated to them",
                hint="have root delegate one (docs/cgroups.md tells how), or leave the option out",
            )
    pids = request.pids_limit if request.pids_limit is not None else config.pids_limit
    rlimits: tuple[Rlimit, ...] = ()
    notes: tuple[str, ...] = ()
    if facts.delegated is not None and "pids" not in facts.delegated:
        if pids > 0:
            most = pids if facts.nproc_hard < 0 else min(pids, facts.nproc_hard)
            rlimits = (Rlimit(type="RLIMIT_NPROC", soft=most, hard=most),)
            notes = (f"no pids controller is delegated: the limit of {pids} processes is RLIMIT_NPROC {most}",)
        pids = 0
    memory = None
    if request.memory is not None:
        # Docker's: as much swap again as memory.
        memory = Memory(limit=request.memory, swap=2 * request.memory)
    cpu = None
    if request.cpus is not None:
        cpu = CPU(quota=request.cpus * _CPU_PERIOD // 10**9, period=_CPU_PERIOD)
    resources = Resources(
        devices=(DeviceRule(allow=False, access="rwm"),) if facts.delegated is None else (),
        memory=memory,
        cpu=cpu,
        pids=Pids(limit=pids if pids > 0 else -1) if pids else None,
    )
    return resources, rlimits, notes


def _check_limits(request: RunRequest) -> None:
    if request.memory is not None and request.memory < _LEAST_MEMORY:
        raise errors.InvalidArgument("minimum memory limit allowed is 6MB", hint="give --memory 6m or more")
    if request.cpus is not None and request.cpus < 10_000_000:
        raise errors.InvalidArgument("--cpus: the least is 0.01", hint="0.01 is one hundredth of a CPU")
    if request.pids_limit is not None and request.pids_limit < -1:
        raise errors.InvalidArgument("--pids-limit: a number of processes, or -1 for no limit")


# --- rights ------------------------------------------------------------------------------------------------------


def _security(request: RunRequest, config: Config, facts: Facts) -> _Security:
    docker = config.security == "docker"
    capabilities = tuple(DOCKER_CAPABILITIES) if docker else ATOLL_CAPABILITIES
    no_new_privileges = not docker
    profile: Seccomp | None = None
    confined = True
    for option in request.security_opt:
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif key == "seccomp" and value == "unconfined":
            confined = False
        elif key == "seccomp" and value:
            profile = read_profile(value)
        elif key == "apparmor" and value == "unconfined":
            continue  # nothing confines by AppArmor yet, so this asks for what is
        elif (key, value) == ("label", "disable"):
            continue
        else:
            raise errors.InvalidArgument(
                f"invalid --security-opt: {option}",
                hint="known are no-new-privileges=true|false, seccomp=unconfined, seccomp=FILE",
            )
    if profile is None and confined:
        profile = seccomp.default_profile(frozenset(capabilities), docker=docker, arch=facts.machine)
    return _Security(
        no_new_privileges=no_new_privileges, capabilities=capabilities, seccomp=profile if confined else None
    )


def read_profile(path: str) -> Seccomp:
    """A seccomp profile from a file, in the OCI's shape. Raises NotFound, InvalidArgument."""
    from atoll.base import files
    from atoll.spec.codec import parse

    try:
        return parse(Seccomp, jsontext.loads(files.read_bytes(path)), "seccomp")
    except OSError as error:
        raise errors.from_os_error(error, "read the seccomp profile") from error
    except ValueError as error:
        raise errors.InvalidArgument(f"seccomp profile {path}: {error}") from None
