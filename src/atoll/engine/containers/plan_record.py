"""What is remembered of a container: request, image and settings settled into a `Record`. Pure.

Holds: `record_of`, `check_user`, the defaults that depend on the host or the image. Does not hold: the runtime's
document (`plan_spec.py`). What a plain `run` does not ask for is judged in modules of its own, loaded when it is:
`limits.py`, `rights.py`, `sharing.py`, `security_options.py`, `log_options.py`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers import defaults, environment
from atoll.engine.containers.record import MountPoint, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.engine.config import Config
    from atoll.engine.containers.plan import Facts
    from atoll.engine.containers.rights import Rights
    from atoll.engine.containers.security_options import Options
    from atoll.engine.requests import Health, RunRequest
    from atoll.spec.idmap import RootlessMap
    from atoll.spec.image import RunConfig

MEMORY_MIN = 6 << 20
_SYSTEMD = frozenset(("/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"))


def record_of(
    container_id: str,
    request: RunRequest,
    image: RunConfig,
    mounts: tuple[MountPoint, ...],
    idmap: RootlessMap | None,
    facts: Facts,
    config: Config,
    environ: Mapping[str, str],
) -> Record:
    """The record. Raises InvalidArgument, Denied, Unsupported for what cannot be."""
    options = _options(request)
    security = (options.profile if options else None) or config.security
    rights, sharing, limits = request.rights, request.sharing, request.limits
    privileged = rights is not None and rights.privileged
    network = _network(request.network or config.network)
    entrypoint, cmd = _command(request, image)
    pids_limit, pids_by = _pids(request, config, security, facts)
    systemd = _systemd(request.systemd, entrypoint, cmd)
    check_limits(request, facts)
    notes: list[str] = []
    if limits is not None:
        from atoll.engine.containers import limits as limiting

        notes += limiting.check(limits, request, facts, need)
    if facts.apparmor[1] is not None:
        notes.append(facts.apparmor[1])
    capabilities, seccomp = _rights(rights, options, security)
    no_new_privileges = security == "atoll" and not privileged and not systemd
    if options is not None and options.no_new_privileges is not None:
        no_new_privileges = options.no_new_privileges
    host_names = network == "host" or (sharing is not None and sharing.uts == "host")
    if request.hostname is not None:
        _check_hostname(request.hostname)
    stop_signal = request.stop_signal or image.stop_signal or ("SIGRTMIN+3" if systemd else "SIGTERM")
    log_driver, log_max_size, log_max_files, log_opts = _log(request, config)
    return Record(
        image=request.image,
        args=(*entrypoint, *cmd),
        entrypoint=entrypoint,
        cmd=cmd,
        env=environment.merge(image.env, environment.given(request.env, environ)),
        workdir=_workdir(request.workdir or image.working_dir or "/"),
        user=check_user(request.user if request.user is not None else image.user),
        hostname=request.hostname or (facts.hostname if host_names else container_id[:12]),
        labels=_labels(image.labels, request.labels),
        terminal=request.terminal,
        stdin=request.stdin,
        detach=request.detach,
        remove=request.remove,
        network=network,
        isolation=_isolation(request.isolation or config.isolation),
        security=security,
        security_opt=request.security_opt,
        capabilities=capabilities,
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        apparmor=facts.apparmor[0],
        read_only=request.read_only,
        memory=request.memory or None,
        memory_swap=_swap(request, facts),
        cpus=request.cpus or None,
        pids_limit=pids_limit,
        pids_by=pids_by,
        shm_size=limits.shm_size if limits is not None and limits.shm_size is not None else config.shm_size,
        stop_signal=stop_signal,
        stop_timeout=config.stop_timeout if request.stop_timeout is None else request.stop_timeout,
        log_driver=log_driver,
        log_max_size=log_max_size,
        log_max_files=log_max_files,
        log_opts=log_opts,
        mounts=mounts,
        restart=request.restart,
        restart_max=request.restart_max,
        health=_health(request, image),
        init=request.init,
        user_namespace=idmap is not None,
        cgroup=_cgroup(request, config, facts, container_id),
        annotations=request.annotations,
        systemd=systemd,
        secrets=request.storage.secrets if request.storage is not None else (),
        limits=limits,
        rights=rights.replace(nodes=facts.nodes) if rights is not None else None,
        sharing=sharing,
        networking=request.settled,
        pod=request.pod,
        infra=request.infra,
        umask=request.umask,
        command_line=request.command_line,
        notes=tuple(notes),
    )


def _options(request: RunRequest) -> Options | None:
    if not request.security_opt:
        return None
    from atoll.engine.containers import security_options

    return security_options.parse(request.security_opt)


def _rights(rights: Rights | None, options: Options | None, security: str) -> tuple[tuple[str, ...], str]:
    """Capabilities, and the seccomp profile: `default`, `default,32bit`, `unconfined` or a file's path."""
    capabilities = defaults.DOCKER_CAPABILITIES if security == "docker" else defaults.ATOLL_CAPABILITIES
    seccomp = options.seccomp if options is not None else "default"
    if seccomp == "default" and options is not None and options.allow_32bit:
        seccomp = "default,32bit"
    if rights is None:
        return capabilities, seccomp
    from atoll.engine.containers import rights as granting

    granting.split_groups(rights.groups)
    granting.device_rules(rights)
    if rights.privileged and seccomp.startswith("default"):
        seccomp = "unconfined"
    return granting.capabilities(capabilities, rights), seccomp


def _health(request: RunRequest, image: RunConfig) -> Health | None:
    if request.health is None and image.healthcheck is None:
        return None
    from atoll.engine.containers.health_request import merge

    return merge(request.health, image.healthcheck)


def _log(request: RunRequest, config: Config) -> tuple[str, int, int, tuple[tuple[str, str], ...]]:
    if request.log_driver is None and not request.log_options and config.log_driver != "journald":
        return config.log_driver, config.log_max_size, config.log_max_files, ()
    from atoll.engine.containers.log_options import read

    return read(request.log_driver or config.log_driver, request.log_options, config)


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


def _systemd(asked: str, entrypoint: tuple[str, ...], cmd: tuple[str, ...]) -> bool:
    """Whether the program is an init such as systemd, which wants its own /run and a cgroup to write to; `true`
    looks at its name, as Podman does."""
    if asked == "true":
        program = (*entrypoint, *cmd)[0]
        return program in _SYSTEMD or program.rpartition("/")[2] == "systemd"
    return asked == "always"


def _workdir(path: str) -> str:
    if not path.startswith("/"):
        raise errors.InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return path


def _network(network: str) -> str:
    return network  # whatever else it is called, `engine/networks/settle.py` has found it


def _isolation(name: str) -> str:
    if name == "container":
        return name
    from atoll.isolation.external import settle

    return settle(name)


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


def _cgroup(request: RunRequest, config: Config, facts: Facts, container_id: str) -> str:
    parent = request.sharing.cgroup_parent if request.sharing is not None else ""
    if parent and request.pod:
        return f"{parent}/{container_id}"  # an ordinary user's is relative
    if parent:
        return f"/{parent.strip('/')}/{container_id}"
    return f"atoll-{container_id}" if facts.uid else f"{config.cgroup_parent}/{container_id}"


def _swap(request: RunRequest, facts: Facts) -> int | None:
    """Memory and swap together: as asked, else twice the memory where swap can be limited at all."""
    if request.limits is not None and request.limits.memory_swap:
        return request.limits.memory_swap
    return 2 * request.memory if request.memory and facts.swap else None


def check_limits(request: RunRequest, facts: Facts) -> None:
    """Refuse a limit that makes no sense, or that this user cannot set. Raises InvalidArgument, Denied."""
    if request.memory and request.memory < MEMORY_MIN:
        raise errors.InvalidArgument("Minimum memory limit allowed is 6MB", hint="give more with --memory")
    if request.cpus and not 10_000_000 <= request.cpus <= facts.cpus * 10**9:
        raise errors.InvalidArgument(
            f"range of CPUs is from 0.01 to {facts.cpus}.00, as there are only {facts.cpus} CPUs available"
        )
    wanted = (("--memory", request.memory, "memory"), ("--cpus", request.cpus, "cpu"))
    for name, value, controller in wanted:
        if value:
            need(name, controller, facts)


def need(name: str, controller: str, facts: Facts) -> None:
    """Refuse a limit whose controller this user does not have. Raises Denied naming the flag."""
    if facts.delegated is None or controller in facts.delegated:
        return
    if controller == "blkio" and "io" in facts.delegated:  # its name in cgroup v2
        return
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
        need("--pids-limit", "pids", facts)
        return request.pids_limit, "cgroup"
    if security == "docker" or config.pids_limit <= 0:
        return None, "cgroup"
    if facts.delegated is not None and "pids" not in facts.delegated:
        limit = config.pids_limit if facts.processes < 0 else min(config.pids_limit, facts.processes)
        return limit, "rlimit"
    return config.pids_limit, "cgroup"
