"""The runtime's document for a container, from its record. Pure.

Holds: `spec_of`, `process_of`, `resources`. Does not hold: mounts (`plan_mounts.py`), the record (`plan_record.py`),
the seccomp profile (`create.py` adds it).
"""

from __future__ import annotations

from atoll.engine.containers import defaults, environment
from atoll.engine.containers.plan_mounts import mounts_of
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.plan import Facts
    from atoll.engine.containers.record import Record
    from atoll.spec.idmap import IdMap, RootlessMap

_PERIOD = 100_000
_NEW = ("pid", "mount", "ipc", "uts", "cgroup")


def spec_of(
    record: Record,
    window: tuple[int, int] | None,
    idmap: RootlessMap | None,
    facts: Facts,
    bundle: str,
    container_id: str,
) -> oci.Spec:
    """The document. Raises InvalidArgument for what contradicts itself."""
    namespaces = _namespaces(record, user=idmap is not None, root=facts.uid == 0)
    kinds = {one.type for one in namespaces if not one.path}
    # Root's container in another's user namespace has its layers shown by the same map.
    mapped = idmap is not None and any(one.type == "user" and (not one.path or not facts.uid) for one in namespaces)
    process = process_of(record, args=record.args).replace(
        console_size=oci.Box(height=window[0], width=window[1]) if window else None, rlimits=_rlimits(record, facts)
    )
    masked, read_only = _paths(record)
    own_network = record.network != "host" and not record.network.startswith(("container:", "ns:"))
    sysctl: tuple[tuple[str, str], ...] = defaults.SYSCTLS if own_network and idmap is None else ()
    devices: tuple[oci.Device, ...] = ()
    if record.rights is not None:
        from atoll.engine.containers import rights

        sysctl = tuple(dict((*sysctl, *record.rights.sysctls)).items())
        devices = rights.nodes(record.rights) if idmap is None else ()
    return oci.Spec(
        process=process,
        root=oci.Root(path="rootfs", readonly=record.read_only),
        hostname=record.hostname if "uts" in kinds else None,
        domainname=(record.sharing.domainname or None) if record.sharing is not None else None,
        mounts=mounts_of(record, idmap, facts, bundle),
        annotations=(*record.annotations, ("org.atoll.container.id", container_id)),
        linux=oci.Linux(
            namespaces=namespaces,
            uid_mappings=_mappings(idmap.uid_map) if idmap and mapped else (),
            gid_mappings=_mappings(idmap.gid_map) if idmap and mapped else (),
            devices=devices,
            cgroups_path=record.cgroup,
            resources=resources(record, devices=facts.uid == 0, unified=facts.unified),
            rootfs_propagation=_propagation(record),
            seccomp=None,
            masked_paths=masked,
            readonly_paths=read_only,
            sysctl=sysctl,
        ),
    )


def _namespaces(record: Record, *, user: bool, root: bool) -> tuple[oci.Namespace, ...]:
    joined = _network_path(record)
    own = record.network != "host" and joined is None
    if record.sharing is None:
        kinds = [*_NEW, *(("network",) if own else ()), *(("user",) if user else ())]
        found = tuple([oci.Namespace(type=kind) for kind in kinds])
    else:
        from atoll.engine.containers import sharing

        wanted = sharing.kinds(record.sharing, user=user, network=own)
        found = tuple([oci.Namespace(type=kind, path=path) for kind, path in wanted])
    if joined is None:
        return found
    if user and not root and record.network.startswith("container:"):
        # A namespace can only be entered with rights over the user namespace that owns it: the other's becomes ours.
        # Root has them over all.
        theirs = oci.Namespace(type="user", path=f"{record.network}/user")
        found = (*[one for one in found if one.type != "user"], theirs)
    return (*found, oci.Namespace(type="network", path=joined))


def _network_path(record: Record) -> str | None:
    """The network namespace that it joins: of a path, or another container's (`joins.py` finds its process)."""
    if record.network.startswith("ns:"):
        return record.network.removeprefix("ns:")
    return f"{record.network}/network" if record.network.startswith("container:") else None


def _propagation(record: Record) -> str:
    """A mount that is to be shared, or to receive, cannot be below a root that is private."""
    wanted = {mount.propagation for mount in record.mounts}
    if wanted & {"shared", "rshared"}:
        return "rshared"
    return "rslave" if wanted & {"slave", "rslave"} else "private"


def _paths(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is hidden and what is read-only."""
    masked: tuple[str, ...] = defaults.MASKED_PATHS if record.security == "docker" else defaults.ATOLL_MASKED_PATHS
    read_only: tuple[str, ...] = defaults.READONLY_PATHS
    if record.rights is not None and record.rights.privileged:
        masked = read_only = ()
    if record.security_opt:
        from atoll.engine.containers import security_options

        masked, read_only = security_options.apply_paths(
            masked, read_only, security_options.parse(record.security_opt)
        )
    return masked, read_only


def _rlimits(record: Record, facts: Facts) -> tuple[oci.Rlimit, ...]:
    found: tuple[oci.Rlimit, ...] = ()
    if record.limits is not None and record.limits.ulimits:
        from atoll.engine.containers import limits

        found = limits.rlimits(record.limits, facts)
    if record.pids_by == "rlimit" and record.pids_limit and all(one.type != "RLIMIT_NPROC" for one in found):
        found = (*found, oci.Rlimit(type="RLIMIT_NPROC", soft=record.pids_limit, hard=record.pids_limit))
    return found


def process_of(record: Record, *, args: tuple[str, ...], env: tuple[str, ...] = ()) -> oci.Process:
    """The first process of a container, or with other `args` and further `env` one that joins it."""
    base = [f"PATH={defaults.PATH}", f"HOSTNAME={record.hostname}"]
    if record.terminal:
        base.append("TERM=xterm")
    if record.systemd:
        base.append("container=oci")  # systemd's "container interface"
    capabilities = record.capabilities
    process = oci.Process(
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
    if record.limits is not None and record.limits.oom_score_adj is not None:
        process = process.replace(oom_score_adj=record.limits.oom_score_adj)
    if record.rights is not None and record.rights.groups:
        from atoll.engine.containers.rights import split_groups

        numbers, names = split_groups(record.rights.groups)
        process = process.replace(user=process.user.replace(additional_gids=numbers, group_names=names))
    if record.umask is not None:
        process = process.replace(user=process.user.replace(umask=record.umask))
    if record.apparmor:
        process = process.replace(apparmor_profile=record.apparmor)
    if record.security_opt:
        process = _labelled(record, process)
    return process


def _labelled(record: Record, process: oci.Process) -> oci.Process:
    from atoll.engine.containers import security_options

    options = security_options.parse(record.security_opt)
    if options.apparmor is not None and options.apparmor != "unconfined":  # on a host without AppArmor it is refused
        process = process.replace(apparmor_profile=options.apparmor)
    label = security_options.selinux_label(options)
    return process.replace(selinux_label=label) if label else process


def resources(record: Record, *, devices: bool, unified: bool = False) -> oci.Resources:
    """The limits for the container's cgroup; `devices`: this user may set device rules, all but the standard ones
    are refused. `unified`: the host's limits are cgroup v2's."""
    memory = cpu = pids = None
    if record.memory:
        memory = oci.Memory(limit=record.memory, swap=record.memory_swap)
    if record.cpus:
        cpu = oci.CPU(quota=record.cpus * _PERIOD // 10**9, period=_PERIOD)
    if record.pids_limit and record.pids_by == "cgroup":
        pids = oci.Pids(limit=record.pids_limit)
    rules = (oci.DeviceRule(allow=False, access="rwm"),) if devices else ()
    if devices and record.rights is not None:
        from atoll.engine.containers.rights import device_rules

        rules = (*rules, *device_rules(record.rights))
    base = oci.Resources(devices=rules, memory=memory, cpu=cpu, pids=pids)
    if record.limits is not None:
        from atoll.engine.containers import limits

        return limits.resources(record.limits, base, unified=unified)
    return base


def _mappings(maps: tuple[IdMap, ...]) -> tuple[oci.IDMapping, ...]:
    return tuple([oci.IDMapping(container_id=m.inside, host_id=m.outside, size=m.count) for m in maps])
