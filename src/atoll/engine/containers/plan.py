"""The plan of a container: a pure function from what was asked, the image and the host to all that will be done.

Holds: `Facts`, `plan`, `Planned`; what `--explain` prints. Does not hold: looking at the host (`facts.py`), carrying
anything out. Two calls with the same values give the same plan; nothing is read and nothing is touched here.
Start reading at `plan`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.launch import argv as own_command
from atoll.base.value import Value
from atoll.engine.containers import defaults, environment
from atoll.engine.containers.record import MountPoint, Record
from atoll.isolation.protocol import ContainerPlan, LogPlan
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.engine.config import Config
    from atoll.engine.paths import Paths
    from atoll.engine.requests import Health, RunRequest
    from atoll.spec.idmap import IdMap, RootlessMap
    from atoll.spec.image import RunConfig
    from atoll.spec.rootfs import RootPlan

MEMORY_MIN = 6 << 20
_PERIOD = 100_000


class Facts(Value):
    """What of the host matters. `delegated`: the cgroup controllers an ordinary user may use, None for root;
    `processes`: the hard RLIMIT_NPROC, -1 for none; `hosts` and `resolv_conf`: the host's files, read only for a
    container in the host's network; `swap`: whether swap can be limited."""

    uid: int
    hostname: str
    cpus: int
    delegated: frozenset[str] | None = None
    processes: int = -1
    hosts: str = ""
    resolv_conf: str = ""
    swap: bool = False


class Planned(Value):
    """The whole plan: what is remembered, what the level of isolation gets, the files to write into the bundle."""

    record: Record
    container: ContainerPlan
    files: tuple[tuple[str, str], ...]


def plan(
    *,
    container_id: str,
    request: RunRequest,
    image: RunConfig,
    platform: str,
    root: RootPlan,
    idmap: RootlessMap | None,
    mounts: tuple[MountPoint, ...],
    facts: Facts,
    config: Config,
    paths: Paths,
    environ: Mapping[str, str],
    notes: tuple[str, ...] = (),
) -> Planned:
    """Plan a container. `image` says how to run it, `root` what its root is made of, `idmap` the user namespace (None
    for none). Raises InvalidArgument, Denied, Unsupported for what cannot be."""
    record = _record(container_id, request, image, mounts, idmap, facts, config, environ).replace(
        platform=platform, notes=notes
    )
    bundle, run = paths.container(container_id), paths.container_run(container_id)
    files = _files(record, facts)
    container = ContainerPlan(
        id=container_id,
        spec=_spec(record, request, idmap, facts, bundle, container_id),
        root=root,
        bundle=bundle,
        run=run,
        terminal=record.terminal,
        stdin=record.stdin,
        stdin_stays=record.stdin and record.detach,
        log=LogPlan(
            driver=record.log_driver,
            path=f"{bundle}/{log_name(container_id)}" if record.log_driver == "json-file" else "",
            max_size=record.log_max_size,
            max_files=record.log_max_files,
        ),
        on_exit=tuple(own_command("internal", "cleanup", container_id)) if record.remove else (),
        cache=paths.seccomp_cache,
        helpers=(idmap.newuidmap, idmap.newgidmap) if idmap and idmap.newuidmap and idmap.newgidmap else None,
    )
    return Planned(record=record, container=container, files=files)


def log_name(container_id: str) -> str:
    """The log's file in the bundle, named as Docker names it."""
    return f"{container_id}-json.log"


# --- what is remembered ---------------------------------------------------------------------------------------------


def _record(
    container_id: str,
    request: RunRequest,
    image: RunConfig,
    mounts: tuple[MountPoint, ...],
    idmap: RootlessMap | None,
    facts: Facts,
    config: Config,
    environ: Mapping[str, str],
) -> Record:
    security, no_new_privileges, seccomp = _security(request, config)
    network = _network(request.network or config.network)
    entrypoint, cmd = _command(request, image)
    pids_limit, pids_by = _pids(request, config, security, facts)
    if request.hostname is not None:
        _check_hostname(request.hostname)
    hostname = request.hostname or (facts.hostname if network == "host" else container_id[:12])
    workdir = request.workdir or image.working_dir or "/"
    if not workdir.startswith("/"):
        raise errors.InvalidArgument(f"the working directory '{workdir}' is invalid, it needs to be an absolute path")
    _limits(request, facts)
    return Record(
        image=request.image,
        args=(*entrypoint, *cmd),
        entrypoint=entrypoint,
        cmd=cmd,
        env=environment.merge(image.env, environment.given(request.env, environ)),
        workdir=workdir,
        user=check_user(request.user if request.user is not None else image.user),
        hostname=hostname,
        labels=_labels(image.labels, request.labels),
        terminal=request.terminal,
        stdin=request.stdin,
        detach=request.detach,
        remove=request.remove,
        network=network,
        isolation=_isolation(request.isolation or config.isolation),
        security=security,
        security_opt=request.security_opt,
        capabilities=defaults.DOCKER_CAPABILITIES if security == "docker" else defaults.ATOLL_CAPABILITIES,
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        read_only=request.read_only,
        memory=request.memory or None,
        memory_swap=2 * request.memory if request.memory and facts.swap else None,
        cpus=request.cpus or None,
        pids_limit=pids_limit,
        pids_by=pids_by,
        shm_size=config.shm_size,
        stop_signal=request.stop_signal or image.stop_signal or "SIGTERM",
        stop_timeout=config.stop_timeout if request.stop_timeout is None else request.stop_timeout,
        log_driver=config.log_driver,
        log_max_size=config.log_max_size,
        log_max_files=config.log_max_files,
        mounts=mounts,
        restart=request.restart,
        restart_max=request.restart_max,
        health=_health(request, image),
        init=request.init,
        user_namespace=idmap is not None,
        cgroup=f"atoll-{container_id}" if facts.uid else f"{config.cgroup_parent}/{container_id}",
    )


def _health(request: RunRequest, image: RunConfig) -> Health | None:
    if request.health is None and image.healthcheck is None:
        return None
    from atoll.engine.containers.health_request import merge

    return merge(request.health, image.healthcheck)


def _command(request: RunRequest, image: RunConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ENTRYPOINT and CMD as Docker combines them: a new entrypoint takes the image's CMD away."""
    entrypoint, cmd = image.entrypoint, request.command or image.cmd
    if request.entrypoint is not None:
        entrypoint, cmd = (request.entrypoint,) if request.entrypoint else (), request.command
    if not entrypoint and not cmd:
        raise errors.InvalidArgument("no command specified", hint="the image names none: add one behind the image")
    for word in (*entrypoint, *cmd):
        if "\0" in word:
            raise errors.InvalidArgument("the command holds a NUL character")
    return entrypoint, cmd


def _security(request: RunRequest, config: Config) -> tuple[str, bool, str]:
    """Which defaults, whether no_new_privs, which seccomp profile (`default`, `unconfined` or a file's path)."""
    security, seccomp = config.security, "default"
    given: bool | None = None
    for option in request.security_opt:
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        if key == "no-new-privileges":
            if value not in ("", "true", "false"):
                raise errors.InvalidArgument(f"invalid --security-opt: '{option}'", hint="true or false")
            given = value != "false"
        elif key == "seccomp" and value:
            seccomp = "default" if value == "builtin" else value
        elif key == "profile" and value in ("atoll", "docker"):
            security = value
        elif key in ("apparmor", "label") and value in ("unconfined", "disable"):
            continue  # neither is in force here
        else:
            raise errors.InvalidArgument(
                f"invalid --security-opt: '{option}'",
                hint="known are no-new-privileges[=false], seccomp=unconfined|FILE, profile=docker",
            )
    return security, security == "atoll" if given is None else given, seccomp


def _network(network: str) -> str:
    if network in ("none", "host"):
        return network
    if network in ("bridge", "default") or network.startswith("container:"):
        raise errors.Unsupported(
            f"network {network} is not there yet", hint="--network none (the default) or --network host"
        )
    raise errors.NotFound(f"network {network} not found", hint="there are none and host")


def _isolation(name: str) -> str:
    if name == "container":
        return name
    raise errors.Unsupported(f"isolation level '{name}' is not there", hint="--isolation container")


def check_user(user: str) -> str:
    """Not looked up here: names mean what the container's own files say. Only what no file can mean is refused."""
    name, colon, group = user.partition(":")
    for part in (name, group):
        if any(c in part for c in "\0\n:/"):
            raise errors.InvalidArgument(f"invalid user: {user!r}", hint="write NAME[:GROUP] or UID[:GID]")
        # A checked number: CVE-2024-40635 was an overflow that became root.
        if part.isascii() and part.isdecimal() and (len(part) > 10 or int(part) > (1 << 32) - 2):
            raise errors.InvalidArgument(f"uids and gids must be in range 0-{(1 << 32) - 2}: {part}")
    if colon and not group:
        raise errors.InvalidArgument(f"invalid user: {user!r}: no group after the colon")
    return user


def _labels(image: tuple[tuple[str, str], ...], given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    labels = dict(image)
    for entry in given:
        key, _, value = entry.partition("=")
        if not key or "\0" in entry:
            raise errors.InvalidArgument(f"invalid label: {entry!r}", hint="write KEY=value")
        labels[key] = value
    return tuple(labels.items())


def _check_hostname(name: str) -> None:
    legal = all(part and len(part) <= 63 and part[0] != "-" and part[-1] != "-" for part in name.split("."))
    if not legal or len(name) > 64 or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise errors.InvalidArgument(
            f"invalid hostname: {name!r}", hint="letters, digits, dots and dashes, at most 64 (sethostname(2))"
        )


def _limits(request: RunRequest, facts: Facts) -> None:
    if request.memory and request.memory < MEMORY_MIN:
        raise errors.InvalidArgument("Minimum memory limit allowed is 6MB", hint="give more with --memory")
    if request.cpus and not 10_000_000 <= request.cpus <= facts.cpus * 10**9:
        raise errors.InvalidArgument(
            f"range of CPUs is from 0.01 to {facts.cpus}.00, as there are only {facts.cpus} CPUs available"
        )
    wanted = (("--memory", request.memory, "memory"), ("--cpus", request.cpus, "cpu"))
    for name, value, controller in wanted:
        if value:
            _need(name, controller, facts)


def _need(name: str, controller: str, facts: Facts) -> None:
    if facts.delegated is not None and controller not in facts.delegated:
        raise errors.Denied(
            f"cannot limit with {name}: the {controller} cgroup controller is not delegated to user {facts.uid}",
            hint="have root delegate a cgroup to you (systemd: Delegate=yes, 'systemd-run --user --scope'; "
            "otherwise chown a cgroup and start atoll in it), or leave the limit out",
        )


def _pids(request: RunRequest, config: Config, security: str, facts: Facts) -> tuple[int | None, str]:
    """An explicit limit must be kept by a cgroup; the default one falls back to RLIMIT_NPROC, which since Linux 5.14
    counts within the user namespace."""
    if request.pids_limit is not None:
        if request.pids_limit <= 0:
            return None, "cgroup"
        _need("--pids-limit", "pids", facts)
        return request.pids_limit, "cgroup"
    if security == "docker" or config.pids_limit <= 0:
        return None, "cgroup"
    if facts.delegated is not None and "pids" not in facts.delegated:
        limit = config.pids_limit if facts.processes < 0 else min(config.pids_limit, facts.processes)
        return limit, "rlimit"
    return config.pids_limit, "cgroup"


# --- the runtime's document -----------------------------------------------------------------------------------------


def _spec(
    record: Record, request: RunRequest, idmap: RootlessMap | None, facts: Facts, bundle: str, container_id: str
) -> oci.Spec:
    window = request.window
    kinds = ["pid", "mount", "ipc", "uts", "cgroup"]
    if record.network == "none":
        kinds.append("network")
    if idmap is not None:
        kinds.append("user")
    rlimits: tuple[oci.Rlimit, ...] = ()
    if record.pids_by == "rlimit" and record.pids_limit:
        rlimits = (oci.Rlimit(type="RLIMIT_NPROC", soft=record.pids_limit, hard=record.pids_limit),)
    process = process_of(record, args=record.args).replace(
        console_size=oci.Box(height=window[0], width=window[1]) if window else None, rlimits=rlimits
    )
    ours = record.security != "docker"
    return oci.Spec(
        process=process,
        root=oci.Root(path="rootfs", readonly=record.read_only),
        hostname=record.hostname,
        mounts=(
            *defaults.mounts(shm_size=record.shm_size, terminals_group=_has_group(idmap, 5)),
            *[_bind(f"{bundle}/{name}", f"/etc/{name}") for name in ("hostname", "hosts", "resolv.conf")],
            *[_mount(mount, idmapped=idmap is not None and facts.uid == 0) for mount in record.mounts],
        ),
        annotations=(("org.atoll.container.id", container_id),),
        linux=oci.Linux(
            namespaces=tuple([oci.Namespace(type=kind) for kind in kinds]),
            uid_mappings=_mappings(idmap.uid_map) if idmap else (),
            gid_mappings=_mappings(idmap.gid_map) if idmap else (),
            cgroups_path=record.cgroup,
            resources=resources(record, devices=facts.uid == 0),
            rootfs_propagation="private",
            seccomp=None,
            masked_paths=defaults.ATOLL_MASKED_PATHS if ours else defaults.MASKED_PATHS,
            readonly_paths=defaults.READONLY_PATHS,
            sysctl=defaults.SYSCTLS if record.network == "none" and idmap is None else (),
        ),
    )


def process_of(record: Record, *, args: tuple[str, ...], env: tuple[str, ...] = ()) -> oci.Process:
    """The first process of a container, or with other `args` and further `env` one that joins it."""
    base = [f"PATH={defaults.PATH}", f"HOSTNAME={record.hostname}"]
    if record.terminal:
        base.append("TERM=xterm")
    capabilities = record.capabilities
    return oci.Process(
        cwd=record.workdir,
        args=args,
        env=environment.merge(base, environment.merge(record.env, env)),
        terminal=record.terminal,
        # "0" rather than nothing: so root, too, gets the further groups that /etc/group gives it, as in Docker.
        user=oci.User(username=record.user or "0"),
        # Inheritable and ambient stay empty: CVE-2022-24769, CVE-2022-29162.
        capabilities=oci.Capabilities(bounding=capabilities, effective=capabilities, permitted=capabilities),
        no_new_privileges=record.no_new_privileges,
    )


def _has_group(idmap: RootlessMap | None, group: int) -> bool:
    return idmap is None or any(m.inside <= group < m.inside + m.count for m in idmap.gid_map)


def resources(record: Record, *, devices: bool) -> oci.Resources:
    """The limits for the container's cgroup; `devices`: this user may set device rules, all but the standard ones
    are refused."""
    memory = cpu = pids = None
    if record.memory:
        memory = oci.Memory(limit=record.memory, swap=record.memory_swap)
    if record.cpus:
        cpu = oci.CPU(quota=record.cpus * _PERIOD // 10**9, period=_PERIOD)
    if record.pids_limit and record.pids_by == "cgroup":
        pids = oci.Pids(limit=record.pids_limit)
    rules = (oci.DeviceRule(allow=False, access="rwm"),) if devices else ()
    return oci.Resources(devices=rules, memory=memory, cpu=cpu, pids=pids)


def _bind(source: str, destination: str) -> oci.Mount:
    return oci.Mount(destination=destination, type="bind", source=source, options=("bind", "rprivate"))


def _mount(mount: MountPoint, *, idmapped: bool) -> oci.Mount:
    options = ("rbind", mount.propagation, *(("ro", "rro") if mount.read_only else ()))
    if idmapped:
        # Root gave this path to a container whose root is a stranger on the host: there it is to be root's.
        options = (*options, "idmap")
    return oci.Mount(destination=mount.destination, type="bind", source=mount.source, options=options)


def _mappings(maps: tuple[IdMap, ...]) -> tuple[oci.IDMapping, ...]:
    return tuple([oci.IDMapping(container_id=m.inside, host_id=m.outside, size=m.count) for m in maps])


# --- the generated files --------------------------------------------------------------------------------------------


def _files(record: Record, facts: Facts) -> tuple[tuple[str, str], ...]:
    """`/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`: names in the bundle and their content."""
    if record.network == "host":
        hosts, resolv_conf = facts.hosts, facts.resolv_conf
    else:
        hosts = (
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
            "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            f"127.0.1.1\t{record.hostname}\n"
        )
        resolv_conf = "# No name server: this container has no network.\n"
    return (("hostname", record.hostname + "\n"), ("hosts", hosts), ("resolv.conf", resolv_conf))
